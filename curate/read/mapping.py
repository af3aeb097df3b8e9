"""Mapping: raw rows -> records, by the recipe's expressions."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from numbers import Number
from typing import Annotated, Any, Literal, cast

import orjson
from jinja2 import Undefined, nodes
from jinja2.parser import Parser
from pydantic import Field, model_validator

from curate.errors import AssayError
from curate.read.conversation import (
    REJECTED_ANSWER,
    UNRECOGNISED,
    Conversation,
    Paths,
    Rejection,
    ShapeError,
    Turn,
)
from curate.read.expressions import ENVIRONMENT, Name, Source, compile_expression, from_json, names_in
from curate.read.message_tree import gathered
from curate.read.places import Place, SideTable, places_of
from curate.read.raw import Files, Row, Unread
from curate.read.shapes import Recognised, Shape, recognise
from curate.record import KEYS, content_id
from curate.sandbox import Bounded, counted
from curate.stage import Settings

UNDERIVABLE = "label_underivable"
"""Reason: the recipe's `underivable` says that no record can be made of the row; the evidence says why."""
UNMAPPABLE = "unmappable"
"""Reason: an expression of the recipe failed on the row, or gave something else than text; the evidence names it."""


class Lookup(Files):
    """A side table that expressions can ask by key, e.g. `licence[key].category`."""

    key: Source = Field(description="Expression over the side table's own columns that gives a row's key.")


class Underivable(Settings):
    """A condition under which no record can be made of a row; the row is quarantined as `label_underivable`."""

    when: Source = Field(description="Expression; the row is quarantined where it is true.")
    because: str = Field(description="Said in the quarantine's evidence.")


class TurnMapping(Settings):
    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    content: Source = Field(description="Expression giving the turn's text; a turn whose text is none is left out.")


class RecordMapping(Settings):
    """How a raw row becomes a record: by the shape it is recognised to have, or by `turns`.

    Values are Jinja expressions (sandboxed, no statements) over the row's columns; `_row` holds them all, for names
    that are no identifiers, and `_file` is the file's name. Where names are equal, `let` hides a lookup or a column,
    and a lookup a column. What is not there is an error: ask `x is defined`, or write `x | default(none)`.
    """

    let: dict[Name, Source] = Field(default={}, description="Named expressions, in order; each sees those above it.")
    underivable: list[Underivable] = Field([], description="Rows of which no record is to be made, and why.")
    shape: Shape | None = Field(None, description="The one shape that rows have; by default each row's is recognised.")
    paths: Paths = Field(
        "preferred",
        description="Of a tree of messages: every path to a leaf but those through a reply beside which another is "
        "ranked better, the one best-ranked path, or all.",
    )
    accept: Source | None = Field(
        None,
        description="Whether an answer is learned: false rejects it, true and none keep it. With it the columns that "
        "judge or grade answers (`label`, `score`, ...) are not looked at by themselves; `true` takes all.",
    )
    turns: Source | Annotated[list[TurnMapping], Field(min_length=1)] | None = Field(
        None,
        description="One expression giving a list of {role, content}, or its JSON text; or the turns. Without it the "
        "row's shape tells them, and the other expressions see them as `turns`.",
    )
    target: dict[str, Source] | Source | None = Field(
        None,
        description="Key -> expression, or one expression giving an object, or its JSON text. It takes the place of "
        "the answer that a row's shape tells.",
    )
    group: Source | Annotated[list[Source], Field(min_length=1)] | None = Field(
        None,
        description="Rows with equal values share a split, of several expressions rows with an equal value of one; by "
        "default, conversations that begin alike.",
    )
    label: Source | None = Field(None, description="What the split is stratified by.")
    meta: dict[str, Source] = Field({}, description="Anything else that a template may want, by names of your own.")

    @model_validator(mode="after")
    def _one_origin_of_turns(self) -> "RecordMapping":
        if self.turns is not None and (self.shape is not None or self.paths != "preferred"):
            raise ValueError("either `turns`, or `shape` and `paths` for rows whose turns are recognised")
        return self

    def expressions(self) -> Iterator[str]:
        """All that a row's values are made by, without the keys that they go to."""
        yield from (*self.let.values(), *(rule.when for rule in self.underivable), *self.meta.values())
        for part in (self.accept, self.turns, self.target, self.group, self.label):
            if isinstance(part, str):
                yield part
            elif isinstance(part, dict):
                yield from part.values()
            elif part is not None:
                yield from (each if isinstance(each, str) else each.content for each in part)

    def names(self) -> set[str]:
        """All that the expressions name: columns are among it."""
        return set[str]().union(*map(names_in, self.expressions()))

    @property
    def reads_names(self) -> bool:
        """Whether an expression looks at the name of a row's file."""
        return "_file" in self.names()


class RowError(Exception):
    """A row of which no record can be made: reason and evidence for the quarantine."""

    def __init__(self, reason: str, evidence: dict[str, Any]) -> None:
        super().__init__(reason, evidence)
        self.reason = reason
        self.evidence = evidence


class Mapper:
    """Makes records of raw rows.

    All expressions of a mapping are compiled into one function, which sets their values one after the other; where it
    fails, the first value that is not set tells which expression it was.

    Args:
        mapping: the recipe's `record`.
        lookups: side tables by name, each a dict from key to row, which tells of documents if it is `build_lookup`'s.
    """

    def __init__(self, mapping: RecordMapping, lookups: Mapping[str, dict[str, Row]]) -> None:
        self.mapping = mapping
        self.lookups = lookups
        self._side = [table for table in lookups.values() if isinstance(table, SideTable)]
        self._keys: dict[str, str] = {}
        """Name of each value -> the recipe's key, in the order they are set. The names but those of `let` are numbers,
        which no expression can say."""
        self._body: list[nodes.Assign] = []
        for name, source in mapping.let.items():
            self._step(f"let.{name}", source, name=name)
        for index, rule in enumerate(mapping.underivable):
            self._step(f"underivable.{index}.when", rule.when, "refuse it", f"underivable.{index}.when", rule.because)
        self._accept = self._step("accept", mapping.accept, "as a verdict") if mapping.accept is not None else None
        self._turns: str | list[tuple[str, str, str]] | None = None
        if isinstance(mapping.turns, str):
            self._turns = self._step("turns", mapping.turns, "as turns")
        elif mapping.turns is not None:
            self._turns = [
                (turn.role, self._step(f"turns.{index}.content", turn.content), f"turns.{index}.content")
                for index, turn in enumerate(mapping.turns)
            ]
        self._target: str | list[tuple[str, str]] | None = None
        if isinstance(mapping.target, dict):
            self._target = [
                (_as_json(key), self._step(f"target.{key}", source, "as JSON"))
                for key, source in mapping.target.items()
            ]
        elif mapping.target is not None:
            self._target = self._step("target", mapping.target, "as JSON text")
        self._meta = [(key, self._step(f"meta.{key}", source, "as text")) for key, source in mapping.meta.items()]
        self._group: str | list[str] | None = None
        if isinstance(mapping.group, str):
            self._group = self._step("group", mapping.group, "as text")
        elif mapping.group is not None:
            self._group = [
                self._step(f"group.{index}", source, "as text") for index, source in enumerate(mapping.group)
            ]
        self._label = self._step("label", mapping.label, "as text") if mapping.label is not None else None
        self._template = ENVIRONMENT.from_string(nodes.Template(list(self._body), lineno=1))

    def _step(self, key: str, source: str, form: str = "as it is", *args: str, name: str | None = None) -> str:
        """Add an expression, its value brought into one of FORMS; gives back the value's name."""
        name = name or str(len(self._keys))
        expression = Parser(ENVIRONMENT, source, state="variable").parse_expression()
        formed = nodes.Filter(expression, form, [nodes.Const(each) for each in args], [], None, None)
        formed.set_environment(ENVIRONMENT)
        self._body.append(nodes.Assign(nodes.Name(name, "store"), formed, lineno=1))
        self._keys[name] = f"record.{key}"
        return name

    def rows(self, rows: Iterator[Row | Unread]) -> Iterator[tuple[int, Row | Unread]]:
        """A file's rows with their 0-based numbers; where shapes are recognised, a tree of messages that are rows of
        their own counts as one."""
        return enumerate(gathered(rows) if self.mapping.turns is None else rows)

    def records(self, row: Row, file: str) -> list[dict[str, Any]]:
        """The records of a row, at least one, without their source.

        Beside its columns each has `places`, for its source; `told`: what to count of it, e.g. {"alpaca": 1} for its
        shape; `taken`: column of the row -> what its shape takes it for; and `rejected`: reason and evidence where its
        answer is not to be learned, None else.

        Args:
            row: its columns, which expressions see by name, and all of them as `_row`.
            file: name of the file it was read from, which expressions see as `_file`.

        Raises:
            RowError: no record can be made of this row.
        """
        columns = {**row, **self.lookups, "_row": row, "_file": file}
        for table in self._side:
            table.asked.clear()
        if self.mapping.turns is not None:
            values = self._values(columns)
            why = self._verdict(values, None)
            made = self._record(values, self._mapped_turns(values), None, {})
            made["places"] = self._places(row, made["turns"])
            made["told"], made["taken"], made["rejected"] = {}, {}, why and (why.reason, why.evidence)
            return [made]
        shape, conversations, taken = _recognised(row, self.mapping)
        records: list[dict[str, Any]] = []
        ids: dict[int, str] = {}
        for each in conversations:
            columns["turns"] = each.turns
            values = self._values(columns)
            cut = self._target is not None and len(each.turns) > 1 and each.turns[-1]["role"] == "assistant"
            thought = each.turns[-1].get("reasoning") if cut else None
            record = self._record(values, each.turns[:-1] if cut else each.turns, each.group, each.meta, thought)
            record["places"] = self._places(row, record["turns"])
            record["told"] = {shape: 1, **each.told}
            if each.left_out:
                record["told"]["turns_left_out"] = each.left_out
            record["taken"] = taken
            why = self._verdict(values, each)
            if why is not None and (preferred := ids.get(id(why.preferred))) is not None:
                why.evidence["preferred"] = preferred
            record["rejected"] = why and (why.reason, why.evidence)
            ids[id(each)] = record["id"]
            records.append(record)
        return records

    def _places(self, row: Row, turns: list[Turn]) -> list[Place] | None:
        asked = [document for table in self._side for document in table.asked.values()]
        return places_of(turns, [(None, row), *((document.get("name"), document) for document in asked)])

    def _verdict(self, values: Row, made: Conversation | None) -> Rejection | None:
        """Why an answer is not to be learned: by where it stands, then by the recipe, or else by columns beside it."""
        if made is not None and (made.rejected is not None or self._accept is None):
            return made.rejected or made.judged
        if self._accept is not None and values[self._accept] is False:
            return Rejection(REJECTED_ANSWER, {"rule": "record.accept"})
        return None

    def _record(
        self, values: Row, turns: list[Turn], group: str | None, meta: dict[str, str], thought: str | None = None
    ) -> dict[str, Any]:
        target: str | None = None
        if isinstance(self._target, list):
            target = "{" + ", ".join([f"{key}: {values[name]}" for key, name in self._target]) + "}"
        elif self._target is not None:
            target = values[self._target]
        mapped = {key: values[name] for key, name in self._meta if values[name] is not None}
        return {
            "id": content_id(turns, target, thought),
            "turns": turns,
            "target": target,
            "reasoning": thought,
            "group": self._grouped(values, group),
            "label": values[self._label] if self._label else None,
            "language": None,
            "meta": meta | mapped,
        }

    def _grouped(self, values: Row, recognised: str | None) -> str | None:
        """The recipe's group, whose several keys are told apart by their places; or the one that the shape tells."""
        if self._group is None:
            return recognised
        if isinstance(self._group, str):
            group: str | None = values[self._group]
            return group
        keys = [f"{place}:{values[name]}" for place, name in enumerate(self._group) if values[name] is not None]
        return KEYS.join(keys) if keys else None

    def _mapped_turns(self, values: Row) -> list[Turn]:
        if isinstance(self._turns, list):
            turns = [
                {"role": role, "content": _checked_text(key, values[name])}
                for role, name, key in self._turns
                if values[name] is not None
            ]
        else:
            turns = values[str(self._turns)]
        if not turns:
            raise RowError(UNMAPPABLE, {"key": "record.turns", "message": "no turns"})
        return turns

    def _values(self, columns: Row) -> Row:
        """What each expression gives."""
        if not self._body:
            return {}
        context = cast("Bounded", self._template.new_context(columns, shared=True))
        try:
            for _ in self._template.root_render_func(context):
                pass
            context.spend(sum([len(value) for value in context.vars.values() if value.__class__ is str]))
        except RowError:
            raise
        except Exception as error:  # whatever a row's values do to an expression is the row's problem
            key = next((key for name, key in self._keys.items() if name not in context.vars), "record")
            raise RowError(UNMAPPABLE, {"key": key, "message": f"{type(error).__name__}: {error}"}) from None
        return context.vars


def _recognised(row: Row, mapping: RecordMapping) -> Recognised:
    try:
        return recognise(row, mapping.shape, mapping.paths)
    except ShapeError as problem:
        raise RowError(problem.reason, {"message": str(problem)} | problem.more) from None
    except Exception as error:  # whatever a row's values are
        raise RowError(UNRECOGNISED, {"message": f"{type(error).__name__}: {error}"}) from None


def _defined(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # which raises, and says what is undefined
    return value


def _refuse(value: Any, key: str, because: str) -> None:
    if _defined(value):
        raise RowError(UNDERIVABLE, {"because": because, "rule": f"record.{key}"})


def _as_turns(value: Any) -> list[Turn]:
    """Turns of {role, content}, and `reasoning` and `trained` where they have them."""
    turns: list[Turn] = []
    for each in from_json(value) if isinstance(value, str) else _defined(value):
        turn: Turn = {key: _checked_text("turns", each[key]) for key in ("role", "content")}
        if each.get("reasoning"):
            turn["reasoning"] = _checked_text("turns", each["reasoning"])
        if each.get("trained") is False:
            turn["trained"] = False
        turns.append(turn)
    return turns


def _as_verdict(value: Any) -> bool | None:
    value = _defined(value)
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(f"expected true, false or none, found {type(value).__name__}")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _as_json(value: Any) -> str:
    return _encode(_defined(value))


def _as_json_text(value: Any) -> str | None:
    value = _defined(value)
    return value if value is None or isinstance(value, str) else _encode(value)


def _as_text(value: Any) -> str | None:
    value = _defined(value)
    if value is None or type(value) is str:
        return value
    if not isinstance(value, (str, Number)):
        raise TypeError(f"expected text or a number, found {type(value).__name__}")
    return str(value)


def _checked_text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RowError(UNMAPPABLE, {"key": f"record.{key}", "message": f"expected text, found {type(value).__name__}"})
    return value


FORMS: dict[str, Callable[..., Any]] = {
    "as it is": _defined,
    "refuse it": _refuse,
    "as turns": counted(_as_turns),
    "as JSON": counted(_as_json),
    "as JSON text": counted(_as_json_text),
    "as text": _as_text,
    "as a verdict": _as_verdict,
}
"""What is done to an expression's value: filters of names that no expression can say."""
ENVIRONMENT.filters |= FORMS


def build_lookup(name: str, key: str, rows: Iterator[Row | Unread]) -> SideTable:
    """A lookup's rows by key; rows whose key is none are left out, and documents that cannot be read set aside.

    Args:
        name: the lookup's, for messages.
        key: expression that gives a row's key.
        rows: of the side table.

    Raises:
        AssayError: a row cannot be read or has no key, or two rows have the same.
    """
    key_of = compile_expression(key)
    table: dict[str, Row] = {}
    unread: dict[str, Unread] = {}
    for number, row in enumerate(rows):
        if isinstance(row, Unread) and row.name is not None:  # which what asks for this document is told
            with suppress(Exception):  # a document whose key is not its name's, nobody can ask for
                unread.setdefault(str(key_of({"name": row.name})), row)
            continue
        if isinstance(row, Unread):
            raise AssayError(
                f"lookups.{name}: row {number} cannot be read: {row.message}",
                remedy="Mend the file; rows that ask a side table with holes would be judged wrongly.",
            )
        try:
            value = key_of(row)
        except Exception as error:  # whatever a row's values do to an expression
            raise AssayError(
                f"lookups.{name}.key: row {number}: {type(error).__name__}: {error}",
                remedy=f"Mend the expression; the row's columns are {', '.join(map(str, row))}.",
            ) from None
        if value is None:
            continue
        if str(value) in table:
            raise AssayError(f"lookups.{name}: two rows have the key {value!r}.", remedy="Choose a key that is unique.")
        table[str(value)] = row
    return SideTable(table, {key: row for key, row in unread.items() if key not in table}, _refuse_unread)


def _refuse_unread(document: Unread) -> None:
    seen = {"message": document.message, "document": document.name}
    raise RowError(document.reason, seen | ({"page": document.page} if document.page else {}))


def raw_json(row: Row) -> str:
    """A raw row as JSON text, for the quarantine; what JSON cannot hold (dates, bytes) as text.

    A row that has integers beyond 64 bits, or keys that are tuples, is shown as Python shows it.
    """
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return ascii(row)
