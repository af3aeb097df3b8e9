"""The recipe of ljp_criminal on made rows in its shape, read by `datasets` from a local folder: curated and scored."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.contract import Contract
from curate.engine import map_in_process
from curate.pipeline import curate
from curate.publish.version import Curated
from curate.store import Store
from evaluation.card.format import schema
from evaluation.judge.ljp_criminal import FIELDS
from evaluation.replies import read, score
from evaluation.settings import FullRecipe
from tests.project import byte_tokenizer

RECIPE = Path(__file__).parents[2] / "recipes/ljp_criminal.yaml"
CARD = """---
configs:
  - config_name: ljp_criminal
    data_files:
      - {split: train, path: train.jsonl}
      - {split: validation, path: valid.jsonl}
      - {split: test, path: test.jsonl}
      - {split: test2, path: test2.jsonl}
---
"""
PLACES = [
    "서울",
    "부산",
    "대구",
    "인천",
    "광주",
    "대전",
    "울산",
    "수원",
    "청주",
    "전주",
    "창원",
    "제주",
    "춘천",
    "의정부",
]
DEEDS = {"도로교통법위반(음주운전)": "술에 취한 상태로 승용차를 운전하였다", "사기": "피해자를 속여 돈을 송금받았다"}


def made_row(number: int, draw: random.Random) -> dict[str, Any]:
    name, deed = draw.choice(sorted(DEEDS.items()))
    words = " ".join(draw.choice(PLACES) + draw.choice(["에서", "까지", "부근", "방면으로"]) for _ in range(14))
    fine, labour = draw.choice([(draw.randint(1, 4), 0), (0, draw.randint(1, 5))])
    nothing = {"type": "", "unit": "", "value": -1}
    return {
        **{"id": number, "casetype": "criminal", "casename": name, "reason": "이유"},
        "facts": f"피고인은 {number}호 차량으로 {words} 이동하면서 {deed}.",
        "label": {"text": f"벌금{fine}, 징역{labour}, 금고0"} | dict(zip(FIELDS, (fine, labour, 0), strict=True)),
        "ruling": {"text": "피고인을 처벌한다.", "parse": {"fine": nothing, "imprisonment": nothing}},
    }


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    folder = tmp_path_factory.mktemp("ljp")
    hub = folder / "drop/lbox/lbox_open"
    hub.mkdir(parents=True)
    (hub / "README.md").write_text(CARD, encoding="utf-8")
    draw = random.Random(0)
    rows = [made_row(number, draw) for number in range(200)]
    parts = {"train": rows[:160], "valid": rows[160:180], "test": rows[180:], "test2": rows[180:198]}
    for name, part in parts.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (hub / f"{name}.jsonl").write_text(text, encoding="utf-8")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    byte_tokenizer().save(str(tokenizer / "tokenizer.json"))
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(special))
    recipe = FullRecipe.load(RECIPE, drop=folder / "drop")
    recipe = recipe.model_copy(update={"fit": recipe.fit.model_copy(update={"model": str(tokenizer)})})
    return curate(recipe, Store(folder / "store"), tokenizer_folder=tokenizer, map_shards=map_in_process)


def test_the_test_split_is_of_test2_and_test_is_never_read(curated: Curated) -> None:
    assert curated.manifest.counts.rows_in == 198, "test2 lies within test: pooled, there would be 20 more"
    official = {
        split: {
            entry["value"]
            for row in pq.read_table(curated.folder / f"{split}.parquet")["meta"].to_pylist()
            for entry in row
            if entry["key"] == "official"
        }
        for split in ("train", "validation", "test")
    }
    assert official == {split: {split} for split in official}
    test = pq.read_table(curated.folder / "test.parquet").to_pylist()
    assert {each["value"] for row in test for each in row["meta"] if each["key"] == "case"} == {
        str(number) for number in range(180, 198)
    }, "test2 and all of it"
    row = test[0]
    assert set(json.loads(row["target"])) == set(FIELDS)
    assert "JSON 객체 하나로만 답하시오" in row["messages"][0]["content"]


def test_both_scorers_stand_side_by_side(curated: Curated, tmp_path: Path) -> None:
    """A system that answers right, and one that answers right in the reference's own text, which is no JSON."""
    targets = [json.loads(row) for row in pq.read_table(curated.folder / "test.parquet")["target"].to_pylist()]
    texts = ["벌금{}, 징역{}, 금고{}".format(*(target[field] for field in FIELDS)) for target in targets]
    files = []
    for system, outputs in {"json": [json.dumps(target) for target in targets], "text": texts}.items():
        made = [{"output": each, "expected": target} for each, target in zip(outputs, targets, strict=True)]
        files.append(tmp_path / f"{system}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in made))
    recipe = FullRecipe.load(RECIPE)
    schema_ = Contract.load(recipe.contract).target_schema
    assert schema_ is not None
    folder = score(read(files, "ljp_criminal"), schema_, recipe.evaluation, files, Store(tmp_path / "store"))
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(schema().iter_errors(card)) == []
    one, other = card["systems"]["json"], card["systems"]["text"]
    assert one["official"] == other["official"]
    assert one["official"]["exact_match"] == 1.0
    assert (one["whole_match"]["value"], other["whole_match"]["value"]) == (1.0, 0.0)
    assert one["fields"]["fine_lv"]["kappa"]["value"] == 1.0
    assert other["form"] == {"no_answer": len(targets)}
