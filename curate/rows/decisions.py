"""Decisions: what people have said of rows, as lines of JSON that are only ever added to; and what comes of them.

A line names the row by its `id` and, by `seen`, what it was when somebody looked at it: the id says what was read of
it, so what may change is its label, and its target where an earlier decision has mended that. A line of which neither
is as it was seen is stale, and changes nothing.

Of one person the last line on a question stands, and `undo` takes the last one of a row back. Where two people answer
a question differently, neither is applied.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import orjson
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.errors import AssayError
from curate.hashing import canonical_json, digest
from curate.text import strict_json

Action = Literal["keep", "drop", "target", "label", "same", "different", "note", "undo"]
FATE: tuple[Action, ...] = ("keep", "drop")
PAIR: tuple[Action, ...] = ("same", "different")
Text = Annotated[str, Field(max_length=10_000)]
Outcome = Literal["applied", "no_effect", "overruled", "stale", "no_row", "disagreement", "replaced", "noted"]
"""applied: the row is as the line says; no_effect: it would be without it; overruled: it has gone for a reason that
nobody can overrule; stale: it is not what was seen; no_row: it is not in the drop; disagreement: somebody else says
something else; replaced: the same person has said something else later, or taken it back; noted: there is nothing to
apply."""


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

    def answer(self) -> str:
        return self.action if self.action in (*FATE, *PAIR) else canonical_json(self.value).decode()


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
            remedy="`assay review` and `assay decide` begin it; or take it out of `decisions` in the recipe.",
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
    data = b"".join(orjson.dumps(each.model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE) for each in decisions)
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
    return digest([each.content() for each in decisions])


def resolve(lines: Sequence[Line], labels: Mapping[str, Collection[str | None]]) -> Resolved:
    """What comes of lines.

    Args:
        lines: the earlier before the later.
        labels: of each row that is there the labels that it was read with; several where rows share an id.
    """
    found = Resolved(lines, [None] * len(lines))
    standing = _standing(found, labels)
    answers: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for (who, question), number in standing.items():
        answers[question][who] = number
    for question, by_person in answers.items():
        numbers = [*by_person.values()]
        if len({lines[number].decision.answer() for number in numbers}) > 1:
            for number in numbers:
                found.outcomes[number] = "disagreement"
        else:
            _apply(found, question, [lines[number] for number in sorted(numbers)])
    found.pairs.sort()
    found.agreements = _agreements(
        {key: {who: lines[n].decision for who, n in each.items()} for key, each in answers.items()}
    )
    return found


def _standing(found: Resolved, labels: Mapping[str, Collection[str | None]]) -> dict[tuple[str, tuple[str, ...]], int]:
    """By person and question the number of the line that stands; of all others the outcome is told."""
    states: dict[str, dict[str, tuple[str | None, str | None]]] = {}
    standing: dict[tuple[str, tuple[str, ...]], int] = {}
    said: dict[tuple[str, str], list[tuple[int, int | None]]] = defaultdict(list)  # and what each has replaced
    for number, (_, _, line) in enumerate(found.lines):
        if line.id not in labels or (line.action in PAIR and line.value not in labels):
            found.outcomes[number] = "no_row"
            continue
        if line.id not in states:
            states[line.id] = {seen_hash(line.id, label, None): (label, None) for label in labels[line.id]}
        known = states[line.id]
        if line.seen not in known:
            found.outcomes[number] = "stale"
        elif line.action == "note":
            found.outcomes[number] = "noted"
        elif line.action == "undo":
            _undo(found, number, standing, said[line.who, line.id])
        else:
            key = (line.who, line.question())
            before = standing.get(key)
            if before is not None:
                found.outcomes[before] = "replaced"
            standing[key] = number
            said[line.who, line.id].append((number, before))
            label, mended = known[line.seen]
            label = line.value if line.action == "label" else label
            mended = line.answer() if line.action == "target" else mended
            known[seen_hash(line.id, label, mended)] = (label, mended)
    return standing


def _undo(
    found: Resolved,
    number: int,
    standing: dict[tuple[str, tuple[str, ...]], int],
    said: list[tuple[int, int | None]],
) -> None:
    """Take back the last thing that somebody has said of a row; what that had replaced stands again."""
    found.outcomes[number] = "noted" if said else "no_effect"
    if not said:
        return
    last, before = said.pop()
    found.outcomes[last] = "replaced"
    decision = found.lines[last].decision
    del standing[decision.who, decision.question()]
    if before is not None:
        standing[decision.who, decision.question()] = before
        found.outcomes[before] = None


def _apply(found: Resolved, question: tuple[str, ...], lines: Sequence[Line]) -> None:
    """What all who have answered a question say alike."""
    decision = lines[0].decision
    if decision.action in PAIR:
        found.pairs.append((question[1], question[2], decision.action))
        return
    verdict = found.rows.setdefault(decision.id, Verdict())
    if decision.action == "drop":
        verdict.drop = [(line.decision.who, line.decision.reason) for line in lines]
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


def last_words(lines: Iterable[Decision]) -> dict[tuple[str, ...], Decision]:
    """By question what somebody has said last, whatever has become of the rows since.

    Args:
        lines: of one person, the earlier before the later.
    """
    standing: dict[tuple[str, ...], Decision] = {}
    said: dict[str, list[tuple[tuple[str, ...], Decision | None]]] = defaultdict(list)
    for line in lines:
        if line.action == "undo":
            question, before = said[line.id].pop() if said[line.id] else ((), None)
            standing.pop(question, None)
            if before is not None:
                standing[question] = before
        elif line.action != "note":
            said[line.id].append((line.question(), standing.get(line.question())))
            standing[line.question()] = line
    return standing
