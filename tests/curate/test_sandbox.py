"""Attacks by expressions and templates: what they may not name is refused when read, what they make is bounded."""

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import sandbox
from curate.errors import AssayError
from curate.patterns import compile_pattern, matches
from curate.read.expressions import compile_expression
from curate.rows.chat_template import ChatTemplate, Refusal, SpecialTokens
from curate.rows.task_template import TaskTemplate
from curate.sandbox import MOST_MADE, Overrun

TEXT = "a" * (1 << 20)
LIST = list(range(100_000))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x | random", "No filter named 'random' may be used"),
        ("x | shuffle", "No filter named 'shuffle' may be used"),
        ("x | center(9)", "No filter named 'center' may be used"),
        ("x | batch(9)", "No filter named 'batch' may be used"),
        ("x | slice(9)", "No filter named 'slice' may be used"),
        ("x | indent(9)", "No filter named 'indent' may be used"),
        ("x | wordwrap(9)", "No filter named 'wordwrap' may be used"),
        ("x | attr('y')", "No filter named 'attr' may be used"),
        ("x | pprint", "No filter named 'pprint' may be used"),
        ("x | xmlattr", "No filter named 'xmlattr' may be used"),
        ("x | urlize", "No filter named 'urlize' may be used"),
        ("x | defualt(1)", "did you mean default?"),
        ("x if true else y | center(9)", "No filter named 'center' may be used"),
        ("x | map('center', 9) | list", "No filter named 'center' may be used"),
        ("x | map('as JSON') | list", "No filter named 'as JSON' may be used"),
        ("x | map(' spent', 1) | list", "No filter named ' spent' may be used"),
        ("x | map('.strip') | list", "No filter named '.strip' may be used"),
        ("x | map(y) | list", "map takes a name in quotes, not a value"),
        ("x | map('lo' ~ 'wer') | list", "map takes a name in quotes, not a value"),
        ("x | map(*y) | list", "map takes its arguments one by one"),
        ("x | select('callable')", "No test named 'callable' may be used"),
        ("x | selectattr('a', y)", "selectattr takes a name in quotes, not a value"),
        ("x is callable", "No test named 'callable' may be used"),
        ("x is sameas y", "No test named 'sameas' may be used"),
        ("x is filter", "No test named 'filter' may be used"),
        ("x.center(9)", "No method named 'center' may be used"),
        ("x.ljust(9)", "No method named 'ljust' may be used"),
        ("x.zfill(9)", "No method named 'zfill' may be used"),
        ("x.expandtabs(9)", "No method named 'expandtabs' may be used"),
        ("x.format(9)", "No method named 'format' may be used"),
        ("x.format_map(y)", "No method named 'format_map' may be used"),
        ("x.translate(y)", "No method named 'translate' may be used"),
        ("x.encode('idna')", "No method named 'encode' may be used"),
        ("x.fromkeys(y)", "No method named 'fromkeys' may be used"),
        ("x.to_bytes(9)", "No method named 'to_bytes' may be used"),
        ("x['center'](9)", "only methods that are named can be called"),
        ("x.split(*y)", "takes its arguments one by one"),
        ("x.split(**y)", "takes its arguments one by one"),
        ("range(9)", "No function named 'range' may be used"),
        ("lipsum()", "No function named 'lipsum' may be used"),
        ("cycler(1)", "No function named 'cycler' may be used"),
        ("2 ** 9", "expressions take no powers"),
        ("'%9d' % x", "%: of numbers only; join texts by ~"),
        ("'a' * x", r"\*: of numbers only; join texts by ~"),
        ("[x] * 9", r"\*: of numbers only; join texts by ~"),
        ("self.__init__", "`self` is Jinja's own"),
        ("(" * 10_000, "nested so deeply"),
        ("x" + " + x" * 30_000, "nested so deeply"),
        ("x | findall('(?=a)')", "no pattern of RE2, which can neither look around nor refer back"),
        ("x | sub('(a)\\\\1', '')", "no pattern of RE2, which can neither look around nor refer back"),
        ("x | map('sub', '(', '') | list", "no pattern of RE2"),
        ("x | findall('((a{1000}){1000}){1000}')", "no pattern of RE2"),
    ],
)
def test_what_is_not_in_the_list_is_refused_when_it_is_read(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compile_expression(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x % y", "multiply and divide numbers only"),
        ("x * y", "multiply and divide numbers only"),
        ("x | map('lower') | string", "write `| list` behind it"),
        ("x ~ (x | map('lower'))", "write `| list` behind it"),
        ("[x | map('lower')] | join", "write `| list` behind it"),
        *(
            (f"x | select | {name}", "write `| list` behind it")
            for name in ("capitalize", "lower", "title", "truncate")
        ),
        *((f"x | items | {name}", "mappings|write `| list` behind it") for name in ("upper", "wordcount")),
        ("x.lower", "has no attribute 'lower'"),
        ("x['lower']", "has no attribute 'lower'"),
        ("x.__class__", "unsafe"),
        ("y | round(1000000000, 'ceil')", "a precision from -100 to 100 is expected"),
        ("x | tojson(1000000000)", "an indent from 0 to 8 is expected"),
        ("'%1000000000d' | format(y)", "more than two digits"),
        ("'%.1000000000f' | format(y)", "more than two digits"),
        ("'%*d' | format(1000000000, y)", "more than two digits"),
        ("x.strip(big)", "at most 1000 characters to look for"),
        ("x.rfind(big)", "at most 1000 characters to look for"),
        ("x | trim(big)", "at most 1000 characters to look for"),
        ("large * large * large * large", "a number of more than 4096 bits"),
    ],
)
def test_what_a_row_cannot_give(source: str, said: str) -> None:
    evaluate = compile_expression(source)
    with pytest.raises(Exception, match=said):
        evaluate({"x": "a b", "y": 7, "big": TEXT, "large": 10**600})


@pytest.mark.parametrize(
    "source",
    [
        "text.replace('', text)",
        "text | replace('a', text)",
        "text | sub('a', text)",
        "text | sub('(a)', '\\\\1' ~ text)",
        "text.join(list | map('string') | list)",
        "list | join(text)",
        "[text] | map('replace', 'a', text) | list",
        "nones | map('default', text, true) | list",
        "nones | map('default', list, true) | list",
        "list | select('in', list) | list",
        "list | select('equalto', list) | list",
        "nones | map('replace', 'None', text) | join",
        "list | map('string') | map('sub', '', text) | list",
        " ~ ".join(["text"] * 300),
        " + ".join(["text"] * 30),
        "[" + ", ".join(["text[1:]"] * 300) + "]",
        "[" + ", ".join(["list"] * 300) + "]",
        "{" + ", ".join(f"'{n}': list" for n in range(300)) + "}",
        "'" + "%s" * 400 + "' | format(" + ", ".join(["text"] * 400) + ")",
        "(nones | map('default', text, true) | sum(start='')) | length",
        "text[:1000] | findall('') | map('default', text, true) | list",
    ],
)
def test_what_is_made_is_bounded(source: str) -> None:
    evaluate = compile_expression(source)
    with pytest.raises(Overrun, match="makes more than 256 MiB of text of one row, or 4,194,304 values"):
        evaluate({"text": TEXT, "list": LIST, "nones": [None] * 100_000})


@pytest.mark.parametrize("filter_", ["map('upper')", "select", "unique", "reject", "list"])
def test_what_is_gone_over_is_counted_before(filter_: str) -> None:
    begun = time.thread_time()
    with pytest.raises(Overrun):
        compile_expression(f"text | {filter_} | list")({"text": "a" * (16 << 20)})
    assert time.thread_time() - begun < 5


def test_whole_numbers_of_one_hash_are_told_apart_in_linear_time() -> None:
    numbers = [each * sys.hash_info.modulus for each in range(50_000)] * 2
    assert compile_expression("n | unique | list")({"n": numbers}) == numbers[:50_000]
    assert compile_expression("n | unique | list")({"n": [1, 1.0, True, 2**70, 2**70, "a", "A"]}) == [
        1,
        2**70,
        "a",
        "A",
    ]


def test_doubling_by_let_is_bounded() -> None:
    doubled = "text"
    for _ in range(12):
        doubled = f"[{doubled}, {doubled}]"
    with pytest.raises(Overrun):
        compile_expression(doubled)({"text": TEXT})


def test_a_pattern_that_goes_over_the_text_for_each_match_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "LONGEST_TIME", 0.2)
    begun = time.thread_time()
    for source in ("text | findall('a.*b|a')", "text | sub('a.*b|a', 'x')"):
        with pytest.raises(Overrun, match=r"patterns took more than 0\.2 s of processor time on one row"):
            compile_expression(source)({"text": TEXT})
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)+$", "(.*)*x", "(x+x+)+y", "([a-z]+)*[0-9]"])
def test_patterns_that_go_back_are_linear(pattern: str) -> None:
    assert compile_expression(f"text | findall('{pattern}')")({"text": "a" * 200_000 + "!"}) == []


@pytest.mark.parametrize("kind", list("dDwWsS"))
@pytest.mark.parametrize("pattern", [r"\{}", r"[\{}]", r"[^\{}x]", r"[a\{}-]"])
def test_classes_are_those_of_python(kind: str, pattern: str) -> None:
    text = "".join(char for char in map(chr, range(0x3000)) if char.isprintable() or char.isspace())
    said = pattern.format(kind)
    assert [match.group().decode() for match in matches(compile_pattern(said), text)] == re.findall(said, text)


PATTERNS = st.sampled_from(
    [
        r"\w+",
        r"(\w)(\d)?",
        r"[^\W_]+",
        r"a{,2}b",
        r"x*",
        r"",
        r"\u00e9|\Z",
        r"(?i)É",
        r"[\s\S]b",
        r"[]a]+",
        r"(?:a|b)*c?",
    ]
)
TEXTS = st.text(st.sampled_from(list("abéÉ_1٣ \n]xc漢\U0001f600")), max_size=20)


@given(PATTERNS, TEXTS)
def test_findall_and_sub_give_what_python_gives(pattern: str, text: str) -> None:
    row = {"text": text, "pattern": pattern}
    assert compile_expression("text | findall(pattern)")(row) == re.findall(pattern, text)
    for by in ("", "<\\g<0>>", "\\n-"):
        assert compile_expression("text | sub(pattern, by)")(row | {"by": by}) == re.sub(pattern, by, text)


@pytest.mark.parametrize(
    ("pattern", "text", "here", "python"),
    [
        ("|a", "a", ["", ""], ["", "a", ""]),
        ("a*?", "a", ["", ""], ["", "a", ""]),
        ("a??", "a", ["", ""], ["", "a", ""]),
        ("|aa", "aa", ["", "", ""], ["", "aa", ""]),
        (r"a\b", "aé", ["a"], []),
        (r"é\b", "aé", [], ["é"]),
        (r"\Ba", "éa", [], ["a"]),
        ("a$", "a\n", [], ["a"]),
        ("(?i)i", "iIıİ", ["i", "I"], ["i", "I", "ı", "İ"]),
        ("(?i)ı", "iIıİ", ["ı"], ["i", "I", "ı", "İ"]),
        ("(?i)İ", "iIıİ", ["İ"], ["i", "I", "ı", "İ"]),
        ("[[:alpha:]]", "ah]", ["a", "h"], ["h]"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
def test_where_patterns_find_otherwise_than_in_python(
    pattern: str, text: str, here: list[str], python: list[str]
) -> None:
    """As docs/expressions.md has it."""
    assert compile_expression("text | findall(pattern)")({"text": text, "pattern": pattern}) == here
    assert re.findall(pattern, text) == python


PIECES = st.lists(st.sampled_from([*"ab|()*+?^.", "(?:", "*?", "[^a]", "{1,2}"]), max_size=7)


@given(PIECES, st.text("abc\n", max_size=6))
def test_patterns_that_both_read_find_alike(pieces: list[str], text: str) -> None:
    """All of them where none is of nothing, and the first one anyway."""
    pattern = "".join(pieces)
    try:
        python, here = re.compile(pattern), compile_pattern(pattern)
    except (re.error, ValueError):
        return
    first, *_ = [*python.finditer(text), None]
    found = next(matches(here, text), None)
    assert (first and (first.span(), first.groups(""))) == (
        found and (found.span(), tuple((each or b"").decode() for each in found.groups()))
    )
    if all(match.group() for match in python.finditer(text)):
        assert [match.span() for match in python.finditer(text)] == [match.span() for match in matches(here, text)]


@pytest.mark.parametrize("pattern", ["a++", "(?>a)", "(?x)a", "(?=a)", r"(a)\1"])
def test_patterns_that_only_python_reads_are_refused(pattern: str) -> None:
    re.compile(pattern)
    with pytest.raises(ValueError, match=r"is no pattern of RE2|RE2's own"):
        compile_pattern(pattern)


def test_the_list_has_no_randomness_no_clock_and_no_way_out() -> None:
    allowed = {*sandbox.FILTERS, *sandbox.TESTS, *sandbox.METHODS}
    assert not allowed & {"random", "attr", "pprint", "safe", "callable", "sameas", "format_map", "encode", "now"}
    for name in sandbox.METHODS:
        for kind in sandbox.METHODS[name]:
            assert hasattr(kind, name)


# Templates

TOKENS = SpecialTokens("<s>", "</s>")


def render(source: str, content: str = "hi", count: int = 2) -> str:
    template = ChatTemplate("mine", "{%- set stop = eos_token -%}" + source)
    return template.render([{"role": "user", "content": content}] * count, TOKENS)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% include '/etc/passwd' %}", "include is no statement"),
        ("{% import 'a' as b %}", "import is no statement"),
        ("{% from 'a' import b %}", "fromimport is no statement"),
        ("{% extends '/etc/passwd' %}", "extends is no statement"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "No function named 'range' may be used|no powers"),
        ("{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}", "loops cannot be recursive"),
        ("{{ self.user() }}", "No method named 'user' may be used|Jinja's own"),
        ("{{ cycler('a') }}", "No function named 'cycler' may be used"),
        ("{{ messages | random }}", "No filter named 'random' may be used"),
        ("{{ messages[0].content.center(10) }}", "No method named 'center' may be used"),
        ("\n{% if messages %}\n{{ lipsum() }}{% endif %}", "line 3: No function named 'lipsum' may be used"),
        ("{{ messages | map('upper') }}", "write `| list` behind it"),
        ("{{ messages[0].content.lower }}", "has no attribute 'lower'"),
        ("{{ messages.__class__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ " + "(" * 2_000, "nested too deeply"),
    ],
)
def test_templates_name_only_what_is_in_the_list(source: str, said: str) -> None:
    with pytest.raises(AssayError, match=said) as error:
        render(source)
    assert "Chat template 'mine'" in str(error.value)


@pytest.mark.parametrize(
    ("source", "content", "count"),
    [
        ("{% for a in messages %}" * 3 + "{% endfor %}" * 3, "", 1000),
        ("{% for a in messages %}{% for b in messages if false %}{% endfor %}{% endfor %}", "", 20_000),
        ("{% for a in messages %}{{ a.content }}{% endfor %}", TEXT, 1000),
        ("{% for a in messages %}{% set b = a.content[1:] %}{% endfor %}", TEXT, 1000),
        ("{% for a in messages %}{% if a.content == b %}{% endif %}{% endfor %}", TEXT, 1000),
        ("{% for a in messages %}{% if 'b' in a.content %}{% endif %}{% endfor %}", TEXT, 1000),
        ("{% for a in messages %}" + "x" * 100_000 + "{% endfor %}", "", 10_000),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}", "", 1),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "", 1),
    ],
)
def test_what_a_template_makes_is_bounded(source: str, content: str, count: int) -> None:
    with pytest.raises(Refusal, match=r"makes more than 256 MiB|maximum recursion depth"):
        render(source.replace("== b", "== messages[0].content"), content, count)


def test_a_task_template_that_makes_too_much_names_the_row() -> None:
    source = "{% block user %}" + "{% for a in content %}" * 3 + "x" + "{% endfor %}" * 3 + "{% endblock %}"
    record: dict[str, Any] = {"id": "7", "turns": [{"role": "user", "content": "a" * 1000}], "target": None}
    with pytest.raises(Refusal, match=r"Task template 'mine', block 'user', row 7: makes more than"):
        TaskTemplate("mine", None, source).messages(record | {"language": None, "meta": {}})


def test_templates_have_what_they_need() -> None:
    assert render("{% for m in messages %}{{ loop.index }}{{ loop.cycle('a', 'b') }}{% endfor %}") == "1a2b"
    assert render("{% macro f(x) %}[{{ x }}{{ caller() }}]{% endmacro %}{% call f(1) %}c{% endcall %}") == "[1c]"
    assert render("{% set x %}a{% endset %}{{ x | upper }}{% with y = 1 %}{{ y }}{% endwith %}") == "A1"
    assert render("{{ (messages | selectattr('role', 'equalto', 'user') | list | length) ~ '!' }}") == "2!"


NS = "{% set ns = namespace(found=false, at=0, all=[], text='') %}"


def test_a_namespace_keeps_what_a_loop_has_found() -> None:
    assert (
        render(NS + "{% for m in messages %}{% set ns.at = ns.at + 1 %}{% endfor %}{{ ns.at }}{{ ns['found'] }}")
        == "2False"
    )
    assert (
        render(NS + "{% for m in messages %}{% set ns.all = ns.all + [m.role] %}{% endfor %}{{ ns.all }}")
        == "['user', 'user']"
    )
    assert (
        render("{% set ns = namespace({'a': 1}, b=2) %}{% set ns.a, ns.c = ns.b, 3 %}{{ ns.a ~ ns.b ~ ns.c }}") == "223"
    )
    assert render("{% set ns = namespace(**{'items': 1}) %}{{ ns.items }}{{ ns.other is defined }}") == "1False"
    assert render("{% macro f(n) %}{% set n.a = 7 %}{% endmacro %}{% set n = namespace() %}{{ f(n) }}{{ n.a }}") == "7"
    # As published templates find the last question.
    last = (
        "{% set ns = namespace(last=none) %}{% for m in messages[::-1] %}{% if ns.last is none and m.role == 'user' %}"
    )
    last += "{% set ns.last = messages | length - loop.index %}{% endif %}{% endfor %}{{ ns.last }}"
    assert render(last, count=3) == "2"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% set ns._a = 1 %}", "names in a namespace do not begin with _"),
        ("{% set ns.__class__ = 1 %}", "set ns.__class__: names in a namespace do not begin with _"),
        ("{% set ns._Namespace__attrs = {} %}", "names in a namespace do not begin with _"),
        ("{% set a, ns.__dict__ = 1, 2 %}", "names in a namespace do not begin with _"),
        ("{{ namespace(_a=1) }}", "names in it are texts that do not begin with _, not '_a'"),
        ("{{ namespace({'__class__': 1}) }}", "names in it are texts that do not begin with _, not '__class__'"),
        ("{{ namespace(**{'_Namespace__attrs': 1}) }}", "names in it are texts that do not begin with _"),
        ("{{ namespace({1: 1}) }}", "names in it are texts that do not begin with _, not '1'"),
        ("{{ namespace(3) }}", "TypeError"),
        ("{{ ns.__class__ }}", "access to attribute '__class__' of 'Namespace' object is unsafe"),
        ("{{ ns['__class__'] }}", "access to attribute '__class__' of 'Namespace' object is unsafe"),
        ("{{ ns['_Namespace__attrs'] }}", "is unsafe"),
        ("{{ [ns] | map(attribute='__class__') | list }}", "is unsafe"),
        ("{{ namespace.__globals__ }}", "access to attribute '__globals__' of 'function' object is unsafe"),
        ("{{ ns.items() }}", r"Namespace has no items\(\)"),
        ("{{ ns.other }}", "has no attribute 'other'"),
        ("{{ ns }}", "found a namespace; name something in it"),
        ("{{ [ns] ~ '' }}", "found a namespace; name something in it"),
        ("{{ {'a': ns} | string }}", "found a namespace; name something in it"),
        ("{{ ns | tojson }}", "not JSON serializable"),
        ("{% for a in ns %}{% endfor %}", "TypeError"),
        ("{% set messages.a = 1 %}", "cannot assign attribute on non-namespace object"),
        ("{% set a, ns.b %}ab{% endset %}", "set ns.b: a block sets a plain name"),
        ("{% set ns.a %}b{% endset %}", "set ns.a: a block sets a plain name; then write set ns.a = name"),
    ],
)
def test_a_namespace_is_no_way_out(source: str, said: str) -> None:
    with pytest.raises(AssayError, match=said) as error:
        render(NS + source)
    assert "Chat template 'mine'" in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize(
    "change",
    [
        "ns.text = ns.text ~ ns.text ~ 'a'",
        "ns.text = ns.text + 'a' + ns.text",
        "ns.all = [ns.all, ns.all]",
        "ns.all = ns.all + ns.all + [1]",
        "ns.all = {'a': ns.all, 'b': ns.all}",
        "ns.all = namespace(a=[ns.all, ns.all], b=m).a",
        "ns.all = namespace(messages | groupby('content'), a=messages)",
        "ns.at = ns.at + ns.at + 1",
        "ns.at = ns.at - 1 - (0 - ns.at)",
        "ns.at = [ns.at, ns.at, 1] | sum",
    ],
)
def test_what_grows_in_a_namespace_is_bounded(change: str) -> None:
    loop = "{% for m in messages %}{% set " + change + " %}{% endfor %}"
    with pytest.raises(
        Refusal, match=r"makes more than 256 MiB|maximum recursion depth|a number of more than 4096 bits"
    ):
        render(NS + loop, count=10_000)


def test_a_namespace_of_all_there_is_costs_what_it_holds() -> None:
    with pytest.raises(Refusal, match="makes more than 256 MiB"):
        render("{% for m in messages %}{% set ns = namespace(**m) %}{% endfor %}", TEXT, 1000)


def test_namespaces_within_each_other_are_no_text() -> None:
    """Written out they would be two to the power of their number."""
    grown = NS + "{% for m in messages %}{% set ns.all = namespace(all=[ns.all, ns.all]) %}{% endfor %}"
    assert render(grown, count=1000) == ""
    with pytest.raises(AssayError, match="found a namespace"):
        render(grown + "{{ ns.all }}", count=1000)
    template = ChatTemplate("mine", grown + "{% set stop = ns.all %}{% set think_open = ns %}")
    assert set(template.words(TOKENS)) <= {"__name__"}


@pytest.mark.parametrize("name", ["meta", "schema", "meta.inner"])
def test_a_template_changes_nothing_that_it_is_given(name: str) -> None:
    """Of a schema, which all rows share, the next row would tell."""
    given: dict[str, Any] = {"inner": {}}
    record = {"id": "7", "turns": [{"role": "user", "content": "a"}], "target": None, "language": None, "meta": given}
    for change in (
        f"set {name}.x = 1",
        f"set a, {name}.x = 1, 2",
        f"set {name}.x %}}evil{{% endset",
        f"set a, {name}.x %}}ab{{% endset",
        f"for {name}.x in 'ab' %}}{{% endfor",
        f"with {name}.x = 1 %}}{{% endwith",
    ):
        source = "{% block user %}{% " + change + " %}{% endblock %}"
        with pytest.raises(AssayError, match=r"cannot assign|a block sets a plain name|expected token"):
            TaskTemplate("mine", given, source).messages(record)
    assert given == {"inner": {}}


def test_the_bound_leaves_room_for_the_longest_row() -> None:
    text = "é" * (16 << 20)
    assert 16 * len(text) == MOST_MADE
    assert len(compile_expression("text | trim | replace('x', 'y') | lower ~ '!'")({"text": text})) == len(text) + 1
    assert sys.getsizeof(text) < MOST_MADE


def test_the_page_names_all_that_may_be_named() -> None:
    page = (Path(__file__).parents[2] / "docs/expressions.md").read_text()
    named = {*re.findall(r"`(\w+)`", page.partition("## What may be named")[2].partition("**Templates**")[0])}
    words = {name for name in (*sandbox.FILTERS, *sandbox.TESTS, *sandbox.METHODS) if name.isidentifier()}
    assert words - {"cycle", "changed"} <= named
