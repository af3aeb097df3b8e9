"""PII: personal data and secrets become typed placeholders, in turns, targets and meta alike, or quarantine the row.

The same value becomes the same placeholder within a row (`[EMAIL_1]`, `[EMAIL_2]`), however it is written, so that who
is who stays told. In a target a telephone number that a turn holds is one only if it is one there (not so a docket's
number, whatever key it has), and a string that a turn holds as personal data always is: a model can answer only what it
reads. What counts as what is `curate.text.personal_data`; names of people and places are
`curate.text.names`.

JSON stays JSON: in a target, and in a turn that is a JSON object or array, only what is within strings changes, and
not a byte else. Its keys are never changed, as others rely on them; a key is also what its value is called ("phone":
...). A number that is a payment card's becomes a string; if the contract wants a number there, `validate` says so. A
`group` or a `label` that holds personal data becomes its hash: they are compared and counted, over all rows.

Reason: `personal_data`: a kind that the recipe quarantines; the evidence says which kinds, how many values, where the
first stands and its shape: never what it says.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, model_validator

from curate.cache import seen_by_all
from curate.examples import Example, example_of, first_examples
from curate.record import KEYS, SCHEMA, rows_of_texts, texts_of, with_texts
from curate.stage import Context, Outcome, Reject, RowStage, divide
from curate.text.names import ENTITIES, NameKind, Names
from curate.text.personal_data import FINDERS, SUSPECT, Found, Kind, find, masked, value
from curate.text.phone_numbers import LOOKS_TOLD
from curate.text.plain_text import ODD, plain

META_ENTRIES = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.string())]))
COLUMNS = ("turns", "target", "meta", "group", "label")
"""Where personal data is looked for, in the order in which a row's values are numbered."""
PLACEHOLDER = re.compile(rf"\[({'|'.join(kind.upper() for kind in (*FINDERS, *ENTITIES.values()))})_([0-9]{{1,6}})\]")
NUMBERED = r"\[[A-Z_]+_[0-9]+\]"
"""RE2: what may be a placeholder."""
ESCAPES = r"\\u[0-9A-Fa-f]{4}"
"""RE2: JSON escapes that may hide anything."""
JSON_OF = dict.fromkeys(COLUMNS, "[^\\pN\\PN]") | {"turns": r"^[^!-~]*[\[{]", "target": ""}
"""RE2, by column: texts that may be read as JSON; none, those that begin like it, and all."""
JSON_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|-?[0-9][0-9.eE+-]*+|[][{}:,]', re.DOTALL)


class Place(NamedTuple):
    """A text of the table that may hold personal data, or placeholders of an earlier run."""

    row: int
    column: int
    """Of COLUMNS."""
    position: int
    """Within the column's texts."""
    kinds: tuple[str, ...]
    """What it may hold."""


class Pii(RowStage):
    """Personal data and secrets to placeholders, or the row to quarantine, by kind.

    Counters: for each kind that is replaced, the rows in which it was; `in_keys`: kept rows with personal data in a key
    of their JSON, which stays. Examples, by kind: texts whose values are masked before, and placeholders after; only
    the report tells of them.
    """

    name: ClassVar[str] = "pii"
    version: ClassVar[int] = 5
    libraries: ClassVar[tuple[str, ...]] = ("phonenumbers", "presidio-analyzer", "python-stdnum", "spacy")
    reasons: ClassVar[dict[str, str]] = {"personal_data": "a kind that `pii.quarantine` names"}
    protects: ClassVar[bool] = True

    replace: list[Literal[Kind, NameKind]] = Field(list(FINDERS), description="Kinds that become placeholders.")
    quarantine: list[Literal[Kind, NameKind]] = Field([], description="Kinds for which a row goes to quarantine.")
    names: Names | None = Field(None, description="A model that finds `person` and `place` (extra `pii`).")

    @model_validator(mode="after")
    def _kinds_are_told_apart(self) -> "Pii":
        if both := sorted({*self.replace} & {*self.quarantine}):
            raise ValueError(f"{both[0]} is both replaced and quarantined: name it once")
        if self.names is None and (unknown := sorted({*ENTITIES.values()} & self.kinds)):
            raise ValueError(f"{unknown[0]} is found by a model: name its folder as pii.names.model")
        return self

    @property
    def kinds(self) -> set[str]:
        return {*self.replace, *self.quarantine}

    def prepare(self, context: Context) -> "Pii":
        if self.names is None:
            return self
        return self.model_copy(update={"names": self.names.placed(seen_by_all(self.names.folder, context.cache))})

    def rewriting(self) -> "Pii":
        """The same stage, but one that keeps every row: what it quarantines is replaced too."""
        return self.model_copy(update={"replace": [*self.replace, *self.quarantine], "quarantine": []})

    def run(self, table: pa.Table) -> Outcome:
        meta = table["meta"].combine_chunks().cast(META_ENTRIES)
        entries, every = meta.flatten(), np.arange(table.num_rows)
        target, group, label = (table[name].combine_chunks() for name in ("target", "group", "label"))
        keys, values = pc.struct_field(entries, "key"), pc.struct_field(entries, "value")
        found = [texts_of(table), target, values, group, label]
        rows = [rows_of_texts(table), every, pc.list_parent_indices(meta).to_numpy(), every, every]
        called = [found[0], target, pc.binary_join_element_wise(keys, values, ": "), group, label]
        # A number in a target is judged by what the turns hold.
        asked = {0: pc.is_valid(target).to_numpy(zero_copy_only=False)[rows[0]]}
        places = [
            Place(int(rows[column][position]), column, position, kinds)
            for column in range(len(COLUMNS))
            for position, kinds in self._suspects(called[column], JSON_OF[COLUMNS[column]], asked.get(column))
        ]
        counters: dict[str, int] = dict.fromkeys([*self.replace, "in_keys"], 0)
        rejects: list[Reject] = []
        examples: dict[str, list[Example]] = {}
        changed: list[dict[int, str]] = [{} for _ in COLUMNS]
        for row, of_row in groupby(sorted(places), key=lambda place: place.row):
            mine = list(of_row)
            work = _Row(self, [found[place.column][place.position].as_py() for place in mine])
            new = [
                work.protect(text, place, keys[place.position].as_py() if place.column == 2 else "")
                for text, place in zip(work.texts, mine, strict=True)
            ]
            if work.quarantined:
                rejects.append(Reject(row, "personal_data", {"kinds": dict(work.quarantined), **work.first}))
                continue
            for place, text, was in zip(mine, new, work.texts, strict=True):
                if text != was:
                    changed[place.column][place.position] = text
            for counter in {kind for kind, _ in work.placeholders} | work.counters:
                counters[counter] += 1
            for kind, example in work.examples(table["id"][row].as_py(), new):
                examples[kind] = first_examples([*examples.get(kind, []), example])
        arrays = [_changed(column, new) for column, new in zip(found, changed, strict=True)]
        if changed[0]:
            table = with_texts(table, arrays[0])
        if changed[2]:
            arrays[2] = pa.MapArray.from_arrays(_offsets(meta), keys, arrays[2])
        for name, array, of_column in list(zip(COLUMNS, arrays, changed, strict=True))[1:]:
            if of_column:
                table = table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), array)
        return replace(divide(table, "pii", rejects, counters), examples=examples)

    def _suspects(self, texts: pa.Array, json_of: str, asked: Any = None) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Positions of the texts that may hold personal data or placeholders, with the kinds that it may be.

        Args:
            json_of: RE2 pattern of those that may be read as JSON, whose escapes may hide anything.
            asked: whether others ask what each text holds, even where it is no personal data; by default they do.
        """
        patterns = {kind: SUSPECT[kind] for kind in FINDERS if kind in self.kinds}
        named = tuple(sorted(self.kinds - patterns.keys()))
        if not self.kinds:
            return
        hiding = _matches(texts, json_of)
        asked = hiding | asked if asked is not None else np.ones(len(texts), np.bool_)
        hiding[hiding] = _matches(texts.filter(pa.array(hiding)), ESCAPES)
        foreign = ~pc.fill_null(pc.string_is_ascii(texts), True).to_numpy(zero_copy_only=False)
        foreign[foreign] = _matches(texts.filter(pa.array(foreign)), ODD)
        odd = hiding | foreign
        pick = [
            *(f"(?:{pattern})" for pattern in patterns.values()),
            NUMBERED,
            *([r"\pL"] if named else []),
        ]
        positions = np.flatnonzero(odd | _matches(texts, "|".join(pick)))
        if not len(positions):
            return
        some = texts.take(pa.array(positions))
        read = _changed(some, {at: plain(some[at].as_py())[0] for at in np.flatnonzero(odd[positions]).tolist()})
        marks = {kind: hiding[positions] | _matches(read, pattern) for kind, pattern in patterns.items()}
        if (phone := marks.get("phone")) is not None:
            alone = phone & ~asked[positions]
            phone[alone] = _matches(read.filter(pa.array(alone)), LOOKS_TOLD)
        numbered = asked[positions] | bool(named) | _matches(some, NUMBERED)
        for at in np.flatnonzero(np.any([numbered, *marks.values()], axis=0)).tolist():
            yield int(positions[at]), tuple(kind for kind, mark in marks.items() if mark[at]) + named


class _Row:
    """The work on one row: the placeholders it has so far, and what sends it to quarantine."""

    def __init__(self, stage: Pii, texts: Sequence[str]) -> None:
        self.stage = stage
        self.texts = texts
        self.said: list[str] = []
        """The turns with placeholders."""
        self.placeholders: dict[tuple[str, str], str] = {}
        self.shapes: dict[str, str] = {}
        """By placeholder, the shape of what it stands for."""
        self.quarantined = Counter[str]()
        self.first: dict[str, str] = {}
        """Where the first value that is to be quarantined stands, and its shape."""
        self.counters: set[str] = set()
        self.numbers = Counter[str]()
        """The highest number of each kind's placeholders; those that the row came with are somebody else's."""
        for kind, number in (match.groups() for text in texts for match in PLACEHOLDER.finditer(text)):
            self.numbers[kind.lower()] = max(self.numbers[kind.lower()], int(number))

    def protect(self, text: str, place: Place, called: str) -> str:
        """The text with placeholders, valid JSON if it was; `called` is the text's key, if it has one."""
        column = COLUMNS[place.column]
        if column in ("group", "label"):
            return KEYS.join(
                xxhash.xxh3_128_hexdigest(key.encode()) if self._find(key, place, "") else key
                for key in text.split(KEYS)
            )
        mended = self._protected(text, place, called)
        if column == "turns":
            self.said.append(mended)
        return mended

    def examples(self, id_: str, texts: Sequence[str]) -> Iterator[tuple[str, Example]]:
        """For each kind that was replaced, the first of the new texts that shows it: with shapes before, as it is
        after."""
        for kind in sorted({kind for kind, _ in self.placeholders}):
            mine = [placeholder for (of, _), placeholder in self.placeholders.items() if of == kind]
            text = next((text for text in texts if any(each in text for each in mine)), None)
            if text is not None:  # else it was in a group or a label, which is hashed
                yield kind, example_of(id_, PLACEHOLDER.sub(lambda each: self.shapes.get(each[0], each[0]), text), text)

    def _protected(self, text: str, place: Place, called: str) -> str:
        column = COLUMNS[place.column]
        if column == "target" or (column == "turns" and text.lstrip()[:1] in ("{", "[")):
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                pass
            else:
                return self._protect_json(text, place)
        return self._replaced(text, place, called)

    def _protect_json(self, text: str, place: Place) -> str:
        out: list[str] = []
        at, called = 0, ""
        tokens = list(JSON_TOKEN.finditer(text))
        for token, after in zip(tokens, [*tokens[1:], None], strict=True):
            new = token[0]
            if new[0] == '"':
                said = json.loads(new, strict=False)
                if after is not None and after[0] == ":":
                    called = said
                    if self._find(said, place, ""):
                        self.counters.add("in_keys")
                elif (mended := self._known(said, place) or self._replaced(said, place, called)) != said:
                    new = _json_string(mended)
            elif "credit_card" in place.kinds and len(new) >= 12 and new.isdigit():
                only = place._replace(kinds=("credit_card",))
                if (mended := self._replaced(new, only, called)) != new:
                    new = _json_string(mended)
            out += [text[at : token.start()], new]
            at = token.end()
        return "".join([*out, text[at:]])

    def _replaced(self, text: str, place: Place, called: str) -> str:
        out, at = [], 0
        for found in self._find(text, place, called):
            out += [text[at : found.begin], self._placeholder(found, text)]
            at = found.end
        return "".join([*out, text[at:]])

    def _known(self, said: str, place: Place) -> str | None:
        """The placeholder of a text that is, as a whole, a value found before."""
        if COLUMNS[place.column] != "target" or not re.fullmatch(r"[\w+(](?:.*\w)?", said):
            return None
        known = (self.placeholders.get((kind, value(kind, said))) for kind in FINDERS if kind in place.kinds)
        return next(filter(None, known), None)

    def _is_told(self, found: Found, text: str) -> bool:
        """Whether what is found in a target does not stand in the turns, which come first, as something else."""
        written = text[found.begin : found.end]
        return (found.kind, found.value) in self.placeholders or not any(written in said for said in self.said)

    def _placeholder(self, found: Found, text: str) -> str:
        if (found.kind, found.value) not in self.placeholders:
            self.numbers[found.kind] += 1
            number = self.numbers[found.kind]
            self.placeholders[found.kind, found.value] = f"[{found.kind.upper()}_{number}]"
            self.shapes[self.placeholders[found.kind, found.value]] = masked(text[found.begin : found.end])
        return self.placeholders[found.kind, found.value]

    def _find(self, text: str, place: Place, called: str) -> list[Found]:
        """What is found in a text and is to be replaced; what is to be quarantined is noted."""
        found = find(text, place.kinds, called)
        if COLUMNS[place.column] == "target":
            found = [each for each in found if each.kind != "phone" or self._is_told(each, text)]
        if self.stage.names is not None and not {*ENTITIES.values()}.isdisjoint(place.kinds):
            taken = [*((each.begin, each.end) for each in found), *(each.span() for each in PLACEHOLDER.finditer(text))]
            for kind, begin, end in self.stage.names.find(text):
                if kind in place.kinds and all(end <= other[0] or begin >= other[1] for other in taken):
                    taken.append((begin, end))
                    found.append(Found(kind, begin, end, " ".join(text[begin:end].casefold().split())))
            found.sort(key=lambda each: each.begin)
        keep: list[Found] = []
        for each in found:
            if each.kind in self.stage.quarantine:
                self.quarantined[each.kind] += 1
                self.first = self.first or {
                    "kind": each.kind,
                    "column": COLUMNS[place.column],
                    "shape": masked(text[each.begin : each.end]),
                }
            else:
                keep.append(each)
        return keep


def _matches(texts: pa.Array, pattern: str) -> Any:
    """Whether each text matches an RE2 pattern, False where it is null: a NumPy array."""
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False).to_numpy(zero_copy_only=False)


def _changed(texts: pa.Array, new: dict[int, str]) -> pa.Array:
    """The texts, some of them replaced."""
    if not new:
        return texts
    mask = np.zeros(len(texts), dtype=bool)
    mask[list(new)] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array([new[at] for at in sorted(new)], pa.string()))


def _offsets(lists: pa.Array) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _json_string(text: str) -> str:
    """A JSON string; escaped all through where UTF-8 cannot hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)
