"""PII: personal data becomes a typed placeholder, in turns and targets alike.

The same value becomes the same placeholder within a row (`[EMAIL_1]`, `[EMAIL_2]`), so that who is who stays told.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.record import SCHEMA, TURNS
from curate.stage import Outcome, RowStage, divide

Kind = Literal["email", "phone", "ip"]

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
IP = re.compile(
    r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)",
)
PHONE = re.compile(
    r"""(?<![\w.+/=-])(?:
        \+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}   # international, E.164: 7 to 15 digits
      | (?:1[ .-])?\(\d{3}\)[ ]?\d{3}[ .-]\d{4}                               # (212) 555-0100
      | (?:1[ .-])?\d{3}([.-])\d{3}\1\d{4}                                    # 212-555-0100, 212.555.0100
    )(?![\w-]|\.\d)""",
    re.VERBOSE,
)

SUSPECT: dict[Kind, str] = {
    "email": "@",
    "ip": r"\d\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:",
    "phone": r"\d{3}[ .-]\d{4}|\+\d",
}
"""RE2 patterns, wider than the finders above: only rows that one of them marks are looked at in Python."""


def _is_address(text: str) -> bool:
    """Whether `text` is an address of one host: not a version, not unspecified (`::`), not all of one digit group."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified and (address.version == 6 or int(text.split(".")[0]) > 9)


def find(text: str, kinds: tuple[Kind, ...] | list[Kind]) -> Iterator[tuple[Kind, int, int]]:
    """Spans of personal data as (kind, begin, end), kind by kind, never overlapping within a kind.

    An IPv4 address whose first number is below 10 is taken for a version number, as 2.0.0.1 mostly is; of
    the networks thus passed over only a few in 1.0.0.0/8 to 9.0.0.0/8 are in common use.
    """
    if "email" in kinds:
        yield from (("email", *match.span()) for match in EMAIL.finditer(text))
    if "ip" in kinds:
        yield from (("ip", *match.span()) for match in IP.finditer(text) if _is_address(match[0]))
    if "phone" in kinds:
        for match in PHONE.finditer(text):
            if 7 <= sum(char.isdigit() for char in match[0]) <= 15:
                yield ("phone", *match.span())


class Pii(RowStage):
    """E-mail addresses, telephone numbers and IP addresses to placeholders; no row is rejected.

    Counters: rows in which something of each kind was replaced.
    """

    replace: list[Kind] = ["email", "phone", "ip"]

    def run(self, table: pa.Table) -> Outcome:
        counters: dict[str, int] = dict.fromkeys(self.replace, 0)
        suspects = self._suspects(table)
        turns = table["turns"].to_pylist() if len(suspects) else []
        targets = table["target"].to_pylist()
        for row in suspects:
            known: dict[tuple[str, str], str] = {}
            for turn in turns[row]:
                turn["content"] = self._replaced(turn["content"], known)
            if targets[row] is not None:
                targets[row] = self._replaced(targets[row], known)
            for kind in {kind for kind, _ in known}:
                counters[kind] += 1
        if len(suspects):
            table = table.set_column(
                table.schema.get_field_index("turns"), SCHEMA.field("turns"), pa.array(turns, TURNS)
            )
            table = table.set_column(
                table.schema.get_field_index("target"), SCHEMA.field("target"), pa.array(targets, pa.string())
            )
        return divide(table, "pii", [], counters)

    def _suspects(self, table: pa.Table) -> list[int]:
        pattern = "|".join(SUSPECT[kind] for kind in self.replace)
        if not pattern:
            return []
        turns = table["turns"].combine_chunks()
        contents = pc.struct_field(turns.flatten(), "content")
        rows: Any = pc.list_parent_indices(turns).filter(pc.match_substring_regex(contents, pattern))
        return [int(row) for row in np.unique(rows.to_numpy())]

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
