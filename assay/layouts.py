"""Layouts: how a file's rows are written where its reader must be told, by what a look at the file shows."""

import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

from curate.read.conversation import ShapeError
from curate.read.delimited import looks_like_data
from curate.read.encoding import encoding_of
from curate.read.json_rows import SPLITS
from curate.read.raw import InputFile, Row, Unread, read_rows
from curate.read.shapes import recognise
from curate.read.sniff import is_text
from curate.read.tagged import TAG as TAGGED

LOOKED_AT = 1 << 16
"""Bytes of a text that are looked at."""
FIRST_ROWS = 50
MOSTLY = 0.9
DEEPEST = 3
"""Levels of keys at which rows are looked for."""
MANY = 5
"""Rows, at least, that are taken for such where nothing else tells that they are."""
MAIL_HEADER = re.compile(
    r"(From|To|Date|Subject|Message-ID|Received|Return-Path|Delivered-To|MIME-Version): ", re.IGNORECASE
)
MBOX = re.compile(r"^From \S+ .*\d{4}[^\n]*\n[\w-]+: ", re.MULTILINE)
TAG = re.compile(r"^[ \t]*<([A-Za-z][\w.-]*)[\s>]", re.MULTILINE)
RULE = re.compile(r"^[ \t]*(?:%|([^\w\s`])\1+)[ \t]*$", re.MULTILINE)
LABEL = re.compile(r"[A-Za-z][\w -]{0,20}:(?=\s)")
NUMBERED = re.compile(r"^\d{1,6}[.)](?=\s)", re.MULTILINE)


def layout(file: InputFile, packed: bool) -> tuple[dict[str, Any], str]:
    """The options that a source must state for a file's rows to be read, and what was seen, in words; nothing where
    the reader sees all by itself.

    Args:
        file: with its format; None where neither content nor name tell one.
        packed: whether its bytes are a packing's.
    """
    if file.format in ("csv", "tsv") and file.options.header:
        rows = [row for row in islice(read_rows(file), FIRST_ROWS) if not isinstance(row, Unread)]
        if (name := looks_like_data(rows)) is not None:
            return {"header": False}, f"the first line is a row, not names: {name!r}"
    if file.format == "json" and file.options.rows is None:
        first = list(islice(read_rows(file), 2))
        if first and isinstance(first[0], dict) and first[0].get("_key") in SPLITS:
            return (
                {},
                "rows of splits, which `_key` names: `record.meta: {split: _key}`, `split.named: split` keep them",
            )
        row = first[0] if len(first) == 1 else None
        if isinstance(row, dict) and not _recognised(row):
            whole = replace(file, options=file.options.model_copy(update={"rows": "."}))
            row = next(read_rows(whole))  # not what the reader took for the rows
        if isinstance(row, dict) and not _recognised(row) and (keys := rows_below(row)):
            return {"rows": keys}, f"the rows lie at {keys}"
    if file.format in (None, "text", "conll") and not packed and file.path.suffix.lower() != ".md":
        with file.path.open("rb") as stream:
            head = stream.read(LOOKED_AT)
        if not is_text(head):
            return {}, ""
        text = (head.rpartition(b"\n")[0] or head).decode(
            file.options.encoding or encoding_of(head) or "cp1252", "replace"
        )
        found, words = text_layout(text)
        if file.format is not None and found.get("format") == file.format:
            return {}, words
        return ({"format": "text"} if words and file.format != "text" else {}) | found, words
    return {}, ""


def text_layout(text: str) -> tuple[dict[str, Any], str]:
    """How one text file holds several rows: options and words; no words where it does not look as if it did."""
    text = text.replace("\r\n", "\n")
    if MBOX.match(text):
        return {"format": "mbox"}, "a mail folder (mbox), a mail after the other"
    if MAIL_HEADER.match(text):
        return {"format": "eml"}, "a mail"
    tags = Counter(TAG.findall(text))
    tag = next((tag for tag, times in tags.items() if times > 1 and f"</{tag}>" in text), None)
    if tag is not None and text.lstrip().startswith("<"):
        return {"record_start": rf"\s*<{re.escape(tag)}[\s>]"}, f"SGML or XML, with rows that begin with <{tag}>"
    blocks = [block.splitlines() for block in re.split(r"\n[ \t]*\n", text.strip("\n"))]
    lines = [line for block in blocks for line in block if line.strip() and not line.startswith("#")]
    for between in ("\t", " "):
        cells = Counter(len(line.split(between)) for line in lines)
        most, times = cells.most_common(1)[0] if cells else (1, 0)
        if len(blocks) > 1 and most > 1 and times >= MOSTLY * len(lines) and len(lines) > 2 * len(blocks):
            tagged = all(TAGGED.match(line.split(between)[-1].strip()) for line in lines)
            how = {"format": "conll"} if tagged else {"record_separator": ""}
            return how, f"{most} columns a line and blank lines between rows (CoNLL)"
    label = LABEL.match(text)
    starts = label and re.findall(rf"^{re.escape(label[0])}(?=\s)", text, re.MULTILINE)
    if label and starts and len(starts) >= MANY:
        return {"record_start": re.escape(label[0])}, f"rows that begin with {label[0]}"
    if NUMBERED.match(text) and len(NUMBERED.findall(text)) >= MANY:
        return {"record_start": r"\d+[.)]\s"}, "rows that begin with a number"
    rules = Counter(match[0].strip() for match in RULE.finditer(text))
    if rules and (rule := rules.most_common(1)[0])[1] > 2:
        return {"record_separator": re.escape(rule[0])}, f"lines of {rule[0]} between rows"
    return {}, ""


def rows_below(value: Row) -> str | None:
    """The keys, from the outside in, of the longest list of MANY objects alike within an object, if there is one."""
    length, keys = _longest(value, DEEPEST)
    return keys if length >= MANY else None


def _longest(value: Row, levels: int) -> tuple[int, str]:
    best = (0, "")
    for key, inner in value.items():
        if isinstance(inner, dict) and levels > 1:
            length, below = _longest(inner, levels - 1)
            best = max(best, (length, f"{key}.{below}"))
        elif isinstance(inner, list) and all(isinstance(each, dict) for each in inner):
            times = Counter(name for each in inner for name in each)
            if 2 * sum(each >= MOSTLY * len(inner) for each in times.values()) >= len(times):
                best = max(best, (len(inner), key))
    return best


def _recognised(row: Row) -> bool:
    try:
        recognise(row)
    except ShapeError:
        return False
    return True
