"""CSV and its like: what is written reads back, and no byte of what is broken is lost."""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.read.delimited import LITERAL, looks_like_data
from curate.read.dialect import Cells, Dialect
from curate.read.raw import Options, Row, Unread
from tests.curate.read.made import UNSURE, Written, messages, parsed


def test_cells_may_hold_delimiters_quotes_and_line_ends(written: Written) -> None:
    rows = [["a", "b"], ['say "x"', "one, two\r\nthree"], ["\0", " "]]
    quoted = "\r\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    assert written("f.csv", quoted) == [{"a": 'say "x"', "b": "one, two\r\nthree"}, {"a": "\0", "b": " "}]


def test_repeated_columns_are_numbered(written: Written) -> None:
    assert written("f.csv", "a,a,a.1,,\n1,2,3,4,5\n") == [
        {"a": "1", "a.1": "2", "a.1.1": "3", "column_4": "4", "column_5": "5"}
    ]


def test_thousands_of_columns_without_a_name(written: Written) -> None:
    [row] = written("f.csv", "," * 16383 + "\n" + "," * 16383 + "\n")
    assert len(row) == 16384
    assert list(row)[-1] == "column_16384"


def test_broken_csv_rows(written: Written) -> None:
    content = b'a,b\n1\n2,x\n"3,"y\n4,\xff\n5,6,7\n"8\n9",ok\n"10,z\n11,z\n'
    rows = written("f.csv", content)
    assert [row for row in rows if isinstance(row, dict)] == [{"a": "2", "b": "x"}, {"a": "8\n9", "b": "ok"}]
    assert [(row.message, row.line, row.raw) for row in rows if isinstance(row, Unread)] == [
        ("1 cells, expected 2", 2, "1\n"),
        ("',' expected after '\"'", 4, '"3,"y\n'),
        (f"not UTF-8{UNSURE}", 5, "4,\\xff\n"),
        ("3 cells, expected 2", 6, "5,6,7\n"),
        ("unexpected end of data", 9, '"10,z\n11,z\n'),
    ]


@pytest.mark.parametrize("rows", [20, 2_000, 180_000])
def test_one_unclosed_quote_costs_its_own_row(rows: int) -> None:
    begin, behind = b"a,b\n1,x\n" + b'"2\n","y, z"\n', b"t" * 95 + b",12345\n"
    found = parsed(begin + b'3,"broken\n' + behind * rows, "csv")
    assert [row for row in found if isinstance(row, Unread)] == [
        Unread(f"the quote opened on line 5 is not closed{LITERAL}", 5, '3,"broken\n')
    ]
    assert found[:2] == [{"a": "1", "b": "x"}, {"a": "2\n", "b": "y, z"}]
    assert found[3:] == [{"a": "t" * 95, "b": "12345"}] * rows


def test_one_unclosed_quote_does_not_make_all_quotes_text() -> None:
    rows = parsed(b'a,b\n"broken,1\n' + b"text,2\n" * 20 + b'last,"x, y"\n', "csv")
    assert [(row.line, row.raw) for row in rows if isinstance(row, Unread)] == [(2, '"broken,1\n')]
    assert rows[-1] == {"a": "last", "b": "x, y"}


def test_a_quote_that_the_next_one_closes_far_behind_costs_its_own_row() -> None:
    quoted = b'q,"r, s"\n' * 60  # which tell that quotes are none of the text
    rows = parsed(b"a,b\n" + quoted + b'"broken,1\n' + b"text,2\n" * 500 + b'last,"x, y"\n', "csv")
    assert [(row.message, row.line) for row in rows if isinstance(row, Unread)] == [
        (f"the quote opened on line 62 is not closed{LITERAL}", 62)
    ]
    assert rows[-1] == {"a": "last", "b": "x, y"}
    assert len(rows) == 60 + 1 + 500 + 1


@pytest.mark.parametrize(
    ("line", "behind"),
    [("a\n", 30), ("a\n", 200_000), ("one column of text\n", 900_000), ("prose, with, many, commas\n", 700_000)],
)
def test_lines_behind_a_quote_that_may_be_text_are_one_row(line: str, behind: int) -> None:
    [first, row] = parsed(f't\nx\n"y\n{line * behind}'.encode(), "csv", delimiter=",")
    assert first == {"t": "x"}
    assert isinstance(row, Unread)
    opened = "the quote opened on line 3 is not closed up to the end of the file"
    assert row.message == f"{opened}: {behind + 1} lines are one row{LITERAL}"
    assert row.line == 3


def test_a_cell_beyond_the_bound_is_one_row() -> None:
    long = '"' + "word word\n" * 1_700_000 + '",1\n'
    [before, row, after] = parsed(f"a,b\nx,y\n{long}x,z\n".encode(), "csv")
    assert (before, after) == ({"a": "x", "b": "y"}, {"a": "x", "b": "z"})
    assert isinstance(row, Unread)
    assert row.message == "longer than 16 MiB, from the quote opened on line 3 to where it is closed"
    cells = ",".join(['"' + "x" * (1 << 20) + '\n"'] * 17)  # each of them short enough
    [row, after] = parsed(f"a,b\n{cells}\nx,z\n".encode(), "csv")
    assert isinstance(row, Unread)
    assert row.message.startswith("longer than 16 MiB")
    assert after == {"a": "x", "b": "z"}


@pytest.mark.parametrize(
    "line", ['x","y\n', "x,y\n" * 9 + 'x","y\n', "x,y\n" * 19 + '"x,y\n' + "x,y\n" * 19 + 'x"",y\n']
)
def test_broken_quotes_are_read_in_linear_time(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines_given = 0

    def counted(self: Dialect, lines: Iterator[str]) -> Iterator[Cells]:
        def counting() -> Iterator[str]:
            nonlocal lines_given
            for each in lines:
                lines_given += 1
                yield each

        return rows(self, counting())

    rows = Dialect.rows
    monkeypatch.setattr(Dialect, "rows", counted)
    content = 'a,b\n"a,1\n' + line * (20_000 // line.count("\n"))
    parsed(content.encode(), "csv", delimiter=",", quote='"')
    assert lines_given < 3 * content.count("\n") + 20_000  # those by which the dialect is told


def test_a_table_has_bounded_columns() -> None:
    [header, row] = parsed((",".join(map(str, range(1_000_000))) + "\n1,2\n").encode(), "csv")
    assert isinstance(header, Unread)
    assert header.message == "1,000,000 columns, more than 16,384"
    assert isinstance(row, Unread)
    [row, after] = parsed(b"a,b\n" + b"," * 1_000_000 + b"\n1,2\n", "csv")
    assert isinstance(row, Unread)
    assert row.message == "1,000,001 columns, more than 16,384"
    assert after == {"a": "1", "b": "2"}


def test_a_broken_csv_header_names_no_columns(written: Written) -> None:
    assert messages(written("f.csv", b"a,\xff\n1,2\n3,4\n")) == [f"not UTF-8{UNSURE}"] * 2
    assert messages(written("f.csv", b'"a"x,b\n"1,5",2\n')) == [
        "',' expected after '\"'",
        "the header could not be read",
    ]


CELLS = st.text(st.sampled_from('ab,"\n\r\t \0é'), max_size=5)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=6))
def test_written_csv_reads_back(rows: list[list[str]]) -> None:
    quoted = "\r\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [["a", "b"], *rows])
    found = parsed(quoted.encode(), "csv")
    assert len(found) == len(rows)
    for made, row in zip(found, rows, strict=True):
        assert made == {"a": row[0], "b": row[1]} or (row == ["a", "b"] and isinstance(made, Unread))


@given(st.lists(st.binary(max_size=6).map(lambda line: line.translate(None, b'"\r\n')), max_size=12))
def test_every_line_of_unquoted_csv_gives_exactly_one_row(lines: list[bytes]) -> None:
    rows = parsed(b"\n".join([b"a,b", *lines]), "csv", encoding="utf-8", delimiter=",")
    assert len(rows) == sum(bool(line) for line in lines)
    for row, line in zip(rows, filter(None, lines), strict=True):
        if isinstance(row, Unread):
            assert row.raw.rstrip("\n") == line.decode("utf-8", "backslashreplace")
        else:
            assert f"{row['a']},{row['b']}".encode() == line


@given(st.binary(max_size=60))
def test_no_byte_of_any_csv_is_lost(content: bytes) -> None:
    rows = parsed(b"a,b\n" + content, "csv", encoding="utf-8", delimiter=",")
    kept = "".join("".join(row.values()) if isinstance(row, dict) else row.raw for row in rows)
    shown = content.decode("utf-8", "backslashreplace")
    ignored = dict.fromkeys(map(ord, '",\r\n'))
    assert kept.translate(ignored) == shown.translate(ignored)


@pytest.mark.parametrize(
    ("content", "options", "row"),
    [
        ("a;b\n1,5;x\n2,5;y\n", {}, {"a": "1,5", "b": "x"}),
        ("a|b\n1|x\n", {}, {"a": "1", "b": "x"}),
        ("a\tb\n1\tx\n", {}, {"a": "1", "b": "x"}),
        ("text\nx;y\n", {}, {"text": "x;y"}),
        ("'a','b'\n'1','x,y'\n", {}, {"a": "1", "b": "x,y"}),
        ("a:b\n1:x\n", {"delimiter": ":"}, {"a": "1", "b": "x"}),
        ('a,b\n1,"x\n', {"quote": ""}, {"a": "1", "b": '"x'}),
        ("sep=;\na;b\n1,5;x\n", {}, {"a": "1,5", "b": "x"}),
        ("SEP=\\t\r\na\tb,c\r\n1,5\tx\r\n", {}, {"a": "1,5", "b,c": "x"}),
        ('"sep=|"\na|b\n1,5|x\n', {}, {"a": "1,5", "b": "x"}),
        ("sep=,\na;b\n1,5;x\n", {"delimiter": ";"}, {"a": "1,5", "b": "x"}),
        ("sep = ;\na;b\n1,5;x\n", {}, {"a": "1,5", "b": "x"}),
        ("\r\n\nsep=;\r\na;b\r\n1,5;x\r\n", {}, {"a": "1,5", "b": "x"}),
        ("\n Sep = ,\na;b\n1,5;x\n", {"delimiter": ";"}, {"a": "1,5", "b": "x"}),
        ("sep=;;;\na;b\n1,5;x\n", {}, {"a": "1,5", "b": "x"}),
        ("sep=\t\t\na\tb,c\n1,5\tx\n", {}, {"a": "1,5", "b,c": "x"}),
        ("sep=||\na||b\n1|5||x\n", {}, {"a": "1|5", "b": "x"}),
        ("sep;b\n1,5;x\n", {}, {"sep": "1,5", "b": "x"}),
        ("a||b\n1|5||x\n", {}, {"a": "1|5", "b": "x"}),
        ('a||b\n1||"x||y\nz"\n', {}, {"a": "1", "b": "x||y\nz"}),
        ("a|||b\n1||x\n", {"delimiter": "|"}, None),
        ("a::b\n1:5::x\n", {}, {"a": "1:5", "b": "x"}),
        ("a<>b\n1<>x\n", {"delimiter": "<>"}, {"a": "1", "b": "x"}),
        ("a\x01b\n1,5\x01x\n", {}, {"a": "1,5", "b": "x"}),
        ("a~b\n1~x\n", {}, {"a": "1", "b": "x"}),
        ("a^b\n1^x\n", {}, {"a": "1", "b": "x"}),
        ("a~b\nx\ny\n", {}, {"a~b": "x"}),
        ("a,b\r1,x\r2,y\r", {}, {"a": "1", "b": "x"}),
        ('a,b\n1, "x, y"\n', {}, {"a": "1", "b": "x, y"}),
        ('a,b\n"say \\"x\\", y",\\N\n', {}, {"a": 'say "x", y', "b": None}),
        ('a,b\n"C:\\new \\\\ \\"x",1\n', {}, {"a": 'C:\\new \\ "x', "b": "1"}),
        ("a\tb\n\\N\tx\\\ty\n", {}, {"a": None, "b": "x\ty"}),
        ("a,b\n1\\,5,x\n2,y\n", {}, {"a": "1,5", "b": "x"}),
        ("a,b\n1~,5,x\n", {"escape": "~"}, {"a": "1,5", "b": "x"}),
        ('a,b\n"x ""\\"" y",\\Nothing\n', {}, {"a": 'x "\\" y', "b": "\\Nothing"}),
        ("a,b\n'1, 5','it''s'\n", {}, {"a": "1, 5", "b": "it's"}),
        ("a;b\n1;'x; it\\'s'\n", {}, {"a": "1", "b": "x; it's"}),
        ("a,b\n" + "'x',''\n" * 3, {}, {"a": "x", "b": ""}),
        ("a,b\nit,'so'\n", {}, {"a": "it", "b": "'so'"}),
        ("a,b\n'x',y\n", {"quote": '"'}, {"a": "'x'", "b": "y"}),
        ("a,b\n'tis so,to be 'merry'\n", {}, {"a": "'tis so", "b": "to be 'merry'"}),
        ("a,b\n'x',\"y\"\n", {}, {"a": "'x'", "b": "y"}),
        ('a\tb\n"Yes," he said.\tx\n"No,\t"y"\n', {}, {"a": '"Yes," he said.', "b": "x"}),
    ],
)
def test_delimiters_and_quotes_are_stated_or_told(content: str, options: dict[str, str], row: Row | None) -> None:
    [found, *_] = parsed(content.encode(), "csv", **options)
    assert found == row or (row is None and isinstance(found, Unread))


@pytest.mark.parametrize(("delimiter", "escape"), [("||", None), (",", "\\"), ("::", "\\"), ("<|>", None)])
@given(
    rows=st.lists(st.lists(st.text(st.sampled_from('ab,:|"\\\n N'), max_size=6), min_size=2, max_size=2), max_size=6)
)
def test_what_is_written_with_long_delimiters_or_escapes_reads_back(
    delimiter: str, escape: str | None, rows: list[list[str]]
) -> None:
    assume(not any("\\N" in cell.split("\n") for row in rows for cell in row))  # a line of it is an export's null

    def quoted(cell: str) -> str:
        cell = cell.replace("\\", "\\\\").replace('"', '\\"') if escape else cell.replace('"', '""')
        return f'"{cell}"'

    content = "".join(delimiter.join(map(quoted, row)) + "\n" for row in [["x", "y"], *rows])
    found = parsed(content.encode(), "csv", delimiter=delimiter, escape=escape, quote='"')
    assert found == [{"x": row[0], "y": row[1]} for row in rows]


def test_a_tsv_is_one_in_tabs_unless_it_surely_is_none() -> None:
    assert parsed(b"text, long\nx\ny, z\n", "tsv") == [{"text, long": "x"}, {"text, long": "y, z"}]
    assert parsed(b"q,a\nx,1\ny,2\n", "tsv") == [{"q": "x", "a": "1"}, {"q": "y", "a": "2"}]
    assert parsed(b"q,r\ta\nx\t1,2\n", "tsv") == [{"q,r": "x", "a": "1,2"}]


def test_a_table_without_a_header() -> None:
    content = b"0\tIs it?\tNo.\n1\tAre they?\n2\tWas it?\tYes.\n"
    rows = parsed(content, "tsv", header=False)
    assert rows[0] == {"column_1": "0", "column_2": "Is it?", "column_3": "No."}
    assert messages(rows) == ["2 cells, expected 3"]
    assert parsed(content, "tsv", header=False, columns=("a", "b", "c"))[2] == {"a": "2", "b": "Was it?", "c": "Yes."}
    assert len(messages(parsed(content, "tsv", header=False, columns=("a", "b")))) == 2
    with pytest.raises(ValidationError, match="header: false"):
        Options(columns=("a",))


def test_a_header_in_the_middle_is_no_row(written: Written) -> None:
    rows = written("f.csv", "a,b\n1,x\na,b\n2,y\n")
    assert [row for row in rows if isinstance(row, dict)] == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    assert messages(rows) == ["the header once more"]
    assert written("f.csv", "text\ntext\n") == [{"text": "text"}]


def test_a_row_that_escapes_would_mend_says_so(written: Written) -> None:
    sound = "".join(f'{number},"say ""x"""\n' for number in range(60))
    assert messages(written("f.csv", f'a,b\n{sound}1,"say \\"x\\", y"\n')) == [
        "',' expected after '\"'; where \\\" is a quote within a cell, state `escape: \"\\\\\"`"
    ]

    assert messages(written("f.csv", 'a,b\n1,"say ""x"""\n' * 60 + "1\\,5,y\n"))[-1] == (
        '3 cells, expected 2; where \\, is a delimiter within a cell, state `escape: "\\\\"`'
    )
    assert messages(written("f.csv", "a,b,c\n" + "1,x,y\n" * 60 + "1,'x, y',z\n")) == [
        "4 cells, expected 3; where cells stand within ', state `quote: \"'\"`"
    ]


def test_a_problem_names_the_delimiter_as_it_is_written() -> None:
    assert messages(parsed(b'a;;b\n"x"y;;z\n', "csv", delimiter=";;")) == ["';;' expected after '\"'"]


@pytest.mark.parametrize(
    ("names", "rows", "seen"),
    [
        (["id", "question", "answer 1"], [["1", "Is it?", "No."]], None),
        (["0", "Is it so?"], [["1", "Is it not?"]], "0"),
        (["Is it so?", "yes"], [["Is it not?", "no"], ["Was it?", "yes"]], "Is it so?"),
        (["fine", "good"], [["bad", "good"]], "good"),
        (["2024-01-02", "x"], [["2024-01-03", "y"]], "2024-01-02"),
        (["word " * 20, "x"], [["other", "y"]], "word " * 20),
        (["Frage", "Antwort"], [["Was?", "Nichts."]], None),
        (["http://x.org/0", "Page"], [["http://x.org/1", "Leaf"]], "http://x.org/0"),
        (["Page", "img/0.png"], [["Leaf", "img/1.png"]], "img/0.png"),
        (["/data/a.txt", "x"], [["/data/b.txt", "y"]], "/data/a.txt"),
        (["input/output", "km/h"], [["a", "b"]], None),
        (["http://x.org/schema#name", "y"], [["Ada", "x"]], None),
        (["id", "2023", "2024"], [["1", "3", "4"], ["2", "6", "8"], ["3", "9", "9"]], None),
        (["country", "2023"], [["Malta", "3"], ["Cyprus", "6"], ["Crete", "9"]], None),
        (["country", "2023", "2024"], [["Malta", "3", "5"], ["Cyprus", "6", "1"], ["Crete", "9", "7"]], None),
        (["text", "0"], [["Malta", "x"], ["Cyprus", "y"]], None),
        (["Malta", "12"], [["Cyprus", "13"], ["Crete", "9"], ["Corfu", "8"]], "12"),
        (["1", "2", "3"], [["4", "5", "6"], ["7", "8", "9"], ["0", "0", "0"]], "1"),
        (["What is your question?", "Your answer"], [["How is it?", "It is so."]], None),
        (["What is it?", "This is the answer."], [["How is it?", "It is so."]], "What is it?"),
        (["Is it on the label?", "No"], [["Is it red?", "Yes"]], "Is it on the label?"),
        (["5.1", "3.5", "Iris"], [["4.9", "3.0", "Rose"], ["4.7", "3.2", "Elm"], ["4.6", "3.1", "Ash"]], "5.1"),
        (["NaN", "5"], [["1", "6"], ["2", "7"], ["3", "8"]], "5"),
    ],
)
def test_a_first_row_that_looks_like_data(names: list[str], rows: list[list[str]], seen: str | None) -> None:
    assert looks_like_data([dict(zip(names, row, strict=True)) for row in rows]) == seen


def test_a_mark_of_a_file_put_behind_another_is_no_cells(written: Written) -> None:
    one, two = (b"\xef\xbb\xbfa,b\n" + cells for cells in (b"1,2\n", b'"3",4\n'))
    rows = written("f.csv", one + two)
    assert [row for row in rows if isinstance(row, dict)] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert messages(rows) == ["the header once more"]
    assert written("f.csv", one[3:] + b"\xef\xbb\xbf5,6\n")[1] == {"a": "5", "b": "6"}


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (r"one\ntwo\tthree", "one\ntwo\tthree"),  # PostgreSQL's COPY, MySQL's OUTFILE
        (r"C:\\new", r"C:\new"),
        ("one\\\ntwo", "one\ntwo"),
        (r"$\nu$, \alpha", r"$\nu$, \alpha"),  # a backslash before what no export writes: none is an escape
    ],
)
def test_letters_behind_backslashes_in_exports_of_databases(written: Written, cell: str, text: str) -> None:
    rows = written("f.tsv", f"a\tb\n{cell}\t1\nx\t\\N\n")
    assert rows == [{"a": text, "b": "1"}, {"a": "x", "b": None}]


def test_hives_delimiter_is_one_whatever_texts_hold(written: Written) -> None:
    assert written("f.csv", "a,b\x01c\n1,2\x013\n4,5\x016\n") == [{"a,b": "1,2", "c": "3"}, {"a,b": "4,5", "c": "6"}]


def test_a_title_above_the_header_is_told_of(written: Written) -> None:
    for row in written("f.csv", "# made by hand\na,b\n1,2\n"):
        assert isinstance(row, Unread)
        assert "if the first line is a title or a remark, take it out" in row.message
