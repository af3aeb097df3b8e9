"""Files of tokens and their tags (CoNLL, BIO and its like) -> a row a sentence, with the entities that are marked."""

import re
from collections.abc import Iterator
from typing import IO, Any

from curate.read.files import Options
from curate.read.raw_row import LONGEST_ROW, Row, Unread, bounded_lines, distinct, shown, too_long

TAG = re.compile(r"(?:[BIESLUM](?:-.+)?|O)\Z", re.DOTALL)
"""Of the schemes IOB1, IOB2, IOE, BIOES and BILOU, with a label or without, and what marks no entity."""
DOCUMENT = "-DOCSTART-"
"""The first token of a line that begins a document."""


def tagged_rows(stream: IO[bytes], name: str, options: Options) -> Iterator[Row | Unread]:
    """Rows {text, tokens, tags, entities, document, name}, and further columns by their names; one a sentence, which a
    blank line ends.

    The first column has the tokens and the last one the tags, unless `options.columns` name others `token` and `tag`.
    `text` is the tokens with spaces between; entities are {label, text, begin, end}, places in it.

    Args:
        stream: in UTF-8.
        name: the file's.
        options: `columns` counts.
    """
    sentence: list[list[str]] = []
    first = size = document = 0
    for line, data in enumerate(bounded_lines(stream), 1):
        words = data.decode("utf-8", "surrogateescape").rstrip("\r\n")
        cells = words.split("\t") if "\t" in words else words.split()
        if words.startswith(DOCUMENT):
            document += 1
        elif any(cells):
            first = first or line
            size += len(data)
            if size <= LONGEST_ROW:
                sentence.append(cells)
            continue
        if sentence:
            yield _row(sentence, size, first, document, name, options)
        sentence, first, size = [], 0, 0
    if sentence:
        yield _row(sentence, size, first, document, name, options)


def _row(sentence: list[list[str]], size: int, line: int, document: int, name: str, options: Options) -> Row | Unread:
    raw = "\n".join("\t".join(cells) for cells in sentence)
    width = len(sentence[0])
    said = None
    if size > LONGEST_ROW:
        said = too_long()
    elif odd := next((at for at, cells in enumerate(sentence) if len(cells) != width), None):
        said = f"{len(sentence[odd])} columns on line {line + odd}, expected {width}"
    elif options.columns and len(options.columns) != width:
        said = f"{width} columns, expected {len(options.columns)}: {', '.join(options.columns)}"
    elif width < 2:
        said = "one column: tokens without tags"
    try:
        raw.encode()
    except UnicodeEncodeError:
        said, raw = "not UTF-8: state `encoding` in the recipe's source", shown(raw.encode("utf-8", "surrogateescape"))
    if said is not None:
        return Unread(said, line, raw[:1000])
    middle = [f"column_{at}" for at in range(2, width)]
    columns = dict(
        zip(
            distinct([*(options.columns or ["token", *middle, "tag"])]),
            map(list, zip(*sentence, strict=True)),
            strict=True,
        )
    )
    tokens = columns.pop("token", None)
    tags = columns.pop("tag", None)
    if tokens is None or tags is None:
        return Unread("`columns` name no `token`, or no `tag`", line, raw[:1000])
    if wrong := next((tag for tag in tags if not TAG.match(tag)), None):
        return Unread(f"{wrong!r} is no tag such as B-PER, I-PER or O", line, raw[:1000])
    text = " ".join(tokens)
    row = {"text": text, "tokens": tokens, "tags": tags, "entities": entities(tokens, tags), "document": document}
    return row | columns | {"name": name}


def entities(tokens: list[str], tags: list[str]) -> list[dict[str, Any]]:
    """Entities {label, text, begin, end} of a sentence, in order: places in the tokens joined by spaces.

    An entity begins with a tag B or U or S, with one of another label than the tag before, and after an O or an entity
    that has ended (E, L); so all schemes are read alike, as seqeval does.
    """
    text = " ".join(tokens)
    found: list[dict[str, Any]] = []
    label: str | None = None
    """Of the entity that is open."""
    begin = at = 0
    for token, tag in zip(tokens, tags, strict=True):
        kind, _, named = tag.partition("-")
        if kind == "O":
            label = None
        else:
            if kind in "BSU" or named != label:
                label, begin = named, at
                found.append({"label": label, "text": "", "begin": begin, "end": at})
            found[-1] |= {"text": text[begin : at + len(token)], "end": at + len(token)}
            if kind in "ESLU":
                label = None
        at += len(token) + 1
    return found
