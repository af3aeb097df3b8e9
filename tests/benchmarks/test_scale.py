"""Many workers judge as one process does, whatever rows meet in their exchanges; and their messages are counted."""

import json
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import texts
from benchmarks.scale import diagram, reckoning, simulation, stages
from benchmarks.scale.__main__ import BESIDE, main
from benchmarks.scale.worker import Told
from tests.project import Project, make_rows

CROWD = 150
"""Rows that are all alike: more than a bucket of a band may hold."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 texts in six files: altered copies, equal ones, a crowd, questions with two answers."""
    made = list(islice(texts.mutated(), 2_000 - CROWD - 60))
    draw = random.Random(1)
    words = [f"word{draw.randrange(10_000)}" for _ in range(150)]
    for number in range(CROWD):
        place = draw.randrange(len(words))
        made.append(" ".join([*words[:place], f"other{number % 90}", *words[place + 1 :]]))
    made += [f"{text[:-20]}another end {number % 2}" for number, text in enumerate(made[:60])]
    draw.shuffle(made)
    return texts.write(made, 2_000, tmp_path_factory.mktemp("texts") / "scale", rows_of_file=334)


@pytest.fixture(scope="module")
def one(inputs: Path) -> simulation.Verdict:
    """The verdict of one process."""
    return simulation.by_one(inputs)[0]


@pytest.fixture(scope="module")
def three(inputs: Path) -> tuple[simulation.Verdict, list[Told]]:
    """That of three workers, and what they tell."""
    return simulation.by_workers(inputs, 3)


def test_three_workers_judge_as_one_process_does(
    one: simulation.Verdict, three: tuple[simulation.Verdict, list[Told]]
) -> None:
    many, told = three
    assert {*one.reason} == {None, "exact_duplicate", "near_duplicate", "conflict"}
    simulation.require_same(one, many)
    assert sum(each.counts["rows crowded"] for each in told) >= CROWD - 10
    moved = simulation.traffic(told, 2_000)
    assert len(told) == 3
    for kind, figures in moved.items():
        stayed = sum(each.stayed[kind] for each in told) / 2_000
        assert figures["with_stayed"] == pytest.approx(figures["moved"] + stayed)
    # A band's entry is of ten bytes, there are 32, and of three workers one has it already.
    firsts = sum(reason != "exact_duplicate" for reason in one.reason) / 2_000
    assert moved["bands"]["with_stayed"] == pytest.approx(320 * firsts, rel=0.05)
    assert moved["bands"]["moved"] == pytest.approx(320 * firsts * 2 / 3, rel=0.05)
    assert len(many.published) == sum(reason is None for reason in one.reason)


def test_another_verdict_is_an_error(one: simulation.Verdict) -> None:
    other = simulation.Verdict(**(vars(one) | {"cluster": [*one.cluster[:-1], "0" * 32]}))
    with pytest.raises(SystemExit, match=r"cluster: 1 of 2,000 rows differ, 2,000 found. The first is 1999"):
        simulation.require_same(one, other)


def test_what_is_sent_and_not_received_is_an_error(three: tuple[simulation.Verdict, list[Told]]) -> None:
    first, *others = three[1]
    more = first.sent | {"bands": first.sent["bands"] | {1: first.sent["bands"][1] + 1}}
    with pytest.raises(SystemExit, match="bands: sent"):
        simulation.traffic([replace(first, sent=more), *others], 2_000)


def test_the_benchmark_and_what_is_reckoned_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rows", "300", "--workers", "1", "2", "--texts", str(tmp_path)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    alone, two = result["runs"]
    assert {each["moved"] for each in alone["bytes_a_row"].values()} == {0}
    assert two["plan_bytes_a_row"] == pytest.approx(
        sum(each["moved"] for kind, each in two["bytes_a_row"].items() if not kind.startswith(BESIDE)), abs=0.1
    )
    assert two["plan_bytes_a_row"] > 300
    scale, taken_by = tmp_path / "scale.json", tmp_path / "stages.json"
    scale.write_text(json.dumps(result))
    taken = {"read": {"us": 36.0, "shared_us": 36.0, "bytes": 500.0}}
    for name in ("duplicates", "split", "index", "publish"):
        taken[name] = {"us": 3_600.0, "shared_us": 36.0, "bytes": 1_000.0}
    taken_by.write_text(
        json.dumps({"name": "stages", "rows": 300, "drop_bytes": 300_000, "kept": 210, "stages": taken})
    )
    reckoning.main([str(scale), str(taken_by), "--vcpu-hour", "0.5"])
    printed = capsys.readouterr().out
    assert "| read | 36 | 0 | 1 | 10 | 500 | 50 | 500 |" in printed
    assert "| vCPU-hours of one curation | 401 | $200.50 | 4,010 | $2,005.00 |" in printed
    assert "| GB of the drop, a month | 100 | $2.30 | 1,000 | $23.00 |" in printed
    diagram.main([str(scale), str(tmp_path / "scale.svg")])
    assert "of 300 rows held by 2 workers" in (tmp_path / "scale.svg").read_text()


def test_a_stage_is_told_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KEEP", "all")
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    meter, counts = stages.curated(project.recipe_path, project.drop, tmp_path / "store")
    assert counts["kept"] > 0
    assert {"read", "fit", "duplicates", "split", "index", "publish"} <= meter.seconds.keys()
    assert all(0 < meter.shared[name] < each for name, each in meter.seconds.items() if name in ("fit", "duplicates"))
    assert meter.bytes["publish"] > 0 < meter.bytes["index"]
    folders = ("cache", "index", "datasets")
    assert sum(meter.bytes.values()) <= sum(stages.stored(tmp_path / "store" / name) for name in folders) + 10_000
