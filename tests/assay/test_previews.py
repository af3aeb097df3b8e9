"""Preview: a few rows through the stages, without the store, or of a version; in the terminal's data and as a page."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

import assay
from assay.cli import app
from assay.previews import Preview, Previews, Rejected, previews
from curate.errors import AssayError
from curate.rows.tokens import Token
from curate.store import Store
from evaluation.settings import FullRecipe
from tests.browser import DESKTOP, PHONE, Browser, assert_accessible, assert_printable, assert_readable
from tests.project import Project, make_rows
from train.audit import encode
from train.base_model import BaseTokenizer
from train.examples import read_split
from train.qlora import renderer_of


def answered(question: str, **answer: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": json.dumps(answer)}]
    return {"messages": said}


def shown(project: Project, rows: int) -> list[Preview]:
    return list(previews(project.recipe, Store(project.folder / "store"), project.tokenizer, rows))


def test_the_shape_of_a_row_is_told(tmp_path: Path) -> None:
    project = Project(tmp_path, record={"target": "turns[-1].content"})
    project.add("a.jsonl", [answered("what is in the box", colour="red", count=2), {"txet": "what is in it"}])
    seen, unseen = shown(project, 2)
    assert seen.shape == "messages"
    assert seen.record["turns"] == [{"role": "user", "content": "what is in the box"}]
    assert json.loads(seen.messages[-1]["content"]) == {"colour": "red", "count": 2}
    assert unseen.shape is None
    assert unseen.rejected is not None
    assert (unseen.rejected.stage, unseen.rejected.reason) == ("read", "unrecognised")
    assert unseen.rejected.evidence["message"].startswith("columns txet; looked for")
    assert str(unseen.rejected).startswith('read: unrecognised {"message": "columns txet; looked for')


def test_a_row_of_the_test_set_is_shown_to_be_one(tmp_path: Path) -> None:
    secret = "which of the seven painted boxes on the upper shelf of the hall holds the ball that nobody has seen"
    project = Project(
        tmp_path, record={"target": "turns[-1].content"}, decontaminate={"references": [{"files": ["test.json"]}]},
        sources=[{"files": ["a.jsonl"]}],
    )  # fmt: skip
    project.add("a.jsonl", [answered(secret, colour="red", count=2), answered("how many are", colour="red", count=3)])
    (project.drop / "test.json").write_text(json.dumps([{"question": secret}]))
    first, second = shown(project, 2)
    assert first.rejected is not None
    assert first.rejected.stage == "decontaminate"
    assert "test.json" in str(first.rejected)
    assert second.rejected is None


def test_every_part_of_a_divided_row_is_shown(tmp_path: Path) -> None:
    fit = {"model": "tokenizer", "max_tokens": 110, "policy": "split_turns"}
    project = Project(tmp_path, record={}, fit=fit, contract="guanaco")
    said = ["what is in the box", "there are six red balls in it", "and what is on it", "there is a lid on the box"]
    turns = [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(said)]
    project.add("a.jsonl", [{"messages": turns}])
    parts = shown(project, 1)
    assert [part.rejected for part in parts] == [None, None]
    assert [[turn["content"] for turn in part.record["turns"]] for part in parts] == [said[:2], said[2:]]


def test_references_with_data_that_the_recipe_quarantines(tmp_path: Path) -> None:
    project = Project(
        tmp_path, decontaminate={"references": [{"files": ["test.json"]}]}, sources=[{"files": ["a.jsonl"]}],
        pii={"replace": [], "quarantine": ["email"]},
    )  # fmt: skip
    project.add("a.jsonl", [{"text": "what is in the box", "colour": "red", "count": 2}])
    (project.drop / "test.json").write_text(json.dumps([{"question": "who is jane@example.org"}, {"question": "?"}]))
    [seen] = shown(project, 1)
    assert seen.rejected is None


class Published(NamedTuple):
    recipe: Path
    store: Path
    version: Path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A version of a recipe that trains on rows of 140 tokens and fewer; some have more."""
    project = Project(tmp_path_factory.mktemp("published"), training={"max_tokens": 140})
    project.add("rows.jsonl", make_rows(120))
    version = project.curate().folder
    return Published(project.recipe_path, project.folder / "store", version)


def test_published_rows_are_what_training_is_given(published: Published) -> None:
    shown = assay.preview(published.recipe, store=published.store, split="train", rows=1000)
    rows = read_split(published.version, "train", ["id", "messages"])
    assert [row.id for row in shown.rows] == [row["id"] for row in rows]
    assert shown.rows[1].source == "train, row 1"
    recipe = FullRecipe.load(published.recipe)
    renderer = renderer_of(recipe, BaseTokenizer.in_folder("tokenizer", published.recipe.parent / "tokenizer"))
    trained = {each.id: each for each in encode(rows, renderer)}
    for row in shown.data()["rows"]:
        assert row["input_ids"] == trained[row["id"]].input_ids
        assert row["labels"] == trained[row["id"]].labels
        assert len(row["tokens"]) == len(row["special"]) == len(row["input_ids"])
        assert "".join(row["tokens"]) == "".join(text for text, _ in row["pieces"])


def test_a_row_that_is_not_trained_says_why(published: Published) -> None:
    shown = assay.preview(published.recipe, store=published.store, split="train", rows=1000)
    long = [row for row in shown.rows if len(row.tokens) > 140]
    assert long
    for row in shown.rows:
        told = f"too_long: Row {row.id}: it has {len(row.tokens)} tokens, 140 are allowed"
        assert row.problems == ([told] if row in long else [])


def test_rows_by_id_of_any_split(published: Published) -> None:
    ids = [read_split(published.version, split, ["id"])[0]["id"] for split in ("test", "train")]
    asked = ["preview", str(published.recipe), "--store", str(published.store), "--row", ids[0], "--row", ids[1]]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [row["id"] for row in document["rows"]] == ids
    assert [row["source"] for row in document["rows"]] == ["test, row 0", "train, row 0"]
    [row] = assay.preview(published.recipe, dataset=published.version, store=published.store, rows=1).rows
    assert row.id == ids[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row": ["beef"]}, "no row 'beef' in train, validation, test"),
        ({"row": ["beef"], "split": "test"}, "no row 'beef' in test"),
        ({"split": "training"}, "There is no split 'training'"),
        ({"split": "train", "drop": "."}, "A drop is named, and published rows are asked for"),
        ({"dataset": "other"}, "other"),
        ({"rows": 0}, "rows is 0"),
    ],
)
def test_what_is_not_there_is_said(options: dict[str, Any], message: str, published: Published) -> None:
    with pytest.raises(AssayError, match=message) as caught:
        assay.preview(published.recipe, store=published.store, **options)
    assert caught.value.remedy


def test_a_version_of_another_tokenizer_is_refused(published: Published, tmp_path: Path) -> None:
    copied = shutil.copytree(published.recipe.parent, tmp_path / "copied")
    tokenizer = copied / "tokenizer/tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    with pytest.raises(AssayError, match="was made with another"):
        assay.preview(copied / "recipe.yaml", store=published.store, split="train")


HOSTILE = "</span><script>alert(1)</script> \"' onclick=x \u202eevil\x1b[2J {{ 7 * 7 }} 😀 \ufffd"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of rows of which one is hostile, one is quarantined, and one is too long to be trained."""
    project = Project(tmp_path_factory.mktemp("page"), training={"max_tokens": 140})
    good = {"text": "the box on the shelf\n\n\tholds a ball", "colour": "red", "count": 2}
    rows = [good | {"text": HOSTILE}, good, good | {"colour": "<b>"}, good | {"text": "long one " * 11}]
    project.add("<i>" + "a" * 60 + ".jsonl", rows)
    html = project.folder / "rows.html"
    made = assay.preview(project.recipe_path, store=project.folder / "store", rows=3, html=html)
    assert made.places() == {"html": html}
    assert [row.rejected is None for row in made.rows] == [True, True, False, True]
    return html


def test_the_page_marks_tokens_and_holds_nothing_of_the_rows_but_text(page: Path) -> None:
    text = page.read_text()
    assert '<span class="t special" title="0: id 256, special">&lt;|im_start|&gt;</span>' in text
    assert '<span class="t on special' in text
    assert ">⏎</span><br>" in text
    assert ">⋯</span>" in text
    assert ">😀</span>" in text
    assert "<script" not in text
    assert "onclick=x" not in text.partition("<details>")[0]
    assert "{{ 7 * 7 }}" in text
    assert not {"\u202e", "\x1b"} & set(text)
    assert "quarantined by validate: target_schema" in text
    assert "Not trained: <span" in text
    assert "://" not in text


def test_what_could_steer_a_reader_stands_as_its_number(tmp_path: Path) -> None:
    steering = "\u202e\x1b\x9b\u2066\u200f\u2028"
    row = Preview(
        f"{steering}.jsonl, row 0", shape=None, record={"turns": steering}, id=steering,
        messages=[{"role": steering, "content": steering}], tokens=[Token(steering, 1, True, False)],
        problems=[f"bos_twice: {steering}"],
    )  # fmt: skip
    text = Previews([row], steering).html()
    assert not set(steering) & set(text.replace("\n", ""))
    assert "⟨U+202E⟩⟨U+001B⟩⟨U+009B⟩⟨U+2066⟩⟨U+200F⟩⟨U+2028⟩</span>" in text


def test_an_earlier_page_is_written_over_and_nothing_else(page: Path, tmp_path: Path) -> None:
    again = Previews([Preview("a, row 0", Rejected("read", "unreadable", {"at": float("nan")}))], "mine")
    again.write(tmp_path / "rows.html")
    again.write(tmp_path / "rows.html")
    (tmp_path / "drop.jsonl").write_text("{}")
    for path, message in (
        (tmp_path / "drop.jsonl", r"drop\.jsonl is there, and is no page of `assay preview`"),
        (tmp_path, "cannot be written: Is a directory"),
        (tmp_path / "none/rows.html", "cannot be written: No such file"),
    ):
        with pytest.raises(AssayError, match=message):
            again.write(path)
    assert (tmp_path / "drop.jsonl").read_text() == "{}"


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)])
def test_the_page_is_readable(width: int, dark: bool, browser: Browser, page: Path) -> None:
    assert_readable(browser, page, width, dark, "preview")


def test_the_page_is_printable(browser: Browser, page: Path) -> None:
    assert_printable(browser, page, "preview")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, DESKTOP])
def test_the_page_is_accessible(width: int, dark: bool, browser: Browser, page: Path) -> None:
    browser.open(page, width=width, dark=dark)
    assert_accessible(browser)
