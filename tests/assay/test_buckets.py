"""Commands over a store in a bucket, on machines that share nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from curate import mirror
from curate.store import store_at
from tests.buckets import Served
from tests.curate.test_objects import asked, bucket, publish, server
from tests.project import Project
from tests.tiny import small_project

__all__ = ["bucket", "server"]

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def on(bucket: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Ask]:
    """The commands as a machine gives them, whose user, mirror and home are its own."""

    def machine(name: str) -> Ask:
        def ask(*command: object, status: int = 0) -> dict[str, Any]:
            monkeypatch.setenv("HOME", str(tmp_path / name))
            monkeypatch.setenv("LOGNAME", name)
            monkeypatch.setattr(mirror, "_mirrors", {})  # as in a process of its own
            return asked(bucket.store, *command, status=status)

        return ask

    return machine


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe, and a file of replies."""
    project = Project(tmp_path_factory.mktemp("replies") / "project")
    file = project.folder / "replies.jsonl"
    rows = [{"colour": colour, "count": 1} for colour in ("red", "green", "blue")]
    file.write_text("".join(json.dumps({"expected": row, "output": json.dumps(rows[0])}) + "\n" for row in rows))
    return project.recipe_path, file


def test_what_one_machine_has_scored_every_other_can_look_at(
    on: Callable[[str], Ask], replies: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe, file = replies
    one, other, third = map(on, ("anna", "ben", "carla"))
    (card,) = one("evaluate", recipe, "--from-file", file)["scorecards"]
    assert other("check", "--all")["passed"]
    assert third("show", "demo", "--kind", "scorecards")["systems"] == card["systems"]
    assert on("dora")("lineage") == one("lineage")
    (event,) = one("lineage")["events"]
    statistics = event["outputs"][0]["outputFacets"]["outputStatistics"]
    files = json.loads((Path(card["folder"]) / "manifest.json").read_bytes())["files"]
    assert statistics["size"] == sum((Path(card["folder"]) / name).stat().st_size for name in files)
    told = on("emil")("pairs", f"demo/{card['version']}", "--out", tmp_path / "pairs.parquet", status=1)["error"]
    assert "its replies come from files" in told["message"]


def test_messages_name_the_bucket_and_results_the_store_as_it_was_named(
    on: Callable[[str], Ask], bucket: Served
) -> None:
    ask = on("anna")
    told = ask("versions", "demo", status=1)["error"]
    assert told["message"] == f"demo: no version in {bucket.store}/datasets."
    folder = publish(store_at(bucket.store), "1")
    assert ask("gc")["store"] == bucket.store
    (state,) = [name for name in bucket.names() if name.startswith("pointers/datasets/demo.json/")]
    bucket.write(state, bucket.read(state).replace(folder.name.encode(), b"f" * 16))
    told = on("ben")("versions", "demo", status=1)["error"]
    assert told["message"].startswith(f"{bucket.store}/pointers/datasets/demo.json (its copy /")


@pytest.mark.slow
def test_from_a_drop_to_a_score_and_what_people_decide_by_turns(
    on: Callable[[str], Ask], bucket: Served, tmp_path: Path
) -> None:
    evaluation = {"resamples": 100, "gate": ["schema_valid >= 0"]}
    project = small_project(tmp_path, {}, evaluation, decisions="decisions.jsonl", doubt={"of": "label"})
    (project.folder / "decisions.jsonl").touch()
    recipe = project.recipe_path
    for path in project.drop.iterdir():
        bucket.client().put_object(Bucket="drop", Key=f"by-turns/{path.name}", Body=path.read_bytes())
    anna, ben = on("anna"), on("ben")
    made = anna("curate", recipe, "--drop", "s3://drop/by-turns", "--workers", 1)
    adapter = ben("train", recipe)
    assert adapter["dataset"] == f"demo/{made['version']}"
    assert ben("versions", "demo", "--kind", "adapters")["versions"][0]["means"] == "candidate"
    card = anna("evaluate", recipe)
    assert anna("versions", "demo", "--kind", "adapters")["latest"] == adapter["version"], "it has passed"
    assert ben("evaluate", recipe)["version"] == card["version"], "it is found"
    assert on("carla")("pairs", "demo", "--split", "test", "--out", tmp_path / "pairs.parquet")["asked"] == 6
    assert on("dora")("merge", "demo", "--out", tmp_path / "merged")["adapter"] == f"demo/{adapter['version']}"

    gone, *_ = pq.read_table(Path(made["folder"]) / "train.parquet", columns=["id"])["id"].to_pylist()
    (line,) = ben("decide", recipe, gone, "drop", "--reason", "odd")["decisions"]
    assert (line["id"], line["who"]) == (gone, "ben")
    next_ = on("emil")("curate", recipe, "--drop", "s3://drop/by-turns", "--workers", 1)
    told = anna("diff", f"demo/{made['version']}", "demo")
    became = {(fate["before"], fate["after"]): fate["rows"] for fate in told["fates"]}
    assert became["train", "decisions: decided"] == 1
    assert anna("rollback", "demo")["version"] == made["version"]
    assert ben("promote", f"demo/{next_['version']}")["before"][-1] == made["version"]

    studied = yaml.safe_load(recipe.read_text()) | {
        "tune": {"method": "grid", "search": {"learning_rate": [0.01, 0.03]}}
    }
    studied["training"] |= {"eval_steps": 2}
    (project.folder / "tune.yaml").write_text(yaml.safe_dump(studied))
    found, again = (ask("tune", project.folder / "tune.yaml") for ask in (ben, anna))
    assert (found["version"], found["result"]) == (again["version"], again["result"])
    assert on("fred")("check", "--all")["passed"]
    quoted = ben("forget", gone, "--adapters", "--yes")
    assert (quoted["removed"], quoted["left"]) == (True, [])
    assert on("gina")("check", "--all")["passed"]
    taken = on("gina")("retract", f"demo/{anna('versions', 'demo')['versions'][0]['version']}", "--with-later")
    assert taken["latest"] is None
