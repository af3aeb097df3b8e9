"""What rows are compared by: the text, its hashes and its signature, row by row; and the order of priority."""

import json
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from curate.arrow import whole
from curate.hashing import canonical_json
from curate.record import answer_is_last_turn, answer_text, prompt_form, prompt_text, said_text
from curate.stage import Settings

VERSION = 6
"""Raised whenever `key_table` would give another result for the same rows; the index is then to be rebuilt."""

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Halves = npt.NDArray[np.uint64]
"""128-bit hashes as two 64-bit numbers: shape (rows, 2)."""


class Compared(Settings):
    """Which text of a row is compared, and by what."""

    scope: Literal["prompt", "answer", "both"] = Field("prompt", description="Which text is compared.")
    boilerplate: list[str] = Field(
        [], description="Texts left out of what is compared, such as an instruction that the data repeats in every row."
    )
    threshold: float = Field(
        0.8, ge=0.1, le=1, description="True Jaccard similarity from which rows are near-duplicates."
    )
    shingle_words: int = Field(5, ge=1, description="Words per shingle (characters, in scripts without spaces).")

    def text_key(self) -> Any:
        """All that the compared text of given rows, and what they are told apart by, depends on: JSON-like."""
        return [VERSION, self.scope, self.boilerplate]


def compared_text(table: pa.Table, settings: Compared) -> pa.Array:
    """What a row is compared by, as a string array: what was said in it, without system turns, boilerplate or template.

    A system turn says how to answer and is often the same in all rows; it counts only where nothing else is said.
    """
    texts = {
        "prompt": lambda: said_text(table),
        "answer": lambda: answer_text(table),
        "both": lambda: pc.binary_join_element_wise(said_text(table), answer_text(table), "\n\n"),
    }[settings.scope]()
    for text in settings.boilerplate:
        texts = pc.replace_substring(texts, text, "")
    return texts


def key_table(table: pa.Table, texts: pa.Array) -> pa.Table:
    """What rows are compared by beside their signatures and shingles: one row each, in the order of `table`.

    Columns: those of `identities`; form (64-bit hash of who says what of the prompt).

    Args:
        table: records.
        texts: see `compared_text`.
    """
    form = prompt_form(table).dictionary_encode()
    return identities(table, texts).append_column("form", pa.array(hashes_of(form.dictionary)).take(form.indices))


def identities(table: pa.Table, texts: pa.Array) -> pa.Table:
    """What rows are told apart and put in order of priority by: one row each, in the order of `table`.

    Columns: id; file, row (source); prompt, answer (128-bit hashes; an answer that is JSON in canonical form); quality
    (0 where no stage has judged it); chars (of the compared text).

    Args:
        table: records.
        texts: see `compared_text`.
    """
    answers, prompts = answer_text(table), prompt_text(table)
    # A text that nobody has asked for answers no prompt that another row has too: it stands for its prompt itself.
    prompts = pc.if_else(pc.equal(prompts, ""), answers, prompts)
    spoken = answer_is_last_turn(table)
    if pc.any(spoken).as_py():
        answers = pc.if_else(spoken, pa.array([_canonical(text) for text in answers.to_pylist()], pa.string()), answers)
    answer = answers.dictionary_encode()
    source = whole(table["source"])
    judged = "quality" in table.column_names
    return pa.table(
        {
            "id": whole(table["id"]),
            "file": pc.struct_field(source, "file"),
            "row": pc.struct_field(source, "row"),
            "prompt": _hashes(prompts),
            "answer": _hashes(answer.dictionary).take(answer.indices),
            "quality": whole(table["quality"]) if judged else pa.array(np.zeros(len(texts), np.float32)),
            "chars": pc.utf8_length(texts),
        }
    )


def _hashes(texts: pa.Array) -> pa.Array:
    """128-bit XXH3 of each text: fixed-size binary."""
    from curate.text.words import utf8

    data, bounds = utf8(texts)
    view = memoryview(data.data)
    digests = b"".join([xxhash.xxh3_128_digest(view[a:b]) for a, b in pairwise(bounds.tolist())])
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(digests)])


def hashes_of(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """64-bit XXH3 of each text."""
    from curate.text.words import utf8

    data, bounds = utf8(whole(texts) if isinstance(texts, pa.ChunkedArray) else texts)
    view = memoryview(data.data)
    ends = pairwise(bounds)
    return np.fromiter((xxhash.xxh3_64_intdigest(view[a:b]) for a, b in ends), np.uint64, len(texts))


def _canonical(answer: str) -> str:
    """A JSON object with sorted keys; any other text as it is."""
    if not answer.startswith("{"):
        return answer
    try:
        return canonical_json(json.loads(answer, parse_constant=_no_constant)).decode()
    except (ValueError, TypeError, RecursionError):
        return answer


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")  # else it would be written, and so compared, as null


def run_begins(values: Halves) -> Flags:
    """Where a run of equal hashes begins: shape (rows,)."""
    begins = np.ones(len(values), np.bool_)
    begins[1:] = (values[1:] != values[:-1]).any(axis=1)
    return begins


def priority(keys: pa.Table, rank: Numbers | None = None) -> Numbers:
    """The rows' numbers, the highest priority first: the better, the longer, the lesser id, the first in the drop.

    Args:
        keys: see `identities`.
        rank: of each row, what goes before all that: the lesser first.
    """
    ids = hexadecimal(keys["id"], 32)
    files = whole(keys["file"]).dictionary_encode()
    order = np.argsort(np.argsort(np.array(files.dictionary.to_pylist(), object)))[files.indices.to_numpy()]
    chars = keys["chars"].to_numpy().astype(np.int64)
    by = (keys["row"].to_numpy(), order, ids[:, 1], ids[:, 0], -chars, -keys["quality"].to_numpy())
    return np.lexsort(by if rank is None else (*by, rank))


def fixed(column: pa.ChunkedArray | pa.Array, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A column of fixed-size binary values as numbers, without a copy: shape (rows, bytes / size of `dtype`)."""
    array = whole(column) if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)[: (array.offset + len(array)) * width]
    return data[array.offset * width :].view(dtype).reshape(len(array), width // np.dtype(dtype).itemsize)


def hexadecimal(names: pa.ChunkedArray, digits: int) -> npt.NDArray[np.uint64]:
    """The first `digits` hex digits (a multiple of 16) of each name as numbers: shape (rows, digits / 16)."""
    array = whole(names)
    lengths = pc.min_max(pc.binary_length(array))
    if len(array) and lengths["min"] == lengths["max"]:  # else shortened, which takes ten times as long
        width = lengths["min"].as_py()
        data = np.frombuffer(array.buffers()[2], np.uint8)
        begin = np.frombuffer(array.buffers()[1], np.int32)[array.offset]
        heads = data[begin : begin + width * len(array)].reshape(len(array), width)[:, :digits].tobytes()
    else:
        heads = (pc.utf8_slice_codeunits(array, 0, digits).buffers()[2] or b"")[: digits * len(array)]
    numbers = np.frombuffer(bytes.fromhex(bytes(heads).decode()), ">u8").astype(np.uint64)
    return numbers.reshape(len(array), digits // 16)
