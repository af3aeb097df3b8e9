"""Expressions: what a recipe may say about a row, in Jinja's sandbox, and the filters it may use."""

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from itertools import cycle, pairwise
from typing import Annotated, Any

from jinja2 import TemplateError, Undefined, nodes, pass_context
from jinja2.filters import ignore_case, make_attrgetter, sync_do_groupby
from pydantic import AfterValidator, BeforeValidator, StringConstraints

from curate.patterns import compile_pattern, matches
from curate.read.chat_markup import guanaco_turns
from curate.read.json_value import text_value
from curate.read.python_value import is_python, python_value
from curate.read.raw_row import Document, Row
from curate.read.standoff import entities
from curate.sandbox import Bounded, Sandbox, counted, lazy


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


def from_json(text: str) -> Any:
    """The value of JSON that is held as text, strictly."""
    _expect_text(text)
    try:
        return text_value(text)
    except ValueError as error:
        hint = "; it is Python's notation, which from_python reads" if is_python(text) else ""
        raise ValueError(f"from_json: {error}{hint}") from None


def from_python(text: str) -> Any:
    """The value of a literal of Python that is held as text, as pandas writes lists into CSV."""
    _expect_text(text)
    try:
        return python_value(text)
    except ValueError as error:
        raise ValueError(f"from_python: {error}") from None


def _expect_text(value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")


def pages(text: str) -> list[str]:
    """The texts of a document's pages."""
    if not isinstance(text, Document):
        raise TypeError("pages: expected the text of a document that has pages")
    return [text[begin:end].rstrip("\n") for begin, end in pairwise([*text.pages, len(text)])]


def as_object(values: Iterable[Any], *keys: str) -> Row:
    """An object of values and their keys; without keys of pairs {key, value}, each key once."""
    pairs = list(zip(keys, values, strict=True) if keys else ((key, value) for key, value in values))
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("object: a key twice")
    return found


def pick(value: Row, *keys: str, **renamed: str) -> Row:
    """Some keys of an object: those named, and under new names `new="old"`; the others are left out."""
    return {key: value[key] for key in keys} | {new: value[old] for new, old in renamed.items()}


def spoken_by(texts: Iterable[str], *roles: str) -> list[Row]:
    """Texts as turns, their roles again and again in this order."""
    return [{"role": role, "content": text} for role, text in zip(cycle(roles), texts, strict=False)]


@pass_context
def unique(context: Bounded, values: Any, case_sensitive: bool = True, attribute: Any = None) -> Any:
    """Jinja's `unique`, for which texts that differ in case differ, in linear time whatever the values."""
    key_of = make_attrgetter(context.environment, attribute, postprocess=None if case_sensitive else ignore_case)
    seen = set()
    for value in values:
        key = key_of(value)
        if isinstance(key, int) and abs(key) > sys.maxsize >> 2:  # whole numbers so large may share one hash
            key = (hex(key),)
        if key not in seen:
            seen.add(key)
            yield value


@pass_context
def groupby(context: Bounded, values: Any, attribute: Any, default: Any = None, case_sensitive: bool = True) -> Any:
    """Jinja's `groupby`, for which texts that differ in case differ."""
    return sync_do_groupby(context.environment, values, attribute, default, case_sensitive)


@pass_context
def findall(context: Bounded, text: str, pattern: str) -> list[Any]:
    """What `re.findall` gives: each match, its group, or a tuple of its groups."""
    compiled = _compiled(pattern)
    groups = compiled.groups
    found: list[Any] = []
    for match in matches(compiled, text):
        context.tick()  # and a place in the list
        if groups > 1:
            value: Any = tuple(group.decode() for group in match.groups(b""))
        else:
            value = (match[groups] or b"").decode()
        found.append(context.made(value))
    return found


@pass_context
def sub(context: Bounded, text: str, pattern: str, replacement: str) -> str:
    """What `re.sub` gives."""
    data, pieces, end = text.encode(), [], 0
    by = replacement.encode()
    plain = b"\\" not in by
    for match in matches(_compiled(pattern), text):
        context.tick()
        start, stop = match.span()
        pieces += [data[end:start], by if plain else match.expand(by)]
        context.spend(len(pieces[-1]))
        end = stop
    context.spend(len(text))
    return (b"".join(pieces) + data[end:]).decode()


_compiled = lru_cache(compile_pattern)

_PLAIN: dict[str, Any] = {
    "entities": entities,
    "guanaco_turns": guanaco_turns,
    "fold": fold,
    "iso_date": iso_date,
    "pages": pages,
    "pluck": pluck,
    "from_json": from_json,
    "from_python": from_python,
    "zip": lambda values, *others: [list(each) for each in zip(values, *others, strict=True)],
    "object": as_object,
    "pick": pick,
    "omit": lambda value, *keys: {key: inner for key, inner in value.items() if key not in keys},
    "spoken_by": spoken_by,
    "groupby": groupby,
}
FILTERS = {name: counted(function) for name, function in _PLAIN.items()}
FILTERS |= {"findall": findall, "sub": sub, "unique": lazy(unique)}
"""What expressions may use beside Jinja's own filters."""


ENVIRONMENT = Sandbox(FILTERS)

Expression = Callable[[Row], Any]


def compile_expression(source: str) -> Expression:
    """A Jinja expression as a function of the row's columns; an undefined result is an error there.

    Raises:
        ValueError: `source` is no Jinja expression, or names a filter that there is not.
    """
    try:
        compiled = ENVIRONMENT.compile_expression(source, undefined_to_none=False)
        for told in ENVIRONMENT.parse("{{" + source + "}}").find_all(nodes.Filter):
            _expect_pattern(told)
    except TemplateError as error:
        hint = "; write it without {{ and }}" if source.lstrip().startswith("{{") else ""
        raise ValueError(f"no Jinja expression: {error}{hint}") from None
    except (RecursionError, MemoryError, SyntaxError):  # whichever of Jinja's and Python's parsers comes to it first
        raise ValueError("an expression nested so deeply cannot be read; name its parts by `let`") from None

    def evaluate(columns: Row) -> Any:
        value = compiled(columns)
        if isinstance(value, Undefined):
            str(value)  # which raises, and says what is undefined
        return value

    return evaluate


def names_in(source: str) -> set[str]:
    """The names that an expression says. Where it says `_row`, which holds all columns, its keys and texts are among
    them: a column that is no identifier is asked for by its text."""
    tree = ENVIRONMENT.parse("{{" + source + "}}")
    names = {node.name for node in tree.find_all(nodes.Name)}
    if "_row" in names:
        names |= {node.attr for node in tree.find_all(nodes.Getattr)}
        names |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return names


def _expect_pattern(told: nodes.Filter) -> None:
    """Refuse `findall`, `sub`, or `map` of one of them, with a pattern that is none."""
    words = [each.value if isinstance(each, nodes.Const) else None for each in told.args]
    name, *rest = words if told.name == "map" and words else [told.name, *words]
    if name in ("findall", "sub") and rest and isinstance(rest[0], str):
        compile_pattern(rest[0])


def _checked(source: str) -> str:
    compile_expression(source)
    return source


def _as_written(source: Any) -> Any:
    """What YAML has read as something else than text."""
    if isinstance(source, (list, dict)):
        raise ValueError(
            f"YAML takes this for a {'list' if isinstance(source, list) else 'mapping'}: put an expression that begins "
            "with [ or { in single quotes, or write it below >-"
        )
    return json.dumps(source) if isinstance(source, (bool, int, float)) else source


Source = Annotated[str, BeforeValidator(_as_written), AfterValidator(_checked)]
"""An expression as the recipe has it; one that cannot be compiled is an error of the recipe."""
Name = Annotated[str, StringConstraints(pattern="^[A-Za-z][A-Za-z0-9_]*$")]
"""A name that expressions can say; those that begin with an underscore are Assay's."""
