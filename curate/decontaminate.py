"""Decontaminate: rows that share words with a reference that must not be trained on, such as a benchmark's test rows.

Reason: `contaminated`; the evidence names the reference's file and row and the words shared.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.read import InputFile, Unread, read_rows
from curate.record import answer_text, prompt_text
from curate.shingles import WordHasher, ngrams, words
from curate.stage import Outcome, Reject, Settings, divide

VERSION = 1
SHORT = 4
"""References of fewer words than this match only a row whose whole prompt or answer is the same words."""


class Decontaminate(Settings):
    references: list[str] = Field([], description="Files of the drop not to train on; every text in their rows counts.")
    ngram_words: int = Field(
        13, ge=SHORT, description="Successive words that make a contamination (GPT-3's 13, Brown et al., 2020)."
    )


@dataclass(frozen=True)
class References:
    """N-grams of the references by their length in words: sorted hashes, and which (file, row) each came from."""

    grams: dict[int, tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]]
    places: list[tuple[str, int]]

    @staticmethod
    def load(files: Iterable[InputFile], size: int) -> "References":
        """Read the references; one shorter than `size` words counts as a single n-gram of its own length."""
        hasher = WordHasher()
        places: list[tuple[str, int]] = []
        found: dict[int, list[tuple[npt.NDArray[np.uint64], int]]] = {}
        for file in files:
            for number, row in enumerate(read_rows(file)):
                if isinstance(row, Unread):
                    continue
                for text in row.values():
                    if isinstance(text, str) and (hashes := hasher(words(text))).size:
                        length = min(size, len(hashes))
                        found.setdefault(length, []).append((ngrams(hashes, length), len(places)))
                places.append((file.name, number))
        grams = {}
        for length, pieces in found.items():
            hashes = np.concatenate([piece for piece, _ in pieces])
            where = np.repeat([place for _, place in pieces], [len(piece) for piece, _ in pieces])
            order = np.argsort(hashes, kind="stable")
            grams[length] = hashes[order], where[order].astype(np.int64)
        return References(grams, places)

    def match(self, text_words: list[str], hashes: npt.NDArray[np.uint64]) -> tuple[str, int, str] | None:
        """The first reference that a text shares an n-gram with: (file, row, the shared words)."""
        for length, (known, where) in self.grams.items():
            if len(hashes) < length or (length < SHORT and len(hashes) != length):
                continue
            at = np.searchsorted(known, mine := ngrams(hashes, length))
            at[at == len(known)] = 0
            hits = np.flatnonzero(known[at] == mine)
            if len(hits):
                file, row = self.places[int(where[at[hits[0]]])]
                return file, row, " ".join(text_words[hits[0] : hits[-1] + length])
        return None


def decontaminate(table: pa.Table, references: References) -> Outcome:
    """Quarantine the rows whose prompt or answer matches a reference."""
    if not references.grams:
        return divide(table, "decontaminate", [])
    hasher = WordHasher()
    rejects = []
    for row, texts in enumerate(zip(prompt_text(table).to_pylist(), answer_text(table).to_pylist(), strict=True)):
        for text in texts:
            text_words = words(text)
            if text_words and (match := references.match(text_words, hasher(text_words))):
                file, number, span = match
                rejects.append(Reject(row, "contaminated", {"file": file, "row": number, "words": span[:500]}))
                break
    return divide(table, "decontaminate", rejects)
