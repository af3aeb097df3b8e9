"""Mapping: raw rows -> records, by the recipe's expressions."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Literal

import orjson
from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field

from curate.errors import AssayError
from curate.read import Files, Row, Unread
from curate.record import content_id
from curate.stage import Settings

UNDERIVABLE = "label_underivable"
"""Reason: the recipe's `underivable` says that no record can be made of the row; the evidence says why."""
UNMAPPABLE = "unmappable"
"""Reason: an expression of the recipe failed on the row, or gave something else than text; the evidence names it."""


class Lookup(Files):
    """A side table that expressions can ask by key, e.g. `licence[key].category`."""

    key: str = Field(description="Expression over the side table's own columns that gives a row's key.")


class Underivable(Settings):
    """A condition under which no record can be made of a row; the row is quarantined as `label_underivable`."""

    when: str = Field(description="Expression; the row is quarantined where it is true.")
    because: str = Field(description="Said in the quarantine's evidence.")


class TurnMapping(Settings):
    role: Literal["system", "user", "assistant"]
    content: str = Field(description="Expression giving the turn's text; a turn whose text is none is left out.")


class RecordMapping(Settings):
    """How a raw row becomes a record.

    Values are Jinja expressions (sandboxed, no statements) over the row's columns; `_row` holds them all, for names
    that are no identifiers, and `_file` is the file's name.
    """

    let: dict[str, str] = Field(default={}, description="Named expressions, in order; each sees those above it.")
    underivable: list[Underivable] = []
    turns: str | list[TurnMapping] = Field(description="One expression giving a list of {role, content}, or the turns.")
    target: dict[str, str] | str | None = Field(
        None, description="Key -> expression, or one expression giving an object."
    )
    group: str | None = Field(None, description="Rows with equal values share a split.")
    label: str | None = Field(None, description="What the split is stratified by.")
    meta: dict[str, str] = {}


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


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.filters |= FILTERS
    environment.globals = {}
    return environment


Expression = Callable[[Row], Any]


def compile_expression(environment: ImmutableSandboxedEnvironment, key: str, source: str) -> Expression:
    """A Jinja expression as a function of the row's columns; an undefined result is None.

    Raises:
        AssayError: the expression is no Jinja expression; names the recipe's key.
    """
    try:
        compiled = environment.compile_expression(source, undefined_to_none=True)
    except TemplateError as error:
        raise AssayError(f"{key}: {source!r} is no expression: {error}", remedy="Write a Jinja expression.") from None

    def evaluate(columns: Row) -> Any:
        return compiled(columns)

    return evaluate


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

    Raises:
        AssayError: an expression cannot be compiled.
    """

    def __init__(self, mapping: RecordMapping, lookups: dict[str, dict[str, Row]]) -> None:
        environment = _environment()
        environment.globals = dict(lookups)

        def compiled(key: str, source: str) -> tuple[str, Expression]:
            return f"record.{key}", compile_expression(environment, f"record.{key}", source)

        self.let = [(name, *compiled(f"let.{name}", source)) for name, source in mapping.let.items()]
        self.underivable = [
            (*compiled(f"underivable.{index}.when", rule.when), rule.because)
            for index, rule in enumerate(mapping.underivable)
        ]
        self.turns = (
            compiled("turns", mapping.turns)
            if isinstance(mapping.turns, str)
            else [(turn.role, *compiled(f"turns.{i}", turn.content)) for i, turn in enumerate(mapping.turns)]
        )
        self.target = (
            {key: compiled(f"target.{key}", source) for key, source in mapping.target.items()}
            if isinstance(mapping.target, dict)
            else compiled("target", mapping.target)
            if mapping.target is not None
            else None
        )
        self.group = compiled("group", mapping.group) if mapping.group else None
        self.label = compiled("label", mapping.label) if mapping.label else None
        self.meta = {key: compiled(f"meta.{key}", source) for key, source in mapping.meta.items()}

    def record(self, row: Row, file: str) -> dict[str, Any]:
        """One record, without its source.

        Args:
            row: its columns, which expressions see by name, and all of them as `_row`.
            file: name of the file it was read from, which expressions see as `_file`.

        Raises:
            RowError: no record can be made of this row.
        """
        columns = row | {"_row": row, "_file": file}
        for name, key, expression in self.let:
            columns[name] = _evaluate(key, expression, columns)
        for key, expression, because in self.underivable:
            if _evaluate(key, expression, columns):
                raise RowError(UNDERIVABLE, {"because": because, "rule": key})
        turns = self._turns(columns)
        target = self._target(columns)
        return {
            "id": content_id(turns, target),
            "turns": turns,
            "target": target,
            "group": self._text(self.group, columns),
            "label": self._text(self.label, columns),
            "language": None,
            "meta": {
                key: value
                for key, expression in self.meta.items()
                if (value := self._text(expression, columns)) is not None
            },
        }

    def _turns(self, columns: Row) -> list[dict[str, str]]:
        if isinstance(self.turns, list):
            values = [(role, key, _evaluate(key, expression, columns)) for role, key, expression in self.turns]
            turns = [
                {"role": role, "content": _checked_text(key, value)} for role, key, value in values if value is not None
            ]
        else:
            key, expression = self.turns
            turns = [
                {"role": _checked_text(key, turn["role"]), "content": _checked_text(key, turn["content"])}
                for turn in _evaluate(key, expression, columns)
            ]
        if not turns:
            raise RowError(UNMAPPABLE, {"key": "record.turns", "message": "no turns"})
        return turns

    def _target(self, columns: Row) -> str | None:
        if self.target is None:
            return None
        if isinstance(self.target, dict):
            value: Any = {name: _evaluate(*pair, columns) for name, pair in self.target.items()}
        else:
            value = _evaluate(*self.target, columns)
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False)

    def _text(self, pair: tuple[str, Expression] | None, columns: Row) -> str | None:
        if pair is None:
            return None
        value = _evaluate(*pair, columns)
        return None if value is None else str(value)


def _evaluate(key: str, expression: Expression, columns: Row) -> Any:
    try:
        value = expression(columns)
    except Exception as error:  # whatever a row's values do to an expression is the row's problem
        raise RowError(UNMAPPABLE, {"key": key, "message": f"{type(error).__name__}: {error}"}) from None
    return None if isinstance(value, Undefined) else value


def _checked_text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RowError(UNMAPPABLE, {"key": key, "message": f"expected text, found {type(value).__name__}"})
    return value


def build_lookup(name: str, key: str, rows: Iterator[Row | Unread]) -> dict[str, Row]:
    """A lookup's rows by key; rows that cannot be read or have no key are left out.

    Args:
        name: the lookup's, for messages.
        key: expression that gives a row's key.
        rows: of the side table.

    Raises:
        AssayError: two rows have the same key.
    """
    key_of = compile_expression(_environment(), f"lookups.{name}.key", key)
    table: dict[str, Row] = {}
    for row in rows:
        if isinstance(row, Unread):
            continue
        value = _evaluate(f"lookups.{name}.key", key_of, row)
        if value is None:
            continue
        if value in table:
            raise AssayError(f"lookups.{name}: two rows have the key {value!r}.", remedy="Choose a key that is unique.")
        table[str(value)] = row
    return table


def raw_json(row: Row) -> str:
    """A raw row as JSON text, for the quarantine; what JSON cannot hold (dates, bytes) as text."""
    return orjson.dumps(row, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
