"""Mapping: raw rows -> records, by the recipe's expressions."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time
from numbers import Number
from typing import Annotated, Any, Literal

import orjson
from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import AfterValidator, Field, StringConstraints

from curate.errors import AssayError
from curate.read import Files, Row, Unread
from curate.record import content_id
from curate.stage import Settings

UNDERIVABLE = "label_underivable"
"""Reason: the recipe's `underivable` says that no record can be made of the row; the evidence says why."""
UNMAPPABLE = "unmappable"
"""Reason: an expression of the recipe failed on the row, or gave something else than text; the evidence names it."""


GUANACO = re.compile(r"(?:^|\s)###\s*(Human|Assistant):")


def guanaco_turns(text: str) -> list[dict[str, str]]:
    """Turns of a text in Guanaco's format, "### Human: ... ### Assistant: ...", each without outer spaces.

    An answer marker with nothing behind it (a prompt to be continued) gives no turn.
    """
    pieces = GUANACO.split(text)
    turns = [{"role": "system", "content": pieces[0].strip()}] if pieces[0].strip() else []
    for name, content in zip(pieces[1::2], pieces[2::2], strict=True):
        if content.strip():
            turns.append({"role": "user" if name == "Human" else "assistant", "content": content.strip()})
    return turns


def iso_date(text: str, format: str) -> str | None:
    """A date as YYYY-MM-DD, or None where `text` is no date of that format (strptime's codes; %y also takes %Y)."""
    for each in (format, format.replace("%y", "%Y")):
        try:
            return datetime.strptime(text.strip(), each).date().isoformat()
        except ValueError:
            continue
    return None


def fold(text: str) -> str:
    """A text without regard to case and accents: NFKD, marks dropped, case folded."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def pluck(keys: Iterable[str], table: dict[str, Row], column: str) -> list[Any]:
    """Column `column` of a lookup's rows for each key; None for a key it does not have."""
    return [table[key].get(column) if key in table else None for key in keys]


FILTERS: dict[str, Callable[..., Any]] = {
    "findall": lambda text, pattern: re.findall(pattern, text),
    "sub": lambda text, pattern, replacement: re.sub(pattern, replacement, text),
    "guanaco_turns": guanaco_turns,
    "fold": fold,
    "iso_date": iso_date,
    "pluck": pluck,
}
"""What expressions may use beside Jinja's own filters."""


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, and no arithmetic by which a few characters make a value that fills the memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not (isinstance(left, Number) and isinstance(right, Number)):
            raise SecurityError(f"{operator}: expressions multiply numbers only, and take no powers")
        return super().call_binop(context, operator, left, right)


ENVIRONMENT = _Environment(undefined=StrictUndefined)
ENVIRONMENT.filters |= FILTERS
ENVIRONMENT.globals = {}

Expression = Callable[[Row], Any]


def compile_expression(source: str) -> Expression:
    """A Jinja expression as a function of the row's columns; an undefined result is an error there.

    Raises:
        ValueError: `source` is no Jinja expression, or names a filter that there is not.
    """
    try:
        compiled = ENVIRONMENT.compile_expression(source, undefined_to_none=False)
        names = [name.name for name in ENVIRONMENT.parse("{{" + source + "}}").find_all(nodes.Name)]
    except TemplateError as error:
        raise ValueError(f"no Jinja expression: {error}") from None
    if "self" in names:
        raise ValueError("`self` is Jinja's own; write _row['self'] for a column of that name")

    def evaluate(columns: Row) -> Any:
        value = compiled(columns)
        if isinstance(value, Undefined):
            str(value)  # which raises, and says what is undefined
        return value

    return evaluate


def _checked(source: str) -> str:
    compile_expression(source)
    return source


Source = Annotated[str, AfterValidator(_checked)]
"""An expression as the recipe has it; one that cannot be compiled is an error of the recipe."""
Name = Annotated[str, StringConstraints(pattern="^[A-Za-z][A-Za-z0-9_]*$")]
"""A name that expressions can say; those that begin with an underscore are Assay's."""


class Lookup(Files):
    """A side table that expressions can ask by key, e.g. `licence[key].category`."""

    key: Source = Field(description="Expression over the side table's own columns that gives a row's key.")


class Underivable(Settings):
    """A condition under which no record can be made of a row; the row is quarantined as `label_underivable`."""

    when: Source = Field(description="Expression; the row is quarantined where it is true.")
    because: str = Field(description="Said in the quarantine's evidence.")


class TurnMapping(Settings):
    role: Literal["system", "user", "assistant"]
    content: Source = Field(description="Expression giving the turn's text; a turn whose text is none is left out.")


class RecordMapping(Settings):
    """How a raw row becomes a record.

    Values are Jinja expressions (sandboxed, no statements) over the row's columns; `_row` holds them all, for names
    that are no identifiers, and `_file` is the file's name. Where names are equal, `let` hides a lookup or a column,
    and a lookup a column. What is not there is an error: ask `x is defined`, or write `x | default(none)`.
    """

    let: dict[Name, Source] = Field(default={}, description="Named expressions, in order; each sees those above it.")
    underivable: list[Underivable] = []
    turns: Source | Annotated[list[TurnMapping], Field(min_length=1)] = Field(
        description="One expression giving a list of {role, content}, or the turns."
    )
    target: dict[str, Source] | Source | None = Field(
        None, description="Key -> expression, or one expression giving an object, or its JSON text."
    )
    group: Source | None = Field(None, description="Rows with equal values share a split.")
    label: Source | None = Field(None, description="What the split is stratified by.")
    meta: dict[str, Source] = {}


class RowError(Exception):
    """A row of which no record can be made: reason and evidence for the quarantine."""

    def __init__(self, reason: str, evidence: dict[str, Any]) -> None:
        super().__init__(reason, evidence)
        self.reason = reason
        self.evidence = evidence


class Mapper:
    """Makes records of raw rows.

    Args:
        mapping: the recipe's `record`.
        lookups: side tables by name, each a dict from key to row.
    """

    def __init__(self, mapping: RecordMapping, lookups: dict[str, dict[str, Row]]) -> None:
        self.lookups = lookups
        self.let = [(name, *_keyed(f"let.{name}", source)) for name, source in mapping.let.items()]
        self.underivable = [
            (*_keyed(f"underivable.{index}.when", rule.when), rule.because)
            for index, rule in enumerate(mapping.underivable)
        ]
        self.turns = (
            _keyed("turns", mapping.turns, _as_turns)
            if isinstance(mapping.turns, str)
            else [(turn.role, *_keyed(f"turns.{i}.content", turn.content)) for i, turn in enumerate(mapping.turns)]
        )
        self.target = (
            [(key, *_keyed(f"target.{key}", source, _as_json)) for key, source in mapping.target.items()]
            if isinstance(mapping.target, dict)
            else _keyed("target", mapping.target, _as_json_text)
            if mapping.target is not None
            else None
        )
        self.group = _keyed("group", mapping.group, _as_text) if mapping.group is not None else None
        self.label = _keyed("label", mapping.label, _as_text) if mapping.label is not None else None
        self.meta = [(key, *_keyed(f"meta.{key}", source, _as_text)) for key, source in mapping.meta.items()]

    def records(self, row: Row, file: str) -> list[dict[str, Any]]:
        """The records of a row, at least one, without their source.

        Args and errors: as of `record`.
        """
        return [self.record(row, file)]

    def record(self, row: Row, file: str) -> dict[str, Any]:
        """One record, without its source.

        Args:
            row: its columns, which expressions see by name, and all of them as `_row`.
            file: name of the file it was read from, which expressions see as `_file`.

        Raises:
            RowError: no record can be made of this row.
        """
        columns = row | self.lookups | {"_row": row, "_file": file}
        for name, key, expression in self.let:
            columns[name] = _evaluate(key, expression, columns)
        for key, expression, because in self.underivable:
            if _evaluate(key, expression, columns):
                raise RowError(UNDERIVABLE, {"because": because, "rule": key})
        turns = self._turns(columns)
        target = self._target(columns)
        meta = {name: _evaluate(key, expression, columns) for name, key, expression in self.meta}
        return {
            "id": content_id(turns, target),
            "turns": turns,
            "target": target,
            "group": _evaluate(*self.group, columns) if self.group else None,
            "label": _evaluate(*self.label, columns) if self.label else None,
            "language": None,
            "meta": {name: value for name, value in meta.items() if value is not None},
        }

    def _turns(self, columns: Row) -> list[dict[str, str]]:
        if isinstance(self.turns, list):
            said = [(role, key, _evaluate(key, expression, columns)) for role, key, expression in self.turns]
            turns = [
                {"role": role, "content": _checked_text(key, value)} for role, key, value in said if value is not None
            ]
        else:
            key, expression = self.turns
            turns = [
                {"role": _checked_text(key, role), "content": _checked_text(key, content)}
                for role, content in _evaluate(key, expression, columns)
            ]
        if not turns:
            raise RowError(UNMAPPABLE, {"key": "record.turns", "message": "no turns"})
        return turns

    def _target(self, columns: Row) -> str | None:
        if isinstance(self.target, list):
            values = [(name, _evaluate(key, expression, columns)) for name, key, expression in self.target]
            return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {value}" for name, value in values) + "}"
        return _evaluate(*self.target, columns) if self.target else None


def _keyed(key: str, source: str, form: Callable[[Any], Any] | None = None) -> tuple[str, Expression]:
    """An expression with the recipe's key that errors name, its values brought into a form."""
    expression = compile_expression(source)
    return f"record.{key}", (expression if form is None else lambda columns: form(expression(columns)))


def _as_turns(value: Any) -> list[tuple[Any, Any]]:
    return [(turn["role"], turn["content"]) for turn in value]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _as_json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _as_json(value)


def _as_text(value: Any) -> str | None:
    if value is not None and not isinstance(value, (str, Number, date, time)):
        raise TypeError(f"expected text, a number or a date, found {type(value).__name__}")
    return None if value is None else str(value)


def _evaluate(key: str, expression: Expression, columns: Row) -> Any:
    try:
        return expression(columns)
    except Exception as error:  # whatever a row's values do to an expression is the row's problem
        raise RowError(UNMAPPABLE, {"key": key, "message": f"{type(error).__name__}: {error}"}) from None


def _checked_text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RowError(UNMAPPABLE, {"key": key, "message": f"expected text, found {type(value).__name__}"})
    return value


def build_lookup(name: str, key: str, rows: Iterator[Row | Unread]) -> dict[str, Row]:
    """A lookup's rows by key; rows whose key is none are left out.

    Args:
        name: the lookup's, for messages.
        key: expression that gives a row's key.
        rows: of the side table.

    Raises:
        AssayError: a row cannot be read or has no key, or two rows have the same.
    """
    key_of = compile_expression(key)
    table: dict[str, Row] = {}
    for number, row in enumerate(rows):
        if isinstance(row, Unread):
            raise AssayError(
                f"lookups.{name}: row {number} cannot be read: {row.message}",
                remedy="Mend the file; rows that ask a side table with holes would be judged wrongly.",
            )
        try:
            value = _evaluate(f"lookups.{name}.key", key_of, row)
        except RowError as problem:
            raise AssayError(
                f"lookups.{name}.key: row {number}: {problem.evidence['message']}",
                remedy=f"Mend the expression; the row's columns are {', '.join(map(str, row))}.",
            ) from None
        if value is None:
            continue
        if str(value) in table:
            raise AssayError(f"lookups.{name}: two rows have the key {value!r}.", remedy="Choose a key that is unique.")
        table[str(value)] = row
    return table


def raw_json(row: Row) -> str:
    """A raw row as JSON text, for the quarantine; what JSON cannot hold (dates, bytes) as text.

    A row that has integers beyond 64 bits, or keys that are tuples, is shown as Python shows it.
    """
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return ascii(row)
