"""Text signals: the kernels against plain Python, on texts of several scripts; texts counted by hand; real answers."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.text_signals import BULLETS, ENDS, REPEATED, SHORT_LINE, STOP_WORDS, TOP, text_signals
from curate.text.words import split_words

WORDS = "the of And with Wort größe ça дом слово 猫 漢字 かな ไทย كلمة हिन्दी 12 a1 _ 🙂 e\u0301"
MARKS = "# ... … . .. .... ! ? 。 — • - * “ ”"
SPACES = [" ", "  ", "\n", "\n\n", "\n \n", "\t", "\u3000", "\u00a0", "\u2028", "\ufeff", "\u200d"]
PIECES = st.sampled_from([*WORDS.split(), *MARKS.split(), *SPACES, "x" * 31, "\U00020000"])
TEXTS = st.lists(PIECES, max_size=40).map("".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
REPETITIVE = st.tuples(st.lists(PIECES, max_size=12), st.integers(1, 6), st.lists(PIECES, max_size=6)).map(
    lambda parts: " ".join(parts[0] * parts[1] + parts[2])
)


def signals_of(texts: pa.Array) -> dict[str, pa.Array]:
    return text_signals(texts, split_words(texts))


def is_letter(char: str) -> bool:
    return 0x20000 <= ord(char) < 0x40000 if ord(char) >= 0x20000 else char.isalpha()


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def repeats(units: list[str]) -> list[bool]:
    return [unit in units[:at] for at, unit in enumerate(units)]


def expected(text: str) -> dict[str, float | None]:
    """The signals of a text, by their definitions."""
    tokens = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    chars = sum(map(len, lines))
    blocks, block = [], []
    for line in [line.strip() for line in text.split("\n")] + [""]:
        if line:
            block.append(line)
        elif block:
            blocks, block = [*blocks, block], []
    joined = ["\n".join(block) for block in blocks]
    found = split_words(pa.array([text]))
    raw = text.encode()
    spans = [raw[begin:end].decode() for begin, end in zip(found.begins, found.ends, strict=True)]
    words = found.hashes.tolist()
    stops = set(split_words(pa.array([" ".join(STOP_WORDS)])).hashes.tolist())
    length = sum(map(len, spans))
    ellipses = sum(len(dots) // 3 for dots in re.findall(r"\.+", text)) + text.count("…")
    out: dict[str, float | None] = {
        "words": len(words),
        "mean_word_length": share(sum(map(len, tokens)), len(tokens)),
        "symbol_to_word": share(max(text.count("#"), ellipses), len(tokens)),
        "alphabetic_words": share(sum(any(map(is_letter, token)) for token in tokens), len(tokens)),
        "stop_words": len(set(words) & stops),
        "bullet_lines": share(sum(line[0] in BULLETS for line in lines), len(lines)),
        "ellipsis_lines": share(sum(line.endswith(("...", "…")) for line in lines), len(lines)),
        "punctuated_lines": share(sum(line[-1] in ENDS for line in lines), len(lines)),
        "short_lines": share(sum(len(line) <= SHORT_LINE for line in lines), len(lines)),
        "duplicate_lines": share(sum(repeats(lines)), len(lines)),
        "duplicate_line_chars": share(
            sum(len(line) for line, again in zip(lines, repeats(lines), strict=True) if again), chars
        ),
        "duplicate_paragraphs": share(sum(repeats(joined)), len(joined)),
        "duplicate_paragraph_chars": share(
            sum(sum(map(len, block)) for block, again in zip(blocks, repeats(joined), strict=True) if again), chars
        ),
    }
    for size in TOP + REPEATED:
        grams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
        if size in TOP:
            times = Counter(grams)
            often = max(times.values(), default=0)
            lengths = [sum(map(len, spans[at : at + size])) for at, gram in enumerate(grams) if times[gram] == often]
            longest = max(lengths, default=0)
            part = min(often * longest, length) if often > 1 else 0
        else:
            seen: set[tuple[int, ...]] = set()
            covered: set[int] = set()
            for at, gram in enumerate(grams):
                if gram in seen:
                    covered |= set(range(at, at + size))
                seen.add(gram)
            part = sum(len(spans[at]) for at in covered)
        out[f"top_{size}gram" if size in TOP else f"duplicate_{size}gram"] = share(part, length)
    return out


def measured(texts: list[str]) -> list[dict[str, float | None]]:
    signals = signals_of(pa.array(texts, pa.string()))
    assert all(values.type == pa.float32() and len(values) == len(texts) for values in signals.values())
    columns = {name: values.to_pylist() for name, values in signals.items()}
    return [{name: values[row] for name, values in columns.items()} for row in range(len(texts))]


def definition(texts: list[str]) -> list[dict[str, float | None]]:
    def single(value: float | None) -> float | None:
        return None if value is None else float(np.float32(value))

    return [{name: single(value) for name, value in expected(text).items()} for text in texts]


@given(st.lists(TEXTS | REPETITIVE, max_size=5))
def test_signals_are_those_of_the_definition(texts: list[str]) -> None:
    assert measured(texts) == definition(texts)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_a_slice_and_large_strings_are_measured_alike(texts: list[str]) -> None:
    whole = signals_of(pa.array(texts, pa.large_string()))
    sliced = signals_of(pa.array(["before", *texts, "after"]).slice(1, len(texts)))
    assert all(whole[name].equals(sliced[name]) for name in whole)


def test_a_text_counted_by_hand() -> None:
    text = "- the cat...\n- the cat...\n\nOne of them sat #here\n\n- the cat...\n- the cat..."
    [seen] = measured([text])
    hand = {"words": 13, "stop_words": 2, "bullet_lines": 4 / 5, "ellipsis_lines": 4 / 5, "duplicate_lines": 3 / 5}
    hand |= {"duplicate_paragraphs": 1 / 3, "symbol_to_word": 4 / 17, "short_lines": 1.0, "punctuated_lines": 4 / 5}
    hand |= {"duplicate_line_chars": 36 / 69, "duplicate_paragraph_chars": 24 / 69, "alphabetic_words": 13 / 17}
    assert {name: seen[name] for name in hand} == {name: float(np.float32(value)) for name, value in hand.items()}


def test_four_copies_are_three_quarters_duplicates() -> None:
    [seen] = measured([" ".join(["ten different words stand here in this one single sentence"] * 4)])
    assert seen["duplicate_10gram"] == seen["duplicate_5gram"] == 0.75
    assert measured(["never gonna give you up"])[0]["top_2gram"] == 0


def test_real_answers_of_many_languages(shared_data: Path) -> None:
    lines = (shared_data / "ins_guanaco_oa/prompts/oa_questions.jsonl").read_bytes().splitlines()
    texts = [orjson.loads(line)["output"] for line in lines][::8]
    assert measured(texts) == definition(texts)


@pytest.mark.parametrize("text", ["", " \n", "\n\n\n", "."])
def test_where_there_are_no_words_there_are_no_shares_of_them(text: str) -> None:
    [seen] = measured([text])
    assert seen["words"] == seen["stop_words"] == 0
    assert seen["top_2gram"] is None
    assert (seen["mean_word_length"] is None) == (not text.strip())
