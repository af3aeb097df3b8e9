"""Decisions: what people have said of rows, as lines of JSON that are only ever added to; and what comes of them.

A line names the row by its `id` and, by `seen`, what it was when somebody looked at it: the id says what was read of
it, so what may change is its label, and its target where an earlier decision has mended that. A line of which neither
is as it was seen is stale, and changes nothing.

Of one person the last line on a question stands, and `undo` takes the last one of a row back. Where two people answer
a question differently, neither is applied. In what order the files of different people are read makes no difference.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, cast

import orjson
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.errors import AssayError
from curate.hashing import exact_json
from curate.text import strict_json

Action = Literal["keep", "drop", "target", "label", "same", "different", "note", "undo"]
FATE: tuple[Action, ...] = ("keep", "drop")
PAIR: tuple[Action, ...] = ("same", "different")
SAID_ONLY: tuple[Action, ...] = ("note", "undo")
"""What says nothing of how a row is to be, so that it does not matter what it was when that was said."""
Text = Annotated[str, Field(max_length=10_000)]
Outcome = Literal["applied", "no_effect", "overruled", "stale", "no_row", "disagreement", "replaced", "noted"]
"""applied: the row is as the line says; no_effect: it would be without it; overruled: it has gone for a reason that
nobody can overrule; stale: it is not what was seen; no_row: it is not in the drop; disagreement: somebody else says
something else; replaced: the same person has said something else later, or taken it back; noted: there is nothing to
apply, as of a note or of what takes another line back, whatever the row is now."""


class Decision(BaseModel):
    """A line of a file of decisions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    """The row's."""
    seen: str = Field(pattern=r"^[0-9a-f]{16}$")
    """See `seen_hash`."""
    action: Action
    value: Any = None
    """target: the answer, as JSON; label: the label, or null; same, different: the other row's id; else nothing."""
    reason: Text = ""
    who: str = Field(min_length=1, max_length=200)
    when: datetime

    @model_validator(mode="after")
    def _has_its_value(self) -> Self:
        value, action = self.value, self.action
        if action in PAIR and not (isinstance(value, str) and len(value) == 32 and value != self.id):
            raise ValueError(f"{action} needs another row's id as its value")
        if action == "label" and not (value is None or isinstance(value, str)):
            raise ValueError("label needs a text, or null, as its value")
        if action == "target" and value is None:
            raise ValueError("target needs the answer as its value")
        if action not in (*PAIR, "label", "target") and value is not None:
            raise ValueError(f"{action} has no value")
        if action == "note" and not self.reason:
            raise ValueError("note needs its words as its reason")
        return self

    def content(self) -> list[Any]:
        """What counts of it: all but when it was."""
        return [self.id, self.seen, self.action, self.value, self.reason, self.who]

    def question(self) -> tuple[str, ...]:
        """What it answers: of one row, or of two."""
        if self.action in PAIR:
            return ("pair", *sorted((self.id, self.value)))
        return ("fate" if self.action in FATE else self.action, self.id)

    def rows(self) -> tuple[str, ...]:
        """Ids of the rows that it is about: one, or two."""
        return (self.id, self.value) if self.action in PAIR else (self.id,)

    def value_text(self) -> str | None:
        """Its value as JSON, to the last digit; None where it has none."""
        return None if self.value is None else exact_json(self.value).decode()

    def answer(self) -> str:
        return self.action if self.action in (*FATE, *PAIR) else exact_json(self.value).decode()


class Line(NamedTuple):
    """Where a decision stands."""

    file: str
    number: int
    """From 1."""
    decision: Decision


class Agreement(NamedTuple):
    """How far two people agree on questions of a kind that both have answered."""

    who: tuple[str, str]
    of: str
    """fate, target, label or pair."""
    rows: int
    agreed: int
    kappa: float | None
    """Cohen's; None where both have given one and the same answer throughout."""


@dataclass
class Verdict:
    """What stands of one row."""

    keep: bool = False
    drop: list[tuple[str, str]] = field(default_factory=list)
    """Who has decided that it is to go, and why."""
    target: str | None = None
    """The mended target, as JSON text."""
    label: tuple[str | None] | None = None


@dataclass
class Resolved:
    """What comes of all lines."""

    lines: Sequence[Line]
    outcomes: list[Outcome | None]
    """Of each line; None where it stands, and it is for the rows to show what it does."""
    stale: set[int] = field(default_factory=set)
    """Numbers of lines of which the row is not what was seen, replaced or not."""
    rows: dict[str, Verdict] = field(default_factory=dict)
    pairs: list[tuple[str, str, Action]] = field(default_factory=list)
    """Ids of two rows, the lesser first; same or different; sorted."""
    agreements: list[Agreement] = field(default_factory=list)


def seen_hash(id: str, label: str | None, mended: str | None) -> str:
    """What a row was when somebody looked at it: 16 hex digits.

    Args:
        id: the row's, which says what was read of it.
        label: its label.
        mended: its target in canonical JSON where a decision has mended it.
    """
    return xxhash.xxh3_64_hexdigest(orjson.dumps([id, label, mended]))


def read(path: Path) -> list[Decision]:
    """The decisions of a file, in its order.

    Raises:
        AssayError: it is not there, or a line is none; names file, line and key.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise AssayError(
            f"{path}: decisions cannot be read: {error.strerror}.",
            remedy="Leave it out of the recipe's `decisions` until there is a version that `assay review` or "
            "`assay decide` can begin it for.",
        ) from None
    return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(line: bytes, where: str) -> Decision:
    remedy = "Mend the line, or take it out; docs/review.md says what it holds."
    try:
        said = strict_json.loads(line.decode())
    except ValueError as error:
        raise AssayError(f"{where}: no line of JSON: {error}", remedy=remedy) from None
    try:
        return Decision.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "the line"
        raise AssayError(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}", remedy=remedy) from None


def append(path: Path, decisions: Iterable[Decision]) -> None:
    """Add lines to a file, all or none of them, and have them on the disk; a file that is not there is begun."""
    lines = (json.dumps(each.model_dump(mode="json"), ensure_ascii=False) for each in decisions)
    data = "".join(f"{line}\n" for line in lines).encode()
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            data = data if file.read(1) == b"\n" else b"\n" + data
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def lines_of(files: Iterable[Path]) -> list[Line]:
    """All lines of files, one file after the other.

    Raises:
        AssayError: see `read`.
    """
    return [Line(path.name, number, each) for path in files for number, each in enumerate(read(path), 1)]


def file_digest(decisions: Iterable[Decision]) -> str:
    """SHA-256 of what a file says: the same on whatever day it was said."""
    return hashlib.sha256(exact_json([each.content() for each in decisions])).hexdigest()


def resolve(lines: Sequence[Line], labels: Mapping[str, Collection[str | None]]) -> Resolved:
    """What comes of lines.

    Args:
        lines: the earlier before the later; of different people in any order.
        labels: of each row that is there the labels that it was read with; several where rows share an id.
    """
    found = Resolved(lines, [None] * len(lines))
    there: dict[str, list[int]] = defaultdict(list)
    for number, (_, _, line) in enumerate(lines):
        if {*line.rows()} <= labels.keys():
            there[line.who].append(number)
        else:
            found.outcomes[number] = "no_row"
    found.stale = _stale(lines, [number for numbers in there.values() for number in numbers], labels)
    answers: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for who, numbers in sorted(there.items()):
        said = [lines[number].decision for number in numbers]
        words = last_words(said, {place for place, number in enumerate(numbers) if number in found.stale})
        for place, outcome in words.others.items():
            found.outcomes[numbers[place]] = outcome
        for question, place in words.standing.items():
            answers[question][who] = numbers[place]
    for question, by_person in answers.items():
        standing = [*by_person.values()]
        if len({lines[number].decision.answer() for number in standing}) > 1:
            for number in standing:
                found.outcomes[number] = "disagreement"
        else:
            _apply(found, question, [lines[number].decision for number in standing])
    found.pairs.sort()
    found.agreements = _agreements(
        {key: {who: lines[n].decision for who, n in each.items()} for key, each in answers.items()}
    )
    return found


def _stale(lines: Sequence[Line], numbers: Iterable[int], labels: Mapping[str, Collection[str | None]]) -> set[int]:
    """Which of some lines say something of a row that is not what was seen.

    What a row may be is any of its labels with its target as it was read or mended: those of the drop, and those that
    lines give it which are not stale themselves. All of that is gathered before a line is judged, so that it does not
    matter whose line comes first, nor which have been taken back since or are not applied.
    """
    waiting: dict[str, list[int]] = defaultdict(list)
    for number in numbers:
        if lines[number].decision.action not in SAID_ONLY:
            waiting[lines[number].decision.id].append(number)
    stale: set[int] = set()
    for id_, mine in waiting.items():
        known, mends = {*labels[id_]}, {cast("str | None", None)}
        seen: set[str] = set()
        more = True
        while more:
            seen |= {seen_hash(id_, label, mended) for label in known for mended in mends}
            before = len(known) + len(mends)
            for line in (lines[number].decision for number in mine):
                if line.seen in seen and line.action == "label":
                    known.add(line.value)
                elif line.seen in seen and line.action == "target":
                    mends.add(line.answer())
            more = len(known) + len(mends) > before
        stale |= {number for number in mine if lines[number].decision.seen not in seen}
    return stale


class Words(NamedTuple):
    """What has come of all that one person has said; lines by their places."""

    standing: dict[tuple[str, ...], int]
    """By question the line that stands."""
    others: dict[int, Outcome]
    """What came of every other line."""


def last_words(lines: Sequence[Decision], stale: Collection[int] = ()) -> Words:
    """Of one person by question what has been said last.

    Args:
        lines: the earlier before the later.
        stale: the places of those that stand nowhere; they may be taken back, or answered anew.
    """
    by_row: dict[str, list[int]] = defaultdict(list)
    by_question: dict[tuple[str, ...], list[int]] = defaultdict(list)
    others: dict[int, Outcome] = {}
    for place, line in enumerate(lines):
        if line.action == "note":
            others[place] = "noted"
        elif line.action == "undo":
            said = by_row[line.id]
            others[place] = "noted" if said else "no_effect"
            if said:
                last = said[-1]
                others[last] = "replaced"
                for id_ in lines[last].rows():  # what was said last of this row was said last of the question
                    by_row[id_].remove(last)
                if last not in stale:
                    by_question[lines[last].question()].remove(last)
        else:
            for id_ in line.rows():
                by_row[id_].append(place)
            if place not in stale:
                by_question[line.question()].append(place)
    standing = {question: places[-1] for question, places in by_question.items() if places}
    others |= {place: "replaced" for places in by_question.values() for place in places[:-1]}
    for place in {*stale} - others.keys():
        others[place] = "replaced" if standing.get(lines[place].question(), -1) > place else "stale"
    return Words(standing, others)


def _apply(found: Resolved, question: tuple[str, ...], said: Sequence[Decision]) -> None:
    """What all who have answered a question say alike, by the names of people."""
    decision = said[0]
    if decision.action in PAIR:
        found.pairs.append((question[1], question[2], decision.action))
        return
    verdict = found.rows.setdefault(decision.id, Verdict())
    if decision.action == "drop":
        verdict.drop = [(each.who, each.reason) for each in said]
    elif decision.action == "keep":
        verdict.keep = True
    elif decision.action == "target":
        verdict.target = json.dumps(decision.value, ensure_ascii=False)
    else:
        verdict.label = (decision.value,)


def _agreements(answers: Mapping[tuple[str, ...], Mapping[str, Decision]]) -> list[Agreement]:
    """Of each two people and each kind of question that both have answered."""
    pairs: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for question, by_person in answers.items():
        for one, other in combinations(sorted(by_person), 2):
            pairs[one, other, question[0]].append((by_person[one].answer(), by_person[other].answer()))
    return [
        Agreement((one, other), of, len(given), sum(a == b for a, b in given), kappa(given))
        for (one, other, of), given in sorted(pairs.items())
    ]


def kappa(given: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two people's answers (Cohen, 1960): agreement beyond what chance gives; None where there is no
    chance to disagree."""
    total = len(given)
    first, second = Counter(a for a, _ in given), Counter(b for _, b in given)
    chance = sum(first[answer] * second[answer] for answer in first) / total**2
    observed = sum(a == b for a, b in given) / total
    return None if chance == 1 else round((observed - chance) / (1 - chance), 6)
