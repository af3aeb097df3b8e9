"""Clean: the same words in one normal form."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache, reduce
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.examples import EXAMPLES, Example, example_of
from curate.record import map_contents, rows_of_texts
from curate.stage import Outcome, Reject, RowStage, divide
from curate.text.fences import without_blocks
from curate.text.markup import pages_to_text

LINE_ENDS = "\r\n?|[\u0085\u2028\u2029]"
PAGE_ENDS = "[\v\f]"
"""White space of code, which begins pages and columns with them; elsewhere line ends."""
ESCAPES = r"\x1b\[[0-?]*[ -/]*[@-~]"
"""Control sequences of terminals (ECMA-48, 5.4): colours, cursor movements."""
CONTROLS = (
    "[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u180e\u200b\u2060-\u2064\ufeff"
    "\u202a-\u202e\u2066-\u206f\ufff9-\ufffb]"
)
"""C0 and C1 controls, soft hyphen, zero-width space, word joiner and invisible operators, byte order mark, annotation
marks, bidirectional embeddings, overrides and isolates (Unicode 16, ch. 23). Joiners (U+200C, U+200D) stay: Persian,
Indic scripts and emoji need them. With `mojibake` on, ftfy has by then taken C1 controls for what Windows-1252 has in
their place, where it has anything."""
TAGS = "(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[\U000e0000-\U000e007f]"
"""Invisible copies of ASCII, in which a text can hide another; flags of regions are made of them, and stay."""
EDGES = r"[>]\s*$|^\s*<"
UNSEEN = f"{LINE_ENDS}|{CONTROLS}|{TAGS}"
CONTROL_BYTES = bytes([*range(9), *range(13, 32), 127]) + bytes.fromhex("c2 e1 e2 ef f0 f3")
"""What characters of these begin with in UTF-8."""
LINE_TAILS = "[ \t\u00a0]+\n"
BLANK_LINES = "\n{3,}"
ENCODINGS = (
    r"(?i)mojibake|garbled|encod|decod|charset|character set|utf-?8|latin-?1|iso-?8859|(?:windows|cp)-?125|unicode"
    r"|кодировк|编码|乱码|文字化け|文字コード|인코딩"
)
"""Talk of how text is encoded: what looks broken beside it may be its example."""


OPENING = r"<s>|<bos>|<\|begin_of_text\|>"
STOPS = r"</s>|<eos>|<end_of_turn>|<\|(?:im_end|endoftext|end_of_text|eot_id|end)\|>"
TEMPLATE_OPENING = rf"^(?:\s*(?:{OPENING}))+(?:\s*$|\s*([^\s\p{{Ll}}])|(\p{{Ll}}))"
TEMPLATE_STOPS = rf"^(?:\s*(?:{STOPS}))+\s*$|(?:(\S)|([.!?…。！？:)\"”’»*`])[ \t]+|\s*\n\s*)(?:(?:{STOPS})\s*)+$"
"""What a rendered turn begins and ends with: in a turn it is a leftover, and says nothing. Where the token is a
sentence's first or last word, apart from the others and without a full stop between, the sentence is about it."""
STRUCK = r"(?s)\S.*<s>|</s>\s*[^\s<]"
"""HTML that strikes text out, which no rule of templates touches."""
TEMPLATE_MARKERS = (
    r"(?m)(?:^|[^`'\"‘’“”«])(<\|(?:im_start|im_end|endoftext|begin_of_text|end_of_text|start_header_id|eot_id)\|>"
    r"|<(?:start|end)_of_turn>|</s>\s*<s>)"
)
"""Where the templates ChatML, Llama 2 and 3 and Gemma divide turns, by tokens that no text has; between quotation marks
it is talk of them."""
PAIRED_MARKERS = (
    (r"\[INST\]", r"\[/INST\]"),
    (r"<<SYS>>", r"<</SYS>>"),
    (r"(?m)^### ?Human:", r"### ?Assistant:"),
    (r"(?m)^### ?Instruction:", r"### ?Response:"),
)
"""What Llama 2, Guanaco and Alpaca put before a question and before its answer. One of them is a heading or talk, as in
the documentation of an interface (`### Response:`); the second behind the first is a conversation."""
ALONE = r"\S\s*\n(### ?Human:)[ \t]*\S"
"""A next question in an answer, where its model went on for somebody else: no heading, for the text has no other."""
HEADING = re.compile(r"(?m)^#{1,6} ")

JSON_STRING = re.compile(r'("(?:[^"\\\x00-\x1f]|\\.)*+")(\s*+:)?')
"""A string of JSON, and the colon behind a key."""
SUSPECT = r"\|>|_of_turn>|INST\]|SYS>>|</s>|### ?[HI]"
"""What every template marker holds: only such texts are searched for one."""
SPAN = re.compile(r"(?<!`)(`++)[^\n]{1,1000}?(?<!`)\1(?!`)")
"""Code within a line; bounded, for a backtick that nothing closes would be sought to the end of each line."""


class Clean(RowStage):
    """Every turn in one normal form: by default what no reader sees is mended, and not a letter or blank else. Counters
    and examples: rows changed by each rule.

    The target and `meta` stay as they are, for an answer is the data's word; but what a target copies from a turn is
    still a copy afterwards (`copied`). Cleaning twice changes no more than once.

    Reason: `template_markers` (a turn holds what divides turns in a chat template; the evidence names turn and marker).
    """

    name: ClassVar[str] = "clean"
    version: ClassVar[int] = 6
    libraries: ClassVar[tuple[str, ...]] = ("ftfy", "resiliparse")
    reasons: ClassVar[dict[str, str]] = {
        "template_markers": (
            "a turn holds what divides turns in a chat template (`clean.template_markers: keep` lets it)"
        )
    }

    unicode: Literal["NFC", "NFKC"] = Field("NFC", description="Unicode normalisation form.")
    mojibake: bool = Field(True, description="Mend mis-decoded text with ftfy where a line looks broken.")
    html: Literal["text", "keep"] = Field(
        "keep", description="Whether turns that are HTML from beginning to end become the text that a reader sees."
    )
    whitespace: Literal["keep", "tidy"] = Field(
        "keep",
        description="Whether turns lose blanks at line ends and at either end, and blank lines but one in a row.",
    )
    template_markers: Literal["quarantine", "keep"] = Field(
        "quarantine", description="What becomes of rows in which a turn holds a chat template's turn markers."
    )

    def rewriting(self) -> "Clean":
        return self

    def run(self, table: pa.Table) -> Outcome:
        rules: dict[str, Callable[[pa.Array], pa.Array]] = {
            "mojibake": mend_mojibake,
            "template": _edges,
            "html": pages_to_text,
            "controls": _controls,
            "unicode": lambda texts: pc.utf8_normalize(texts, self.unicode),
            "whitespace": _tidy,
        }
        if not self.mojibake:
            del rules["mojibake"]
        if self.html == "keep":
            del rules["html"]
        if self.whitespace == "keep":
            del rules["whitespace"]
        rows = rows_of_texts(table)
        ids = table["id"].combine_chunks()
        spoken_of = _speak_of_encodings(table)[rows]
        changed: dict[str, set[int]] = {name: set() for name in rules}
        examples: dict[str, list[Example]] = {name: [] for name in rules}

        def apply(contents: pa.Array) -> pa.Array:
            # What one rule took away may have hidden what another looks for: a text that changed is looked at again.
            every = "html" in rules or "whitespace" in rules
            places = np.arange(len(contents)) if every else _unusual(contents)
            texts = contents.take(pa.array(places))
            while len(places):
                before = texts
                for name, rule in rules.items():
                    mended = rule(texts)
                    if mended is texts:
                        continue
                    if name == "mojibake" and spoken_of[places].any():
                        mended = pc.if_else(pa.array(spoken_of[places]), texts, mended)
                    differ = np.flatnonzero(pc.not_equal(mended, texts).to_numpy(zero_copy_only=False))
                    if len(differ):
                        changed[name].update(rows[places[differ]].tolist())
                        examples[name] += _examples(ids, rows[places[differ]], texts, mended, differ)
                    texts = mended
                if before is texts:
                    break
                differ = np.flatnonzero(pc.not_equal(before, texts).to_numpy(zero_copy_only=False))
                if not len(differ):
                    break
                texts, places = texts.take(pa.array(differ)), places[differ]
                mask = np.zeros(len(contents), dtype=bool)
                mask[places] = True
                contents = pc.replace_with_mask(contents, pa.array(mask), texts)
            return contents

        def settle(texts: pa.Array) -> pa.Array:
            mended = reduce(lambda texts, rule: rule(texts), rules.values(), texts)
            return mended if mended.equals(texts) else settle(mended)

        cleaned = map_contents(table, apply)
        targets = _copied(table, cleaned, settle)
        if targets:
            old, places = cleaned["target"].combine_chunks(), np.array(list(targets))
            mask = np.zeros(len(old), dtype=bool)
            mask[places] = True
            new = pc.replace_with_mask(old, pa.array(mask), pa.array(targets.values(), pa.string()))
            examples["copied"] = _examples(ids, places, old, new, places)
            cleaned = cleaned.set_column(cleaned.schema.get_field_index("target"), cleaned.schema.field("target"), new)
        changed["copied"] = set(targets)
        rejects = _marked(cleaned) if self.template_markers == "quarantine" else []
        gone = {reject.row for reject in rejects}
        counters = {name: len(found - gone) for name, found in changed.items()}
        return replace(divide(cleaned, "clean", rejects, counters), examples=examples)


def _examples(ids: pa.Array, rows: Any, before: pa.Array, after: pa.Array, places: Any) -> list[Example]:
    """Examples of the changed rows with the smallest ids.

    Args:
        rows: the row of each text at `places`.
    """
    changed = ids.take(pa.array(rows))
    first = changed.unique().drop_null().sort()[:EXAMPLES]
    return [
        example_of(id_.as_py(), before[place].as_py(), after[place].as_py())
        for id_ in first
        for place in [int(places[pc.index(changed, id_).as_py()])]
    ]


def _copied(table: pa.Table, cleaned: pa.Table, settle: Callable[[pa.Array], pa.Array]) -> dict[int, str]:
    """The targets, by row, whose strings were copied from a turn: cleaned as the turn was.

    A string of a JSON target is one if it stood in a turn, does so no more, and its cleaned form does.

    Args:
        table, cleaned: the rows before and after their turns were cleaned.
        settle: cleans texts.
    """
    if cleaned is table:
        return {}
    turns, now = table["turns"].combine_chunks(), cleaned["turns"].combine_chunks()
    before, after = (pc.struct_field(said.flatten(), "content") for said in (turns, now))
    differ = pc.not_equal(before, after)
    targets = cleaned["target"].combine_chunks()
    found: list[tuple[int, int, int, str]] = []
    said_now: dict[int, str] = {}
    for row in pc.unique(pc.list_parent_indices(turns).filter(differ)).to_pylist():
        target = targets[row].as_py()
        if target is None:
            continue
        said = "\0".join(turn["content"] for turn in turns[row].as_py())
        said_now[row] = "\0".join(turn["content"] for turn in now[row].as_py())
        for string in JSON_STRING.finditer(target):
            with suppress(ValueError):
                text = json.loads(string[1])
                if not string[2] and text in said and text not in said_now[row]:
                    found.append((row, *string.span(1), text))
    mended: dict[int, str] = {}
    cleaner = settle(pa.array([text for *_, text in found], pa.string())).to_pylist()
    for (row, begin, end, _), text in reversed(list(zip(found, cleaner, strict=True))):
        if text and text in said_now[row]:
            target = mended.get(row) or targets[row].as_py()
            mended[row] = f"{target[:begin]}{json.dumps(text, ensure_ascii=False)}{target[end:]}"
    return dict(sorted(mended.items()))


def _speak_of_encodings(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Whether a turn of each row speaks of how text is encoded, and one looks mis-decoded."""
    turns = table["turns"].combine_chunks()
    contents, rows = pc.struct_field(turns.flatten(), "content"), pc.list_parent_indices(turns).to_numpy()
    spoken_of = np.zeros(len(turns), np.bool_)
    foreign = np.flatnonzero(pc.invert(pc.string_is_ascii(contents)).to_numpy(zero_copy_only=False))
    some = np.flatnonzero(np.isin(rows, rows[foreign]))
    talk = pc.match_substring_regex(contents.take(pa.array(some)), ENCODINGS).to_numpy(zero_copy_only=False)
    spoken_of[rows[some[talk]]] = True
    return spoken_of


def _marked(table: pa.Table) -> list[Reject]:
    """The rows in which a turn holds a template's markers."""
    turns = table["turns"].combine_chunks()
    contents = pc.struct_field(turns.flatten(), "content")
    rows = pc.list_parent_indices(turns).to_numpy()
    begins = np.searchsorted(rows, np.arange(len(turns)))
    found: dict[int, Reject] = {}
    for place in pc.indices_nonzero(_matching(contents, b">]#", SUSPECT)).to_pylist():
        row, marker = int(rows[place]), _marker(contents[int(place)].as_py())
        if marker is not None:
            seen = {"turn": int(place - begins[row]), "marker": marker}
            found.setdefault(row, Reject(row, "template_markers", seen))
    return list(found.values())


def _marker(text: str) -> str | None:
    """The first marker by which a template divides turns, outside of code."""
    text = SPAN.sub("` `", without_blocks(text))
    if match := re.search(TEMPLATE_MARKERS, text):
        return match[1]
    for asks, answers in PAIRED_MARKERS:
        if (match := re.search(asks, text)) and re.search(answers, text[match.end() :]):
            return match[0]
    if (match := re.search(ALONE, text)) and len(HEADING.findall(text)) == 1:
        return match[1]
    return None


def _where(rows: pa.Array, texts: pa.Array, rule: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """The texts with what a rule makes of some of them; themselves if it is of none."""
    return pc.replace_with_mask(texts, rows, rule(texts.filter(rows))) if rows.true_count else texts


def _unusual(texts: pa.Array) -> Any:
    """The places of the texts of which the rules that always run may change any."""
    some = pc.or_(_matching(texts, b"<>", EDGES), _matching(texts, CONTROL_BYTES, UNSEEN))
    return np.flatnonzero(pc.or_(some, pc.invert(pc.string_is_ascii(texts))).to_numpy(zero_copy_only=False))


def _edges(texts: pa.Array) -> pa.Array:
    """Without the leftovers of a template at either end."""
    return _where(_matching(texts, b"<>", EDGES), texts, _bare)


def _bare(texts: pa.Array) -> pa.Array:
    bare = _replace(_replace(texts, TEMPLATE_OPENING, r"\1\2"), TEMPLATE_STOPS, r"\1\2")
    return pc.if_else(pc.match_substring_regex(texts, STRUCK), texts, bare)


def _matching(texts: pa.Array, some: bytes, pattern: str) -> pa.Array:
    """Which texts match a pattern that needs one of these bytes."""
    from curate.text.spans import holding  # which imports numba, and a recipe is loaded without it

    found = holding(texts, some)
    found[found] = pc.match_substring_regex(texts.filter(pa.array(found)), pattern).to_numpy(zero_copy_only=False)
    return pa.array(found)


def _controls(texts: pa.Array) -> pa.Array:
    """One kind of line end; no terminal escapes, controls, invisible or reordering characters."""
    return _where(_matching(texts, CONTROL_BYTES, UNSEEN), texts, _without_controls)


def _without_controls(texts: pa.Array) -> pa.Array:
    texts = _replace(texts, LINE_ENDS, "\n")
    texts = _replace(texts, ESCAPES, "")
    return _replace(_replace(texts, CONTROLS, ""), TAGS, r"\1")


def _replace(texts: pa.Array, pattern: str, by: str) -> pa.Array:
    """`replace_substring_regex`, of the texts that match alone: the others are not copied."""
    found = pc.match_substring_regex(texts, pattern)
    if not pc.any(found).as_py():
        return texts
    return pc.replace_with_mask(texts, found, pc.replace_substring_regex(texts.filter(found), pattern, by))


def _tidy(texts: pa.Array) -> pa.Array:
    """No spaces at line ends, at most one blank line in a row, none at either end; indentation stays."""
    texts = _replace(texts, PAGE_ENDS, "\n")
    return pc.utf8_trim_whitespace(_replace(_replace(texts, LINE_TAILS, "\n"), BLANK_LINES, "\n\n"))


def mend_mojibake(texts: pa.Array) -> pa.Array:
    """Undo wrong decodings, line by line, with ftfy's `fix_encoding`.

    ftfy leaves text alone that is ASCII or that its badness heuristic does not mark, so asking it only about the
    lines it marks gives the same result as asking it about every line.
    """
    foreign = np.flatnonzero(pc.invert(pc.string_is_ascii(texts)).to_numpy(zero_copy_only=False))
    if not len(foreign):
        return texts
    suspects = foreign[
        pc.match_substring_regex(texts.take(pa.array(foreign)), _badness()).to_numpy(zero_copy_only=False)
    ]
    import ftfy
    from ftfy.badness import is_bad

    rows, mended = [], []
    for row in suspects:
        text = texts[int(row)].as_py()
        rows.append(row)
        mended.append("\n".join(ftfy.fix_encoding(line) if is_bad(line) else line for line in text.split("\n")))
    mask = np.zeros(len(texts), dtype=bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(mended, pa.string()))


@cache
def _badness() -> str:
    """ftfy's expression of what looks mis-decoded, for RE2, without a verbose one's spaces and comments."""
    from ftfy.badness import BADNESS_RE

    kept = re.findall(r"\[[^\]]*\]|\\.|#[^\n]*|\s+|[^\s#\[\\]+", BADNESS_RE.pattern)
    return "".join(part for part in kept if not part.isspace() and part[0] != "#")
