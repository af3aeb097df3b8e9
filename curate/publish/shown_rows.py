"""Rows for the eye: those rejected beside those kept, what differs in them, and what rules changed."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.examples import Example
from curate.record import SPLITS, pages_of

EXAMPLES = 3
"""Rows shown for each reason and for the conflicts."""
EXCERPT = 300
"""Characters shown of a row's text."""
AROUND = 60
"""Characters shown around what differs, at least."""
MOST_WORDS = 2000
"""Words of two texts between which differences are looked for; what is beyond is taken for different."""
SEEN = ["id", "turns", "target", "source"]
"""Columns of rows, kept or rejected, that `seen` is made of."""
WORD = re.compile(r"\w+|\s+|[^\w\s]")

Parts = list[tuple[bool, str]]
"""A text in parts: whether each is what differs."""


def rows_at(
    path: Path, numbers: Sequence[int], columns: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Those rows of a Parquet file, by their ascending numbers, whole or of some columns; only the row groups that hold
    them are read."""
    with pq.ParquetFile(path) as file:
        end = 0
        for group in range(file.num_row_groups):
            begin, end = end, end + file.metadata.row_group(group).num_rows
            mine = [number for number in numbers if begin <= number < end]
            if mine:
                taken = file.read_row_group(group, columns).take(pa.array([number - begin for number in mine]))
                yield from zip(mine, taken.to_pylist(), strict=True)


def kept_rows(folder: Path, ids: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of these ids as `seen` gives them, with `fate`: None where the row is published, else what quarantined
    it later."""
    found = (row for table in tables_of(folder, pa.array(sorted(ids), pa.string())) for row in table.to_pylist())
    return {row["id"]: seen(row) | {"fate": row["fate"]} for row in found}


def tables_of(folder: Path, ids: pa.Array) -> Iterator[pa.Table]:
    """The rows of these ids, a row group at a time, those that are published last: SEEN and `fate`, see `kept_rows`."""
    for name in ("quarantine", *SPLITS):
        about = ["stage", "reason"] if name == "quarantine" else []
        with pq.ParquetFile(folder / f"{name}.parquet") as file:
            for group in range(file.num_row_groups if len(ids) else 0):
                wanted = pc.is_in(file.read_row_group(group, ["id"])["id"], value_set=ids)
                if pc.any(wanted).as_py():
                    yield with_fate(file.read_row_group(group, [*SEEN, *about]).filter(wanted), about)


def with_fate(table: pa.Table, about: Sequence[str]) -> pa.Table:
    """Rows with `fate` in the place of the columns that tell it, if there are any."""
    fate = pc.binary_join_element_wise(*(table[name] for name in about), ": ") if about else None
    return table.drop_columns(about).append_column("fate", fate or pa.nulls(len(table), pa.string()))


def matching(path: Path, wanted: pc.Expression, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file for which `wanted` holds, read as they are asked for."""
    from pyarrow.dataset import dataset

    batches = dataset(path, format="parquet").to_batches(
        filter=wanted, columns=columns, batch_size=4096, batch_readahead=1, fragment_readahead=1
    )
    return (row for batch in batches for row in batch.to_pylist())


def seen(row: dict[str, Any]) -> dict[str, Any]:
    """What there is to see of a row, whole: {"id", "file", "row", "pages", "text", "target"}."""
    text = dialogue(row["turns"]) if row["turns"] else row.get("raw") or ""
    return {"id": row["id"], **_place(row), "text": text, "target": row["target"] or ""}


def _place(row: dict[str, Any]) -> dict[str, Any]:
    return {"file": row["source"]["file"], "row": row["source"]["row"], "pages": pages_of(row["source"])}


def conflicts(folder: Path) -> list[dict[str, Any]]:
    """The first few groups of equal prompts with different answers."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in matching(folder / "conflicts.parquet", pc.field("conflict") < EXAMPLES):
        groups.setdefault(row["conflict"], []).append(row)
    return [
        {
            "text": excerpt(dialogue(rows[0]["turns"])),
            "answers": [
                {"text": excerpt(row["target"] or row["turns"][-1]["content"])}
                | {"source": row["source"]["file"], "version": row["version"]}
                for row in rows
            ],
        }
        for _, rows in sorted(groups.items())
    ]


def changes_of(example: Example) -> dict[str, Parts]:
    """Both texts of an example in parts that are the same and parts that differ; in these nothing is invisible."""
    parts: dict[str, Parts] = {"before": [], "after": []}
    before, after = example["before"], example["after"]
    for kind, begin, end, other_begin, other_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for side, text in (("before", before[begin:end]), ("after", after[other_begin:other_end])):
            if text:
                changed = kind != "equal"
                parts[side].append((changed, "".join(map(_shape, text)) if changed else text))
    return parts


def differences(one: str, other: str) -> tuple[Parts, Parts]:
    """Two texts in words that are the same and words that differ; what is the same is shortened between them.

    Args:
        one, other: of any length; words beyond MOST_WORDS are taken for different.
    """
    left, right = WORD.findall(one), WORD.findall(other)
    begin = _same(left, right)
    end = min(_same(left[::-1], right[::-1]), len(left) - begin, len(right) - begin)
    a, b = left[begin : len(left) - end], right[begin : len(right) - end]
    near, far = a[:MOST_WORDS], b[:MOST_WORDS]
    parts: tuple[Parts, Parts] = [], []
    _add(parts, False, left[:begin], left[:begin])
    for kind, i, j, m, n in SequenceMatcher(None, near, far, autojunk=False).get_opcodes():
        _add(parts, kind != "equal", near[i:j], far[m:n])
    _add(parts, True, a[MOST_WORDS:], b[MOST_WORDS:])
    _add(parts, False, left[len(left) - end :], left[len(left) - end :])
    return _shortened(parts[0]), _shortened(parts[1])


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _add(parts: tuple[Parts, Parts], differs: bool, *words: Sequence[str]) -> None:
    for side, text in zip(parts, map("".join, words), strict=True):
        if text:
            side.append((differs, text))


def _shortened(parts: Parts) -> Parts:
    """Parts of which each that is the same, and each that is long, shows its two ends."""
    shown: Parts = []
    for at, (differs, text) in enumerate(parts):
        first, last = at == 0, at == len(parts) - 1
        around = AROUND if len(parts) > 1 and not differs else EXCERPT
        head, tail = (0 if first and len(parts) > 1 else around), (0 if last else around)
        if len(text) > head + tail + AROUND:
            text = f"{text[:head]}…{text[len(text) - tail :]}"
        shown.append((differs, text))
    return shown


def _shape(char: str) -> str:
    """A character for the eye: spaces and line ends as signs, what has no shape as its code point."""
    signs = {" ": "·", "\n": "⏎\n", "\t": "⇥"}
    shapeless = unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Co", "Cn")
    return signs.get(char) or (f"⟨U+{ord(char):04X}⟩" if shapeless else char)


def dialogue(turns: Sequence[dict[str, str]]) -> str:
    """Turns as one text; who speaks is said where there are several."""
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def excerpt(text: str) -> str:
    """How a text begins."""
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"
