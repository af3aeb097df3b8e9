"""Experiments end to end on the tiny model: arms, seeds, held-out rows, what is found again, and what is told."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.errors import AssayError
from curate.progress import Progress
from curate.publish.held_out import sharing
from evaluation.experiment.learned import HeldOut
from evaluation.experiment.settings import ExperimentSettings, in_order
from tests.project import Project, make_rows
from tests.tiny import write_model
from train.manifest import AdapterManifest, AdapterParent
from train.settings import TrainingSettings

RECIPES = Path(__file__).resolve().parent.parent.parent / "recipes"
ARMS: dict[str, Any] = {
    "curated": None,
    "raw": {
        "duplicates": {"threshold": 1.0},
        "split": {"train": 0.9, "validation": 0.08, "test": 0.02},
        "render": {"chat": "llama2"},
    },
}
FILE: dict[str, Any] = {
    "recipe": "recipe.yaml",
    "seeds": [0, 1],
    "common": {"training": {"rank": 2}},
    "arms": ARMS,
    "metrics": ["schema_valid", "colour.macro_f1", "loss"],
    "rows": 6,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("experiment")
    model = write_model(folder / "model")
    made = Project(
        folder / "made",
        fit={"model": str(model), "max_tokens": 150},
        training={"rows": 8, "max_tokens": 150, "batch_size": 4, "rank": 4, "method": "lora"},
        evaluation={"rows": 5, "max_tokens": 150, "max_new_tokens": 4, "batch_size": 6, "resamples": 200},
    )
    made.add("rows.jsonl", make_rows(240))
    (made.folder / "forms.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    return made


class Interrupted(Exception):
    """As ^C does."""


def told_to(lines: list[str], stop: str = "never") -> Progress:
    def progress(what: str, done: int, total: int, unit: str) -> None:
        lines.append(what)
        if what.startswith(stop):
            raise Interrupted

    return progress


@pytest.fixture(scope="module")
def finished(project: Project) -> assay.Experiment:
    """Stopped as its third adapter begins, and run again."""
    store, lines = project.folder / "store", list[str]()
    with pytest.raises(Interrupted):
        assay.experiment(
            project.folder / "forms.yaml",
            store=store,
            workers=1,
            apart=False,
            progress=told_to(lines, "adapter 3 of 4: raw, seed 0"),
        )
    assert any(line.startswith("4 adapters to train, 0 found; ") for line in lines)
    lines.clear()
    done = assay.experiment(project.folder / "forms.yaml", store=store, workers=1, apart=False, progress=told_to(lines))
    [line] = [line for line in lines if " adapters to train" in line]
    assert re.fullmatch(r"2 adapters to train, 2 found; [\d,]+ tokens, about 1 min of training at .*", line)
    return done


def test_all_arms_are_asked_the_same_rows(finished: assay.Experiment) -> None:
    result, outcomes = finished.result, pq.read_table(finished.folder / "outcomes.parquet").to_pylist()
    baseline = assay.load(result.arms["curated"].dataset, store=finished.made.store.root)
    test = {row["id"]: row for row in baseline.test}
    asked = {(row["arm"], row["seed"]): set() for row in outcomes}
    for row in outcomes:
        asked[row["arm"], row["seed"]].add(row["id"])
    assert len(asked) == 4
    assert len({frozenset(each) for each in asked.values()}) == 1
    ids = next(iter(asked.values()))
    assert len(ids) == result.rows == 6
    assert ids <= test.keys()
    prompts = {}
    for arm, its in result.arms.items():
        card = finished.made.store.root / "scorecards" / its.scorecards[0]
        rows = pq.read_table(card / "predictions.parquet").to_pylist()
        assert {row["id"] for row in rows} == ids
        prompts[arm] = {row["id"]: row["prompt"] for row in rows}
    some = next(iter(ids))
    assert prompts["curated"][some].startswith("<|im_start|>user\n")
    assert "[INST]" in prompts["raw"][some]


def test_no_arm_is_trained_on_what_is_asked(finished: assay.Experiment) -> None:
    """By brute force: rows of the raw arm, which splits otherwise, that are a test row, or near one."""
    from curate.publish.check_text import shingles_of

    store, arms = finished.made.store.root, finished.result.arms
    baseline, raw = (assay.load(arms[name].dataset, store=store) for name in ("curated", "raw"))
    assert baseline.name == "demo"
    assert raw.name.startswith("demo-")
    rule = {"scope": "prompt", "boilerplate": [], "shingle_words": 5, "threshold": 0.6}
    held = [(row["id"], row["group"], shingles_of(row, rule)) for row in baseline.test]

    def leaks(row: dict[str, Any]) -> bool:
        mine, groups = shingles_of(row, rule), set((row["group"] or "").split("\x1f")) - {""}
        return any(
            row["id"] == name or groups & set((group or "").split("\x1f")) or len(mine & its) >= 0.6 * len(mine | its)
            for name, group, its in held
        )

    both = [*raw.train, *raw.validation]
    leaking = {row["id"] for row in both if leaks(row)}
    left_out = sharing(raw.folder, baseline.folder, rule)
    assert leaking
    assert leaking <= left_out
    assert arms["raw"].left_out == len(left_out)
    assert arms["curated"].left_out == 0
    manifest = AdapterManifest.read(store / "adapters" / arms["raw"].adapters[0])
    assert manifest.inputs.left_out is not None
    assert manifest.inputs.left_out.rows == len(left_out)
    tied = {row["cluster"] for row in both if row["id"] in leaking}
    assert {row["id"] for row in both if row["cluster"] in tied} <= left_out


def test_what_is_told(finished: assay.Experiment) -> None:
    document = json.loads((finished.folder / "result.json").read_bytes())
    jsonschema.validate(document, json.loads((finished.folder / "result.schema.json").read_bytes()))
    assert document["tests"] == 3
    assert document["arms"]["raw"]["against"]["loss"]["p"] <= 1
    assert document["arms"]["curated"]["against"] == {}
    for arm in document["arms"].values():
        assert arm["rows"] == [8, 8]
        assert [len(each) for each in arm["validation"]] == [2, 2]
        assert arm["scores"]["loss"]["low"] <= arm["scores"]["loss"]["value"] <= arm["scores"]["loss"]["high"]
        assert min(arm["memory_mib"]) > 0
    table = (finished.folder / "table.md").read_text()
    assert table.count("\n| raw | ") == 5  # scores, three differences, training
    page = (finished.folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=", page)
    assert assay.check_store(store=finished.made.store.root).passed


def test_the_loss_is_that_of_the_rows_answers(finished: assay.Experiment) -> None:
    """Of one row, by transformers' own loss."""
    import torch

    from evaluation.experiment.settings import ExperimentSettings as File
    from train.adapter import load
    from train.base_model import prepare
    from train.qlora import renderer_of

    path = finished.made.store.root.parent / "forms.yaml"
    recipe = File.load(path).arm("raw", path.parent / "recipe.yaml")
    base = prepare(recipe.fit.model, finished.made.store.cache)
    renderer = renderer_of(recipe, base)
    arm = finished.result.arms["raw"]
    model = load(finished.made.store.root / "adapters" / arm.adapters[1], base, renderer.template)
    outcomes = pq.read_table(finished.folder / "outcomes.parquet").to_pylist()
    row = next(row for row in outcomes if (row["arm"], row["seed"]) == ("raw", 1))
    version = assay.load(finished.result.arms["curated"].dataset, store=finished.made.store.root)
    [messages] = [each["messages"] for each in version.test if each["id"] == row["id"]]
    encoded = renderer.encode(messages)
    ids, labels = torch.tensor([encoded.input_ids]), torch.tensor([encoded.labels])
    with torch.inference_mode():
        assert row["loss"] == pytest.approx(float(model(input_ids=ids, labels=labels).loss), abs=1e-4)


def test_a_second_run_trains_and_asks_nothing(project: Project, finished: assay.Experiment) -> None:
    command = ["experiment", str(project.folder / "forms.yaml"), "--store", str(project.folder / "store"), "--json"]
    done = CliRunner().invoke(app, [*command, "--workers", "1"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["folder"] == str(finished.folder)
    assert document["result"]["baseline"] == "curated"
    events = [event for event in finished.made.store.events() if event["event"] == "adapters"]
    assert sum(not event["found"] for event in events) == 4


def pair_of(row: dict[str, Any], version: assay.Version, **known: Any) -> dict[str, Any]:
    *prompt, chosen = [{key: message[key] for key in ("role", "content")} for message in row["messages"]]
    told = {"id": row["id"], "cluster": row["cluster"], "dataset": f"{version.name}/{version.id}"}
    return told | {"prompt": prompt, "chosen": [chosen], "rejected": [chosen | {"content": "no"}]} | known


def write_pairs(path: Path, pairs: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return str(path)


@pytest.mark.slow
def test_preferences_and_reinforcement_are_arms(project: Project) -> None:
    """Each beside the plain training that it goes on from."""
    version = assay.curate(project.recipe_path, store=project.folder / "store", workers=1)
    store = version.made.store
    write_pairs(project.folder / "pairs.jsonl", [pair_of(row, version) for row in [*version.train][:4]])
    short = {"rows": 4, "batch_size": 4}
    goes_on = short | {"start_from": "arms/sft"}
    reft = {"group_size": 2, "max_new_tokens": 3}
    arms = {
        "dpo": {"training": goes_on | {"objective": "dpo", "pairs": "pairs.jsonl"}},
        "reft": {"training": short | {"objective": "reft", "reft": reft}},
        "sft": {"training": short},
    }
    path = project.folder / "learned.yaml"
    path.write_text(yaml.safe_dump({"recipe": "recipe.yaml", "arms": arms, "baseline": "sft", "metrics": ["loss"]}))
    lines: list[str] = []
    run = partial(assay.experiment, path, store=store.root, workers=1, apart=False, progress=told_to(lines))
    done = run()
    assert any("; what 2 of them learn from pairs or drawn answers comes besides" in line for line in lines)
    manifests = {
        name: AdapterManifest.read(store.root / "adapters" / arm.adapters[0]) for name, arm in done.result.arms.items()
    }
    sft = AdapterParent(name="demo", version=manifests["sft"].version)
    assert [manifests[name].inputs.adapter for name in arms] == [sft, sft, None], "its warm-up is just that"
    assert manifests["dpo"].inputs.pairs is not None
    assert manifests["reft"].inputs.reward is not None
    assert done.result.arms["dpo"].against.keys() == {"loss"}
    lines.clear()
    assert run().folder == done.folder
    assert "0 adapters to train, 3 found" in lines


def test_nothing_is_learned_of_rows_that_are_asked(finished: assay.Experiment, tmp_path: Path) -> None:
    store, arms = finished.made.store, finished.result.arms
    baseline, raw = (assay.load(arms[name].dataset, store=store.root) for name in ("curated", "raw"))
    rule = {"scope": "prompt", "boilerplate": [], "shingle_words": 5, "threshold": 0.6}
    loose = rule | {"shingle_words": 1, "threshold": 0.5}
    left_out, more = (sharing(raw.folder, baseline.folder, each) for each in (rule, loose))
    rows = [*raw.train, *raw.validation]
    shares = next(row for row in rows if row["id"] in more - left_out)
    apart = next(row for row in rows if row["id"] not in more)

    def learned(*pairs: dict[str, Any], start: str | None = None, by: dict[str, Any] = rule) -> None:
        test = HeldOut(baseline.folder, by, frozenset(), store)
        file = write_pairs(tmp_path / "pairs.jsonl", list(pairs))
        known = {"objective": "dpo", "pairs": file} if pairs else {}
        test.require_unlearned("dpo", TrainingSettings(start_from=start, **known))

    learned(pair_of(apart, raw), pair_of(baseline.train[0], baseline))
    learned(start=arms["curated"].adapters[0])
    learned(start=arms["raw"].adapters[0])
    learned(start="arms/other")
    for pair, said in (
        (pair_of(baseline.test[0], baseline), r"1 of 2 pairs ask what rows of the test split of demo/\w+ ask"),
        (pair_of(shares, raw, cluster=None), r"1 of 2 pairs are of rows of demo-\w+/\w+ that share something"),
        (pair_of(apart, raw, id="gone", cluster=None), "stand in neither its train nor its validation split"),
        (pair_of(apart, raw, dataset=None), "pair 2 does not name its row"),
        (pair_of(apart, raw, dataset="demo/0"), "data set demo/0 is not in this store"),
    ):
        with pytest.raises(AssayError, match=rf"^arms\.dpo: .*{said}") as told:
            learned(pair_of(apart, raw), pair, by=loose)
        assert told.value.remedy
    with pytest.raises(AssayError, match=r"adapter demo-\w+/\w+ may have been trained on rows asked: of its data set"):
        learned(start=arms["raw"].adapters[0], by=loose)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"a": {"training": {"rowz": 3}}, "b": {}}}, r"arms\.a: .*training\.rowz: no such key"),
        ({"arms": {"a": {"training": {"seed": 3}}, "b": {}}}, r"arms\.a\.training\.seed: no arm changes it"),
        ({"arms": {"a": {"training": 5}, "b": {}}}, r"arms\.a: .*training: Input should be a valid dictionary"),
        ({"arms": {"a": {"training": "seed"}, "b": {}}}, r"arms\.a: .*training: Input should be a valid dictionary"),
        ({"common": {"evaluation": 3}}, r"arms\..*evaluation: Input should be a valid dictionary"),
        ({"seeds": [0, -1]}, "seeds.1: Input should be greater than or equal to 0"),
        ({"seeds": [2**32]}, "seeds.0: Input should be less than 4294967296"),
        ({"rows": 2**63}, "rows: expected whole numbers of 64 bits"),
        ({"common": {"contract": "other"}}, r"common\.contract: no arm changes it"),
        ({"baseline": "none"}, "baseline: no arm 'none'; there are curated, raw"),
        ({"metrics": ["size.macro_f1"]}, "have no size.macro_f1"),
        ({"metrics": ["fine"]}, "metrics.0: expected `loss`"),
        (
            {"common": {"evaluation": {"systems": {"tuned": {"model": "adapter", "shots": 2}}}}},
            "arms.curated: evaluation.systems.tuned is not",
        ),
        (
            {"arms": {"a": {"training": {"start_from": "arms/c"}}, "b": {}}},
            r"arms\.a: training\.start_from: arms/c: there is no such arm",
        ),
        (
            {"arms": {name: {"training": {"start_from": f"arms/{other}"}} for name, other in ("ab", "ba")}},
            r"arms\.b: training\.start_from: arms/a: it goes in a circle",
        ),
        ({"seeds": [1, 1]}, "seeds: one is named twice"),
        ({"arms": {"a": {}}}, "at least 2"),
        ({"recipe": "nothing"}, "nothing: no such recipe"),
    ],
)
def test_a_wrong_file_is_told(project: Project, changes: dict[str, Any], said: str) -> None:
    path = project.folder / "wrong.yaml"
    path.write_text(yaml.safe_dump(FILE | changes, sort_keys=False))
    with pytest.raises(AssayError, match=re.compile(said, re.DOTALL)):
        assay.experiment(path, store=project.folder / "unused", workers=1)


def test_every_arm_takes_the_drop_that_is_named(project: Project, tmp_path: Path) -> None:
    settings = ExperimentSettings.model_validate(FILE)
    for name in settings.arms:
        assert settings.arm(name, project.recipe_path, tmp_path).drop == str(tmp_path)
        assert settings.arm(name, project.recipe_path).drop != str(tmp_path)
    path = project.folder / "named.yaml"
    path.write_text(yaml.safe_dump(FILE, sort_keys=False))
    done = CliRunner().invoke(app, ["experiment", str(path), "--drop", str(tmp_path / "nowhere"), "--json"])
    assert "nowhere" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("path", sorted((RECIPES / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_that_come_with_assay_are_sound(path: Path) -> None:
    settings = ExperimentSettings.load(path)
    recipe = settings.recipe_path(path)
    arms = {name: settings.arm(name, recipe) for name in settings.arms}
    told = {json.dumps(arm.model_dump(mode="json"), sort_keys=True) for arm in arms.values()}
    assert len(told) == len(arms)
    assert sorted(in_order(arms)) == sorted(arms)
