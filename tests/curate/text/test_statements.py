"""Statements: what the regular expression takes for one."""

import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.statements import KEYWORDS, without_statements

STATEMENT = (
    r"(?m)^[ \t]*(?:import [\w.]+(?: as \w+)?[ ;]*|from [\w.]+ import .*|#\s*(?:include|define|ifn?def) .*"
    r"|using [\w.]+;|(?:(?:async )?def|class|func|fn|function) \w+.*[:{(].*|(?:if|elif|for|while|except|with) .*[:{]"
    r"|(?:try|else|finally|do) ?[:{]|(?:return|break|continue|pass|raise|throw|yield|echo|printf?|end|fi|done)\b.*"
    r"|\w+ = .*|(?:const|let|var) \w+ ?=.*|[\w.]+ ?\(.*\);?|self\.\w+.*)$"
)
"""The definition: RE2."""


def assert_as_expression(texts: list[str], least: int) -> None:
    array = pa.array(["before", *texts], pa.string()).slice(1)
    coded = pc.greater_equal(pc.count_substring_regex(array, STATEMENT), least)
    rest, found = without_statements(array, least)
    assert [
        text for text, one, other in zip(texts, coded.to_pylist(), found.tolist(), strict=True) if one != other
    ] == []
    assert rest.to_pylist() == pc.replace_substring_regex(array.filter(coded), STATEMENT, "").to_pylist()


WORDS = [word for words in KEYWORDS.values() for word in words.split()]
PARTS = st.sampled_from(
    [
        *WORDS,
        *"\n\n\n\t    \r\f\v#:;.=(){}xé_9",
        " import ",
        " as ",
        " = ",
        ");",
        "self.",
        "async def",
        "# include ",
        "a.b",
    ]
)


@given(st.lists(st.lists(PARTS, max_size=24).map("".join), max_size=4), st.integers(1, 3))
def test_any_text(texts: list[str], least: int) -> None:
    assert_as_expression(texts, least)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "  ", "\t", "#", "# "]), st.sampled_from(WORDS), st.lists(PARTS, max_size=6)
        ).map(lambda line: line[0] + line[1] + " ".join(line[2])),
        max_size=6,
    ).map("\n".join)
)
def test_lines_that_begin_with_keywords(text: str) -> None:
    assert_as_expression([text], 1)


@pytest.mark.parametrize(
    "line",
    [
        *("import a.b", "import a as b ;;", "import a as", "import a as b c", "import", "import a, b"),
        *("from a import b", "from a import ", "from a import", "from . import x", "fromage a import b"),
        *("#include <x>", "#\n\n  define x", "# ifndef X", "#ifdef", "#includes x", "using a.b;", "using a.b; "),
        *("def f(x)", "def f", "async def f():", "async  def f():", "def (:", "class A:", "def é(:", "def a é {"),
        *("if x:", "if :", "if:", "with a {", "for x in y", "try:", "try {", "else  :", "do{", "do {}", "finally :"),
        *("return", "returns", "print(x)", "printf", "printfx", "end é", "donné", "fi", "x = 1", "x =1", "x.y = 1"),
        *(
            "let x=1",
            "let x =",
            "let  x=",
            "var x.y = 1",
            "f(x)",
            "f (x);",
            "f(",
            "f)",
            "a.b.c (x) ;",
            ".f()",
            "f( );;",
        ),
        *("self.x", "self.", "self.é", "selfish.x", "  self.x = 1", "\v x = 1", "", "#", "é = 1", "_ = é"),
    ],
)
def test_a_line(line: str) -> None:
    assert_as_expression([line, f"a\n{line}\n", f"{line}\n{line}", f"x {line}"], 1)


def test_code(shared_data: Path) -> None:
    """The tests themselves, and prose in all languages."""
    texts = [path.read_text() for path in sorted(Path(__file__).parents[2].rglob("*.py"))]
    with tarfile.open(shared_data / "lang_udhr/declaration.tar.xz") as members:
        for member in members:
            if member.isfile() and (content := members.extractfile(member)) is not None:
                texts.append(content.read().decode(errors="replace")[:2000])
    assert len(texts) > 500
    for least in (1, 2):
        assert_as_expression([text[at : at + 700] for text in texts for at in range(0, len(text), 700)], least)


def test_no_text() -> None:
    rest, coded = without_statements(pa.array([], pa.string()), 1)
    assert (len(rest), coded.tolist()) == (0, [])
    assert without_statements(pa.array(["x = 1"], pa.large_string()), 1)[0].type == pa.large_string()
    assert np.array_equal(without_statements(pa.array(["", "\n"]), 1)[1], [False, False])
