"""Jinja as recipes and templates may speak it: a list of what they may call, and a bound on what they may make.

Expressions and templates come from elsewhere as data does. What they may name stands in a list: filters, tests, methods
of text, objects and lists, and a few attributes; anything else is refused when they are read, not when a row comes.
What they make is counted, and none of what they may call takes longer than what it is given and what it makes are
long. So a row costs a bounded time and memory, whatever is asked of it, and gives the same on every machine: nothing
is random, and nothing shows a clock or an address.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import date, datetime
from datetime import time as time_of_day
from functools import wraps
from numbers import Number
from typing import Any, cast

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2 import filters as jinja_filters
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import Namespace, _PassArg

from curate.template_check import LAZY, NODE, ORDERS, Checked

MOST_MADE = 256 << 20
"""Characters that the expressions of one row, or one rendering, may make; a value counts as NODE of them."""
MOST_BITS = 4096
"""Of a whole number."""
LONGEST_NEEDLE = 1000
"""Characters of what is sought by ways that go over a text again for each of them."""
LONGEST_TIME = 10.0
"""Seconds of the processor for matching patterns; RE2 is linear a match, not for all matches of a text."""


def _names(text: str) -> list[str]:
    return text.split()


METHODS: dict[str, tuple[type, ...]] = (
    dict.fromkeys(
        _names(
            "capitalize casefold endswith find isalnum isalpha isascii isdecimal isdigit islower isnumeric "
            "isspace istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex "
            "rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
        ),
        (str,),
    )
    | dict.fromkeys(["get", "items", "keys", "values"], (dict,))
    | dict.fromkeys(["count", "index"], (str, list, tuple))
    | {"isoformat": (date, time_of_day), "cycle": (LoopContext,), "changed": (LoopContext,)}
)
"""Methods that may be called, and of which values."""
BACKWARDS = {"strip", "lstrip", "rstrip", "rfind", "rindex", "rsplit", "rpartition"}
"""Methods that go over the text again for each character of what is sought."""
ATTRIBUTES: dict[type, frozenset[str]] = {
    date: frozenset({"year", "month", "day"}),
    datetime: frozenset({"hour", "minute", "second", "microsecond"}),
    time_of_day: frozenset({"hour", "minute", "second", "microsecond"}),
    tuple: frozenset({"grouper", "list"}),  # of what `groupby` gives
    LoopContext: frozenset(_names("index index0 revindex revindex0 first last length depth depth0 previtem nextitem")),
}
"""Attributes that may be read, beside an object's own keys."""
DIRECTIVE = re.compile(r"%(?:\([^)]*\))?[-+ #0]*([0-9.]*(?:\*|[0-9]{3})[0-9.*]*)?")
"""Of `format`; its group is a width or precision that is too large."""
SCALARS = {int, float, bool, type(None)}


class Overrun(SecurityError):
    """More was made of a row than may be."""


class Bounded(Context):
    """The names of one row or rendering, and what it may still make."""

    left = MOST_MADE
    _until: float | None = None

    def spend(self, characters: int) -> None:
        """Count what is made.

        Raises:
            Overrun: it is more than is left.
        """
        self.left -= characters
        if self.left < 0:
            raise Overrun(
                f"makes more than {MOST_MADE >> 20} MiB of text of one row, or {MOST_MADE // NODE:,} values: "
                "a bound for all of its expressions together, and for a template"
            )

    def tick(self) -> None:
        """Count a match of a pattern, by the clock too.

        Raises:
            Overrun: patterns have taken too long.
        """
        self.spend(NODE)
        now = time.thread_time()
        if self._until is None:
            self._until = now + LONGEST_TIME
        if now > self._until:
            raise Overrun(f"patterns took more than {LONGEST_TIME:g} s of processor time on one row")

    def made(self, value: Any) -> Any:
        """A value, counted with all that is in it; what stands in it twice counts twice."""
        kind = value.__class__
        if kind is str:
            self.spend(len(value))
        elif kind in SCALARS:
            pass
        elif isinstance(value, (list, tuple)):
            self.spend(NODE * (1 + len(value)) + sum([len(each) for each in value if each.__class__ is str]))
            for each in value:
                if each.__class__ is not str and each.__class__ not in SCALARS:
                    self.made(each)
        elif isinstance(value, dict):
            self.spend(NODE * (1 + len(value)))
            for key, each in value.items():
                self.made(key)
                self.made(each)
        elif isinstance(value, (str, bytes)):
            self.spend(len(value))
        return value

    def text(self, value: Any) -> str:
        """A value as text, counted.

        Raises:
            TypeError: it has none that is the same each time, as what `map` gives before `list`.
        """
        if type(value) is str:
            said: str = value
        else:
            if not isinstance(value, Undefined):  # of which text says what is undefined
                _expect_data(self.made(value))
            said = str(value)
        self.spend(len(said))
        return said


def _expect_data(value: Any) -> None:
    if isinstance(value, Undefined):
        str(value)  # which raises, and says what is undefined
    if isinstance(value, Namespace):
        raise TypeError("expected data, found a namespace; name something in it, as ns.found")
    if isinstance(value, (Iterator, Macro, LoopContext)) or callable(value):
        raise TypeError("expected data, found what gives values one after the other; write `| list` behind it")
    if isinstance(value, (list, tuple)):
        for each in value:
            _expect_data(each)
    elif isinstance(value, dict):
        for each in value.values():
            _expect_data(each)


@pass_context
def namespace(context: Bounded, *args: Any, **kwargs: Any) -> Namespace:
    """Jinja's `namespace`, with names that do not begin with `_`; what is in it is counted."""
    said = context.made(dict(*args, **kwargs))
    if wrong := [name for name in said if not isinstance(name, str) or name.startswith("_")]:
        raise SecurityError(f"namespace: names in it are texts that do not begin with _, not {str(wrong[0])[:100]!r}")
    return Namespace(said)


PASSED = {_PassArg.eval_context: "eval_ctx", _PassArg.environment: "environment"}


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose value is counted as made; a `pass_context` or `pass_environment` of its own holds."""
    wants = _PassArg.from_obj(function)

    @pass_context
    @wraps(function)
    def counting(context: Bounded, *args: Any, **kwargs: Any) -> Any:
        if wants is None:
            value = function(*args, **kwargs)
        else:
            value = function(context if wants is _PassArg.context else getattr(context, PASSED[wants]), *args, **kwargs)
        return value if value.__class__ in SCALARS else context.made(value)

    return counting


def lazy(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that goes over values one after the other, which are counted; its own `pass_context` holds."""

    @pass_context
    @wraps(function)
    def counting(context: Bounded, values: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(values, Sized):
            context.spend(NODE * len(values))
        return function(context, values, *args, **kwargs)

    return counting


def of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """A `counted` filter of text; of what is none it is given the text that is the same each time, if there is one."""
    counting = counted(function)

    @pass_context
    @wraps(function)
    def speaking(context: Bounded, value: Any, *args: Any, **kwargs: Any) -> Any:
        return counting(context, value if type(value) is str else context.text(value), *args, **kwargs)

    return speaking


@pass_context
def default(context: Bounded, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Jinja's `default`."""
    if isinstance(value, Undefined) or (boolean and not value):
        value = default_value
    return value if value.__class__ in SCALARS else context.made(value)


@pass_context
def join(context: Bounded, values: Iterable[Any], d: Any = "", attribute: str | int | None = None) -> str:
    """Jinja's `join`."""
    if attribute is not None:
        values = map(jinja_filters.make_attrgetter(context.environment, attribute), values)
    texts = [each if each.__class__ is str else context.text(each) for each in values]
    return _joined(context, context.text(d), texts)


def _joined(context: Bounded, between: str, texts: list[str]) -> str:
    context.spend(len(between) * len(texts) + sum(map(len, texts)))
    return between.join(texts)


@pass_context
def replace(context: Bounded, text: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Jinja's `replace`."""
    whole, old, new = context.text(text), context.text(old), context.text(new)
    times = whole.count(old) if count is None or count < 0 else min(count, whole.count(old))
    context.spend(max(0, len(whole) + times * (len(new) - len(old))))
    return whole.replace(old, new, times)


@pass_context
def add_up(context: Bounded, values: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    """Jinja's `sum`, which takes lists in linear time."""
    if attribute is not None:
        values = map(jinja_filters.make_attrgetter(context.environment, attribute), values)
    if isinstance(start, list):
        found = start.copy()
        for each in values:
            if not isinstance(each, list):
                raise TypeError(f"sum: expected a list, found {type(each).__name__}")
            context.made(each)
            found += each
        return found
    for each in values:
        start = context.environment.call_binop(context, "+", start, each)  # type: ignore[attr-defined]
    return start


@pass_context
def formatted(context: Bounded, text: Any, *args: Any, **kwargs: Any) -> str:
    """Jinja's `format`, with widths and precisions of two digits at most."""
    text = context.text(text)
    directives = DIRECTIVE.findall(text)
    if any(wide for wide in directives):
        raise ValueError(f"format: a width or precision of more than two digits, or of `*`: {text[:100]!r}")
    longest = max([len(context.text(value)) for value in (*args, *kwargs.values())], default=0)
    context.spend(len(directives) * (longest + 2 * 99))
    return jinja_filters.do_format(text, *args, **kwargs)


def rounded(value: float, precision: int = 0, method: str = "common") -> float:
    """Jinja's `round`, to 100 digits at most."""
    if not -100 <= precision <= 100:
        raise ValueError("round: a precision from -100 to 100 is expected")
    return jinja_filters.do_round(value, precision, method)  # type: ignore[arg-type]


@pass_context
def to_json(context: Bounded, value: Any, indent: int | None = None) -> Any:
    """Jinja's `tojson`, indented by 8 at most."""
    spend_json(context, value, indent)
    return jinja_filters.do_tojson(context.eval_ctx, value, indent)


def spend_json(context: Bounded, value: Any, indent: int | None) -> None:
    """Count a value as it is written as JSON, before it is.

    Raises:
        ValueError: an indent of more than 8.
    """
    before = context.left
    context.made(value)
    if indent is not None:
        if not 0 <= indent <= 8:
            raise ValueError("tojson: an indent from 0 to 8 is expected")
        context.spend((before - context.left) // NODE * indent * _depth(value))


def _depth(value: Any) -> int:
    inner = value if isinstance(value, (list, tuple)) else value.values() if isinstance(value, dict) else ()
    return 1 + max(map(_depth, inner), default=0)


def _trim(text: Any, chars: str | None = None) -> str:
    _expect_short(chars)
    return jinja_filters.do_trim(text, chars)


def _expect_short(needle: Any) -> None:
    if isinstance(needle, str) and len(needle) > LONGEST_NEEDLE:
        raise ValueError(f"expected at most {LONGEST_NEEDLE} characters to look for, found {len(needle)}")


def _jinjas(name: str) -> Callable[..., Any]:
    """A filter of Jinja's; where there are two, that for what is not asynchronous."""
    filter_: Callable[..., Any] = getattr(jinja_filters, f"sync_do_{name}", jinja_filters.FILTERS[name])
    return filter_


FILTERS: dict[str, Callable[..., Any]] = (
    {name: lazy(_jinjas(name)) for name in LAZY}
    | {name: _jinjas(name) for name in ["abs", "count", "float", "int", "length"]}
    | {
        name: counted(_jinjas(name))
        for name in _names("dictsort first groupby items last list max min reverse sort unique")
    }
    | {name: of_text(_jinjas(name)) for name in _names("capitalize lower title truncate upper wordcount")}
    | {
        "d": default,
        "default": default,
        "join": join,
        "replace": replace,
        "format": formatted,
        "round": rounded,
        "sum": counted(add_up),
        "tojson": counted(to_json),
    }
    | {"string": pass_context(lambda context, value: context.text(value)), "trim": of_text(_trim)}
)
"""Jinja's filters that may be used."""


@pass_context
def _within(context: Bounded, value: Any, container: Any) -> bool:
    if not isinstance(container, dict):
        context.made(container)
    return value in container


def _comparing(test: Any) -> Callable[..., Any]:
    @pass_context
    def comparing(context: Bounded, left: Any, right: Any) -> Any:
        return test(left, context.made(right))

    return comparing


TESTS: dict[str, Callable[..., Any]] = (
    {
        name: cast("Callable[..., Any]", JINJA_TESTS[name])
        for name in _names(
            "boolean defined divisibleby even false float integer iterable lower mapping none number odd sequence "
            "string true undefined upper"
        )
    }
    | {name: _comparing(JINJA_TESTS[name]) for name in ORDERS}
    | {"in": _within}
)
"""Jinja's tests that may be used."""


def _method(name: str) -> Callable[..., Any]:
    """A method as a filter of the name `.name`, which nothing but a call of it can say."""

    @pass_context
    def call(context: Bounded, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()
        if not isinstance(value, METHODS[name]):
            raise TypeError(f"{type(value).__name__} has no {name}()")
        if name == "join":
            return _joined(context, str(value), list(*args))
        if name == "replace":
            return replace(context, value, *args, **kwargs)
        if name in BACKWARDS and args:
            _expect_short(args[0])
        return context.made(getattr(value, name)(*args, **kwargs))

    return call


@pass_context
def _concatenated(context: Bounded, *parts: Any) -> str:
    return "".join([context.text(part) for part in parts])


@pass_context
def _looped(context: Bounded, values: Any, size: int) -> Any:
    values = values if isinstance(values, (str, list, tuple, dict, Undefined)) else list(values)
    context.spend(len(values) * size * NODE)
    return values


HIDDEN: dict[str, Callable[..., Any]] = {f".{name}": _method(name) for name in METHODS} | {
    " made": pass_context(lambda context, value: context.made(value)),
    " concatenated": _concatenated,
    " looped": _looped,
    " spent": pass_context(lambda context, _, size: context.spend(size * NODE)),
}
"""Filters of names that no expression can say: what stands for calls, literals, slices, `~` and loops."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a list of what may be named, and a bound on what is made.

    Args:
        filters: beside FILTERS.
        functions: that templates may call.
        options: Jinja's; what is undefined is an error, unless they say otherwise.
    """

    context_class = Bounded
    intercepted_binops = frozenset({"+", "-", "*", "**", "%"})

    def __init__(
        self,
        filters: dict[str, Callable[..., Any]] | None = None,
        functions: dict[str, Callable[..., Any]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**({"undefined": StrictUndefined} | options), autoescape=False, finalize=_finalized)
        self.filters = FILTERS | (filters or {}) | HIDDEN
        self.tests = dict(TESTS)
        self.globals = dict(functions or {})

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(Checked(self).visit(source), *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An object's key, or an attribute of the list; never a method."""
        if isinstance(obj, dict):
            try:
                return obj[attribute]
            except KeyError:
                pass
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if any(attribute in names for kind, names in ATTRIBUTES.items() if isinstance(obj, kind)):
            return getattr(obj, attribute, self.undefined(obj=obj, name=attribute))
        if isinstance(obj, Namespace) and not attribute.startswith("_"):
            return getattr(obj, attribute, self.undefined(obj=obj, name=attribute))
        unsafe = attribute.startswith("_") and not isinstance(obj, dict)
        return self.unsafe_undefined(obj, attribute) if unsafe else self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """What stands at a key or place."""
        try:
            return obj[argument]
        except (TypeError, LookupError):
            return self.getattr(obj, argument) if isinstance(argument, str) else self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        return isinstance(obj, Macro) or obj in self.globals.values()

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and left.__class__ is right.__class__ is str:
            return context.text(left + right)  # type: ignore[attr-defined]
        numbers = isinstance(left, Number) and isinstance(right, Number)
        if operator == "-" or (operator == "+" and numbers):
            number = left + right if operator == "+" else left - right
            if isinstance(number, int) and number.bit_length() > MOST_BITS:
                raise Overrun(f"{operator}: makes a number of more than {MOST_BITS} bits")
            return number
        if operator == "+":
            return context.made(left + right)  # type: ignore[attr-defined]
        if operator == "**" or not (numbers or isinstance(left, Undefined) or isinstance(right, Undefined)):
            raise SecurityError(f"{operator}: expressions multiply and divide numbers only, and take no powers")
        whole = operator == "*" and isinstance(left, int) and isinstance(right, int)
        if whole and left.bit_length() + right.bit_length() > MOST_BITS:
            raise Overrun(f"*: makes a number of more than {MOST_BITS} bits")
        return super().call_binop(context, operator, left, right)


@pass_context
def _finalized(context: Bounded, value: Any) -> str:
    return context.text(value)
