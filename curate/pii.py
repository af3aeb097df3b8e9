"""PII: personal data becomes a typed placeholder, in turns, targets and meta alike.

The same value becomes the same placeholder within a row (`[EMAIL_1]`, `[EMAIL_2]`), so that who is who stays told. A
`group` that holds personal data becomes its hash: it is only ever compared.
"""

import json
import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_address
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.stage import Outcome, RowStage, divide

Kind = Literal["email", "phone", "ip"]

EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}(?!(?:png|jpe?g|gif|svg|webp)\b)[^\W\d_]{2,24}(?![\w-])"
)
IP = re.compile(
    r"(?<![\w.])(?<![A-Za-z][/-])(?:"
    r"(?<!:)(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4})(?!:)"
    r"|(?:[0-9]{1,3}\.){3}[0-9]{1,3})(?!\w|\.[0-9])",
    re.ASCII,
)
NUMBERED = re.compile(r"(?:\b(?:version|ver|v|release|section|sec|clause|article)\b\.?|§)[ ]?$", re.IGNORECASE)
"""What stands before a version's or a section's number, which may look like an IPv4 address."""
PHONE = re.compile(
    r"""(?<![\w.+/=-])(?<![0-9][ .-])(?:
        \+(?!(?:19|20)[0-9]{2}-)[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-]?[0-9]{2,4}){1,4}
                                                                                        # +41 (0)85 806 98 67
      | 00[1-9][0-9]{0,2}([ .-])[0-9]{2,4}(?:\1[0-9]{2,4}){1,3}                         # 001-253-366-9781
      | (?:1[ .-])?\((?:0[0-9]{1,4}|[1-9][0-9]{1,2})\)[ ]?(?!(?:19|20)[0-9]{2}-)[0-9]{3,4}[ .-][0-9]{3,4}
                                                                                        # (212) 555-0100
      | (?:1[ .-])?[0-9]{3}([.-])[0-9]{3}\2[0-9]{4}                                     # 212-555-0100
      | (?![0-9]{3}-[0-9]{2}-)0[1-9][0-9]{0,3}([ .-])[0-9]{2,4}(?:\3[0-9]{2,4}){1,3}    # 0496 46 46 70; no SSN
      | 0[1-9][0-9]{0,3}[ /-][0-9]{6,8}                                                 # 06-24312407
    )(?:[ ]?(?:x|ext\.?[ ]?)[0-9]{1,5})?(?!\w|[ .-][0-9])""",
    re.VERBOSE | re.ASCII,
)
CALLED = r"\b(?:tel|telephone|telefon|phone|mobile|cell|call|fax|facsimile|dial)\b[^0-9+(\n]{0,20}\n?[ ]{0,8}"
PHONE_CALLED = re.compile(
    CALLED
    + r"""(?!(?:19|20)[0-9]{2}[ ]?[./-]|[0-9]{1,2}[./-][0-9]{1,2}[./-](?:19|20)[0-9]{2})  # years and dates
    ([+(]?[0-9](?:[0-9]|[ ./()-]{1,2}(?=[0-9(])){5,20})(?!\w|[ .-][0-9])""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
"""Any digits after a word that says what they are: local numbers look like nothing else."""

META_ENTRIES = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.string())]))

SUSPECT: dict[Kind, str] = {
    "email": "@",
    "ip": r"[0-9]\.[0-9]{1,3}\.[0-9]|:[0-9A-Fa-f]{0,4}:",
    "phone": r"\+[1-9]|[0-9]\)[ ]?[0-9]{3}|[0-9]{3}[.-][0-9]{3}[.-][0-9]"
    r"|\b0[0-9]{1,4}(?:[ .-][0-9]{2,4}[ .-][0-9]|[ /-][0-9]{6})"
    f"|(?i:{CALLED}[+(]?[0-9])",
}
"""RE2 patterns, wider than the finders above: only rows that one of them marks are looked at in Python."""


def _is_address(text: str) -> bool:
    """Whether `text` is the address of one host."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return 10 <= address.packed[0] < 224 and not address.is_loopback
    has_group = re.search("[0-9A-Fa-f]{3}", text) is not None
    return has_group and any(char.isdigit() for char in text) and not address.is_loopback


def _is_phone(text: str) -> bool:
    """Whether `text` has as many digits as a telephone number: 7 to 15 (E.164), 9 to 11 with a trunk prefix."""
    number: str = re.split("x|ext", text)[0]
    digits = sum(char.isdigit() for char in number)
    return 9 <= digits <= 11 if re.match("0[1-9]", text) else 7 <= digits <= 15


def find(text: str, kinds: tuple[Kind, ...] | list[Kind]) -> Iterator[tuple[Kind, int, int]]:
    """Spans of personal data as (kind, begin, end), kind by kind; spans may overlap, and then the first counts.

    An IPv4 address whose first number is below 10 is taken for a version number, as 2.0.0.1 mostly is; of
    the networks thus passed over only a few in 1.0.0.0/8 to 9.0.0.0/8 are in common use. Loopback, multicast and
    netmasks (224 and above) tell nothing of anybody; nor do IPv6 groups without a digit and a group of three, which
    are rather words between colons.
    """
    if "email" in kinds:
        yield from (("email", *match.span()) for match in EMAIL.finditer(text))
    if "ip" in kinds:
        for match in IP.finditer(text):
            if _is_address(match[0]) and not NUMBERED.search(text[max(0, match.start() - 12) : match.start()]):
                yield ("ip", *match.span())
    if "phone" in kinds:
        yield from (("phone", *match.span()) for match in PHONE.finditer(text) if _is_phone(match[0]))
        for match in PHONE_CALLED.finditer(text):
            if 7 <= sum(char.isdigit() for char in match[1]) <= 15:
                yield ("phone", *match.span(1))


class Pii(RowStage):
    """E-mail addresses, telephone numbers and IP addresses to placeholders; no row is rejected.

    Counters: rows in which something of each kind was replaced.
    """

    version: ClassVar[int] = 2

    replace: list[Kind] = ["email", "phone", "ip"]

    def run(self, table: pa.Table) -> Outcome:
        counters: dict[str, int] = dict.fromkeys(self.replace, 0)
        suspects = self._suspects(table)
        rows = table.take(pa.array(suspects, pa.int64())).to_pylist(maps_as_pydicts="strict")
        for row in rows:
            for kind in self._protect(row):
                counters[kind] += 1
        mended = pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)])
        order = np.arange(table.num_rows)
        order[suspects] = table.num_rows + np.arange(len(suspects))
        return divide(mended.take(pa.array(order)) if len(suspects) else table, "pii", [], counters)

    def _suspects(self, table: pa.Table) -> list[int]:
        """Rows that the finders may find something in, ascending."""
        pattern = "|".join(SUSPECT[kind] for kind in self.replace)
        if not pattern:
            return []
        marked = np.zeros(table.num_rows, dtype=bool)

        def mark(texts: Any, rows: Any, pattern: str) -> None:
            marked[rows.filter(pc.fill_null(pc.match_substring_regex(texts, pattern), False)).to_numpy()] = True

        every = pa.array(np.arange(table.num_rows))
        turns = table["turns"].combine_chunks()
        mark(pc.struct_field(turns.flatten(), "content"), pc.list_parent_indices(turns), pattern)
        mark(table["target"].combine_chunks(), every, rf"{pattern}|\\")  # an escape may hide what is behind it
        mark(table["group"].combine_chunks(), every, pattern)
        meta = table["meta"].combine_chunks().cast(META_ENTRIES)
        mark(pc.struct_field(meta.flatten(), "value"), pc.list_parent_indices(meta), pattern)
        return [int(row) for row in np.flatnonzero(marked)]

    def _protect(self, row: dict[str, Any]) -> set[str]:
        """Replace what is found in a row, in place; returns the kinds found."""
        known: dict[tuple[str, str], str] = {}

        def replaced(text: str) -> str:
            return self._replaced(text, known)

        for turn in row["turns"]:
            turn["content"] = replaced(turn["content"])
        if row["target"] is not None:
            value = json.loads(row["target"])
            if (protected := _map_strings(value, replaced)) != value:
                row["target"] = json.dumps(protected, ensure_ascii=False)
        row["meta"] = {key: replaced(value) for key, value in row["meta"].items()}
        if row["group"] is not None and any(True for _ in find(row["group"], self.replace)):
            row["group"] = xxhash.xxh3_128_hexdigest(row["group"].encode())
        return {kind for kind, _ in known}

    def _replaced(self, text: str, known: dict[tuple[str, str], str]) -> str:
        spans: list[tuple[int, int, Kind]] = []
        for kind, begin, end in find(text, self.replace):
            if all(end <= other_begin or begin >= other_end for other_begin, other_end, _ in spans):
                spans.append((begin, end, kind))
        out, at = [], 0
        for begin, end, kind in sorted(spans):
            value = (kind, text[begin:end])
            number = 1 + sum(other == kind for other, _ in known)
            placeholder = known.setdefault(value, f"[{kind.upper()}_{number}]")
            out += [text[at:begin], placeholder]
            at = end
        return "".join([*out, text[at:]])


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string in it, keys too, changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_strings(each, change) for each in value]
    if isinstance(value, dict):
        return {change(key): _map_strings(each, change) for key, each in value.items()}
    return value
