"""Searching the rejected rows of a report in a headless Chromium: many of them, and hostile ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.manifest import DatasetManifest
from curate.publish import rejected
from curate.publish.rejected import Rejected, rejected_of, rejected_rows
from curate.publish.report import write_report
from curate.publish.shown_rows import seen
from curate.record import QUARANTINE_SCHEMA
from curate.sets.runs import Runs
from tests.browser import UNPACKED, Browser, assert_quiet
from tests.project import Project, make_rows

HOSTILE = [
    "<script>ran = 1</script>",
    "</script><script>ran = 1</script>",
    "</template><script>ran = 1</script>",
    "</pre></dialog><img src=x onerror='ran = 1'><svg onload='ran = 1'>",
    '"><b onclick="ran = 1" autofocus onfocus="ran = 1" tabindex=0>x</b>',
    "<iframe srcdoc='<script>parent.ran = 1</script>'></iframe><style>* { display: none }</style>",
    "javascript:ran=1 ${ran = 1} {{ ran }} `ran` \\u003cscript>ran = 1\\u003c/script>",
    "<!-- <script> \u202eright to left\u2066 \x00 \ufeff 😀 \u2028 \U0001f468\u200d\U0001f469",
    "İ ß ﬃ Ω K",  # letters that change their length with their case
]


def row(number: int, text: str, **values: Any) -> dict[str, Any]:
    """A row of a quarantine."""
    return {
        "id": f"{number:032x}",
        "turns": [{"role": "user", "content": text}],
        "target": None,
        "source": {"drop": "d", "file": "rows.jsonl", "row": number},
        "meta": {},
        "stage": "quality",
        "reason": "too_long",
        "evidence": "{}",
    } | values


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("project"))
    project.add("rows.jsonl", make_rows(60))
    return project.curate().folder


def page_of(version: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The report of a version that had these rows in quarantine."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=QUARANTINE_SCHEMA), version / "quarantine.parquet")
    write_report(version, DatasetManifest.read(version))
    return version / "report.html"


SHOWN = "[...document.querySelectorAll('#list li .line:last-child')].map(each => each.textContent)"
STATUS = "document.getElementById('status').textContent"


def opened(browser: Browser, page: Path, part: str = "", **options: Any) -> None:
    """Open a page and wait until its rows are unpacked."""
    browser.open(page, part, **options)
    browser.run(UNPACKED)


def test_nothing_of_a_row_runs(browser: Browser, version: Path) -> None:
    rows = [
        row(at, text, target=text, reason=text, stage=text, evidence=json.dumps({text: text}),
            source={"drop": "d", "file": text, "row": at})
        for at, text in enumerate(HOSTILE)
    ]  # fmt: skip
    page = page_of(version, rows)
    opened(browser, page)
    elements = "document.querySelectorAll('script, img, iframe, style, #list b b, #row b, [onclick], [onfocus]').length"
    assert browser.run(elements) == 2, "our script and our style"
    for at in range(len(rows)):
        browser.run(f"document.querySelectorAll('#list button')[{at}].click()")
        said = browser.run("document.querySelector('#row pre').textContent")
        assert said == rejected._plain(pa.array([HOSTILE[at]]))[0]
        assert browser.run(elements) == 2
        browser.run("document.getElementById('close').click()")
    assert browser.run("typeof ran") == "undefined"
    for text in HOSTILE:
        browser.run(f"document.querySelector('[name=q]').value = {json.dumps(text)}")
        browser.run("document.getElementById('search').dispatchEvent(new Event('input'))")
    assert browser.run("typeof ran") == "undefined"
    assert_quiet(browser, page)


def test_the_policy_lets_no_other_script_run(browser: Browser, version: Path) -> None:
    page = page_of(version, [row(0, "x")])
    text = page.read_text(encoding="utf-8")
    attacked = page.with_name("attacked.html")
    attacked.write_text(text.replace("</main>", "<script>ran = 1</script><img src=x onerror='ran = 1'></main>"))
    opened(browser, attacked)
    assert browser.run("typeof ran") == "undefined"
    attacked.write_text(text.replace('"use strict";', '"use strict"; ran = 1;'))
    browser.open(attacked)
    assert browser.run("typeof ran") == "undefined", "ours, changed by a byte"
    attacked.unlink()


def ordinary() -> list[dict[str, Any]]:
    kinds = [("quality", "too_long"), ("quality", "too_short"), ("duplicates", "near_duplicate")]
    rows = []
    for at in range(200):
        stage, reason = kinds[at % 3]
        text = f"row number {at} " + "Word " * (at % 7)
        rows.append(row(at, text, stage=stage, reason=reason, target=json.dumps({"count": at})))
    return rows


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("#stage=quality", lambda at: at % 3 < 2),
        ("#reason=near_duplicate", lambda at: at % 3 == 2),
        ("#q=WORD", lambda at: at % 7 > 0),
        ("#q=number+17&reason=too_long", lambda at: "17" in str(at) and at % 3 == 0),
        ('#q="count"%3A+19', lambda at: "19" in str(at)),
        ("#q=nothing+of+the+kind", lambda at: False),
    ],
)
def test_the_filter_leaves_exactly_the_rows_asked_for(browser: Browser, version: Path, part: str, wanted: Any) -> None:
    rows = ordinary()
    page = page_of(version, rows)
    opened(browser, page, part)
    expected = [each["turns"][0]["content"] for at, each in enumerate(rows) if wanted(at)]
    assert browser.run(STATUS) == f"{len(expected)} of 200 rows"
    assert browser.run(SHOWN) == expected[: len(browser.run(SHOWN))]
    assert len(browser.run(SHOWN)) >= min(len(expected), 10)
    assert_quiet(browser, page)


def test_it_sorts_and_scrolls(browser: Browser, version: Path) -> None:
    rows = ordinary()
    page = page_of(version, rows)
    texts = [each["turns"][0]["content"] for each in rows]
    opened(browser, page, "#order=longest")
    assert browser.run(SHOWN)[:10] == sorted(texts, key=len, reverse=True)[:10]
    opened(browser, page, "#order=text")
    assert browser.run(SHOWN)[:10] == sorted(texts)[:10]
    opened(browser, page)
    assert len(browser.run(SHOWN)) < 40, "what is not seen is not drawn"
    browser.run("document.getElementById('list').scrollTop = 1e9")
    assert (
        browser.run(f"new Promise(done => requestAnimationFrame(() => setTimeout(() => done({SHOWN}.pop()))))")
        == texts[-1]
    )
    browser.run("document.querySelector('[name=q]').focus()")
    browser.call("Input.insertText", text="number 77")
    assert browser.run(STATUS) == "2 of 200 rows"
    assert browser.run("location.hash") == "#q=number+77", "a link to these rows"


def test_a_row_opens_beside_the_one_kept_in_its_place(browser: Browser, version: Path) -> None:
    kept = pq.read_table(version / "train.parquet", columns=["id", "turns", "source"]).to_pylist()[0]
    said = kept["turns"][0]["content"]
    evidence = {"kept": kept["id"], "similarity": 0.93, "file": "rows.jsonl", "row": kept["source"]["row"]}
    near = [row(at, f"{said} extra{at}", reason="near_duplicate", evidence=json.dumps(evidence)) for at in range(2)]
    page = page_of(version, near)
    opened(browser, page)
    for at in range(2):  # the first holds the kept row, the second points to it
        browser.run(f"document.querySelectorAll('#list button')[{at}].click()")
        assert browser.run("[...document.querySelectorAll('#row pre')].map(each => each.textContent)") == [
            f"{said} extra{at}", said,
        ]  # fmt: skip
        assert browser.run("[...document.querySelectorAll('#row mark')].map(each => each.textContent)") == [
            f" extra{at}"
        ]
        assert "similarity" in browser.run("document.querySelector('#row dl').textContent")
        browser.run("document.getElementById('close').click()")
    browser.run("document.querySelectorAll('#list button')[0].click()")
    browser.run("document.getElementById('later').click()")
    assert browser.run("document.querySelector('#row pre').textContent") == f"{said} extra1"
    assert browser.run("document.getElementById('later').disabled")


def test_without_scripts_the_first_rows_are_there(browser: Browser, version: Path) -> None:
    page = page_of(version, ordinary())
    browser.open(page, scripts=False)
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    found = browser.call("DOM.querySelectorAll", nodeId=document, selector="#first:not([hidden]) li")
    assert len(found["nodeIds"]) == 12
    for hidden in ("#search[hidden]", "#list[hidden]"):
        assert browser.call("DOM.querySelector", nodeId=document, selector=hidden)["nodeId"]


def test_a_hundred_thousand_rows_are_all_in_the_page(browser: Browser, version: Path) -> None:
    texts = [f"number {at} of many rows, " + "some words that say what it is about " * 4 for at in range(100_000)]
    page = page_of(version, [row(at, text) for at, text in enumerate(texts)])
    opened(browser, page)
    assert browser.run(STATUS) == "100,000 of 100,000 rows"
    browser.run("""(() => {
      document.querySelector("[name=q]").value = "number 99999";
      document.getElementById("search").dispatchEvent(new Event("input"));
    })()""")
    assert browser.run(STATUS) == "1 of 100,000 rows"
    browser.run("document.querySelector('#list button').click()")
    assert browser.run("document.querySelector('#row pre').textContent") == texts[99_999]


TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "tool"]), "content": st.text("ab\x00\u2066…", max_size=9)}
)


@given(
    st.lists(
        st.builds(row, st.integers(0, 9), st.just(""), turns=st.none() | st.lists(TURN, max_size=3),
                  raw=st.none() | st.text(max_size=9), target=st.none() | st.text("x\u200f", max_size=9)),
        min_size=1,
    ),
    st.integers(1, 8),
)  # fmt: skip
def test_texts_are_those_of_the_rows_cut(rows: list[dict[str, Any]], length: int) -> None:
    def cut(text: str) -> str:
        short = text if len(text) <= length else f"{text[:length]}…"
        return rejected.HIDDEN.sub(lambda char: f"⟨U+{ord(char[0]):04X}⟩", short)

    table = pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)
    whole = [seen(each) for each in table.to_pylist()]
    _, numbers, *texts = rejected._told(rejected._shown(table, 8), length)
    assert numbers == [each["row"] for each in whole]
    assert texts == [[cut(each[name]) for each in whole] for name in ("text", "target")]


def test_while_a_version_is_made_its_rows_give_what_its_files_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Rejected] = []

    def seen_of(*runs: Runs) -> Rejected:
        found.append(rejected_of(*runs))
        return found[-1]

    monkeypatch.setattr("curate.publish.version.rejected_of", seen_of)
    monkeypatch.setattr("curate.sets.rows.PIECE_ROWS", 7)
    project = Project(tmp_path)
    rows = make_rows(60)
    project.add("rows.jsonl", [*rows, *rows[:20], rows[0] | {"text": ""}])
    folder = project.curate().folder
    assert found == [rejected_rows(folder)]
    assert len({each["kept"] for each in found[0].first}) > 1


def test_of_many_rows_some_are_packed_to_find_the_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Path
) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.parquet").symlink_to(version / f"{split}.parquet")
    rows = [row(at, "".join(chr(0x4E00 + (at * 7919 + n * n) % 20_000) for n in range(2000))) for at in range(200)]
    pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), tmp_path / "quarantine.parquet")
    monkeypatch.setattr(rejected, "PAGE_BYTES", 200_000)
    found = rejected_rows(tmp_path)
    packed: list[int] = []
    pack = rejected._pack
    monkeypatch.setattr(rejected, "_pack", lambda few, *more: packed.append(len(few)) or pack(few, *more))
    monkeypatch.setattr(rejected, "TRIED", 32)
    assert rejected_rows(tmp_path) == found
    assert packed.count(200) == 1, "whole only once"
    assert set(packed) == {200, 32}


def test_texts_are_shortened_to_what_a_page_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Path
) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.parquet").symlink_to(version / f"{split}.parquet")
    rows = [row(at, "".join(chr(0x4E00 + (at * 7919 + n * n) % 20_000) for n in range(3000))) for at in range(50)]
    pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), tmp_path / "quarantine.parquet")
    whole = rejected_rows(tmp_path)
    assert (whole.rows, whole.length, len(whole.first)) == (50, 4000, 12)
    monkeypatch.setattr(rejected, "PAGE_BYTES", len(whole.packed) // 4)
    less = rejected_rows(tmp_path)
    assert less.rows == 50
    assert less.length < 1000
    assert len(less.packed) <= len(whole.packed) // 4
    monkeypatch.setattr(rejected, "MOST_ROWS", 20)
    assert rejected_rows(tmp_path).rows == 20
