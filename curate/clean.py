"""Clean: the same words in one normal form."""

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.record import map_contents
from curate.stage import Outcome, RowStage, divide

LINE_ENDS = "\r\n?|[\v\f\u0085\u2028\u2029]"
CONTROLS = "[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
"""C0 and C1 controls, zero-width space and word joiner, byte order mark, bidirectional embeddings, overrides and
isolates (Unicode 16, ch. 23). Joiners (U+200C, U+200D) stay: Persian, Indic scripts and emoji need them. With
`mojibake` on, ftfy has by then taken C1 controls for what Windows-1252 has in their place, where it has anything."""
LINE_TAILS = "[ \t\u00a0]+\n"
BLANK_LINES = "\n{3,}"


class Clean(RowStage):
    """Every turn in one normal form; no row is rejected. Counters: rows changed by each rule."""

    version: ClassVar[int] = 2

    unicode: Literal["NFC", "NFKC"] = Field("NFC", description="Unicode normalisation form.")
    mojibake: bool = Field(True, description="Mend mis-decoded text with ftfy where a line looks broken.")

    def run(self, table: pa.Table) -> Outcome:
        rules: dict[str, Callable[[pa.Array], pa.Array]] = {
            "controls": lambda texts: pc.replace_substring_regex(
                pc.replace_substring_regex(texts, LINE_ENDS, "\n"), CONTROLS, ""
            ),
            "unicode": lambda texts: pc.utf8_normalize(texts, self.unicode),
            "whitespace": _whitespace,
        }
        if self.mojibake:
            rules = {"mojibake": mend_mojibake} | rules
        parents = pc.list_parent_indices(table["turns"].combine_chunks())
        changed: dict[str, set[int]] = {name: set() for name in rules}

        def apply(contents: pa.Array) -> pa.Array:
            while True:
                for name, rule in rules.items():
                    mended = rule(contents)
                    changed[name].update(parents.filter(pc.not_equal(mended, contents)).to_pylist())
                    contents = mended
                # What the other rules took away may have hidden mojibake: cleaning twice must change no more than once.
                if not self.mojibake or mend_mojibake(contents).equals(contents):
                    return contents

        cleaned = map_contents(table, apply)
        return divide(cleaned, "clean", [], {name: len(rows) for name, rows in changed.items()})


def _whitespace(texts: pa.Array) -> pa.Array:
    """No spaces at line ends, at most one blank line in a row, none at either end; indentation stays."""
    texts = pc.replace_substring_regex(texts, LINE_TAILS, "\n")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, BLANK_LINES, "\n\n"))


def mend_mojibake(texts: pa.Array) -> pa.Array:
    """Undo wrong decodings, line by line, with ftfy's `fix_encoding`.

    ftfy leaves text alone that is ASCII or that its badness heuristic does not mark, so asking it only about the
    lines it marks gives the same result as asking it about every line.
    """
    suspects = np.flatnonzero(pc.invert(pc.string_is_ascii(texts)).to_numpy(zero_copy_only=False))
    if not len(suspects):
        return texts
    import ftfy
    from ftfy.badness import is_bad

    rows, mended = [], []
    for row in suspects:
        text = texts[int(row)].as_py()
        if is_bad(text):
            rows.append(row)
            mended.append("\n".join(ftfy.fix_encoding(line) if is_bad(line) else line for line in text.split("\n")))
    mask = np.zeros(len(texts), dtype=bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(mended, pa.string()))
