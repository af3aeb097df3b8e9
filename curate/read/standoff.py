"""Entities that are marked by their places in a text, as brat, doccano, Label Studio, Prodigy and spaCy write them."""

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from curate.read.raw_row import LONGEST_ROW, Row, Unread, shown, too_long

BEGINS = ("start", "begin", "start_offset", "startOffset", "start_char", "start_position")
ENDS = ("end", "end_offset", "endOffset", "end_char", "end_position")
LABELS = ("label", "labels", "type", "entity_type", "tag", "category", "entity", "entity_group")
WORDS = ("text", "word", "entity_value")
"""Names that keys of a span have."""
BRAT = re.compile(r"([TREAMN]\d+|\*|#\d+)\t(.*)")
BOUND = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)")


def entities(spans: Any, text: str) -> list[dict[str, Any]]:
    """Entities {label, text, begin, end} of a text, in order.

    Args:
        spans: a list of [begin, end, label], or of objects whose keys have one of the usual names; within a `value`, as
            Label Studio has them; or an object that has the list as `entities`. What marks no place (a relation, say)
            is passed over.
        text: what they are places in, in characters.

    Raises:
        ValueError: a place is not in the text, or there is something else than its span says.
    """
    found: list[dict[str, Any]] = []
    for span in spans["entities"] if isinstance(spans, dict) else spans or ():
        begin, end, labels, words = _parts(span)
        if begin is None or end is None:
            continue
        if not 0 <= begin < end <= len(text):
            raise ValueError(f"entities: {begin} to {end} is no place in a text of {len(text)} characters")
        if words is not None and words.split() != text[begin:end].split():
            raise ValueError(f"entities: from {begin} to {end} stands {text[begin:end]!r:.80}, not {words!r:.80}")
        found += [{"label": label, "text": text[begin:end], "begin": begin, "end": end} for label in labels]
    return sorted(found, key=lambda each: (each["begin"], each["end"], each["label"]))


def _parts(span: Any) -> tuple[int | None, int | None, list[str], str | None]:
    """A span's begin, end, labels and words."""
    if isinstance(span, (list, tuple)):
        begin, end, label, *_ = span
        return begin, end, [label], None
    held = span["value"] if isinstance(span.get("value"), dict) else span
    begin, end, label, words = (
        next((held[name] for name in names if held.get(name) is not None), None)
        for names in (BEGINS, ENDS, LABELS, WORDS)
    )
    labels = label if isinstance(label, list) else [label]
    return begin, end, [str(each) for each in labels if each is not None], words


def brat_rows(stream: IO[bytes], name: str) -> Iterator[Row | Unread]:
    """One row {name, entities, relations} of a file of annotations (.ann), which lies beside its text.

    Entities are {id, label, begin, end, text}, of several pieces from the first to the last; relations are {id, label,
    from, to}. Events, attributes and notes are not read.

    Args:
        stream: in UTF-8.
        name: the file's.
    """
    data = stream.read(LONGEST_ROW + 1)
    if len(data) > LONGEST_ROW:
        yield Unread(too_long(), 1, shown(data[:1000]), name=name)
        return
    try:
        lines = [line.removesuffix("\r") for line in data.decode().split("\n")]
    except UnicodeDecodeError as error:
        yield Unread(f"not UTF-8: {error}", 1, shown(data[:1000]), name=name)
        return
    found: list[dict[str, Any]] = []
    relations: list[dict[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        known = BRAT.match(line)
        if known is None:
            yield Unread(f"no annotation of brat: {line!r:.80}", number, line, name=name)
            return
        if known[1].startswith("T"):
            bound = BOUND.match(known[2])
            if bound is None:
                yield Unread(f"no entity of brat: {line!r:.80}", number, line, name=name)
                return
            places = [int(each) for each in re.split("[ ;]", bound[2])]
            entity = {"label": bound[1], "begin": places[0], "end": places[-1]}
            found.append({"id": known[1]} | entity | ({"text": bound[3]} if len(places) == 2 else {}))
        elif known[1].startswith("R"):
            label, *arguments = known[2].split()
            ends = dict(each.partition(":")[::2] for each in arguments)
            relations.append({"id": known[1], "label": label, "from": ends.get("Arg1", ""), "to": ends.get("Arg2", "")})
    yield {"name": name, "entities": found, "relations": relations}


def are_spans(values: Iterable[tuple[Any, Any]]) -> bool:
    """Whether some pairs of a list and a text are spans of it, all of them, and some not empty."""
    marked = 0
    for spans, text in values:
        try:
            marked += len(entities(spans, text or ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
    return marked > 0
