"""Real replies of 12 models to LawBench: our forms, and its own published scores reproduced."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.store import Store
from evaluation import replies
from evaluation.judge.form import ABSENT
from evaluation.lawbench import TASKS, load, number_of, read
from evaluation.settings import EvaluationSettings

ARTICLES, CHARGES, TERM = TASKS


@pytest.mark.parametrize(
    ("text", "number"),
    [("264", 264), ("二百六十四", 264), ("十二", 12), ("二十", 20), ("一百零五", 105), ("二六四", 264)],
)
def test_numerals(text: str, number: int) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize(
    ("task", "reply", "kind", "value", "extracted"),
    [
        (ARTICLES, "[法条]刑法第128条、刑法第341条<eoa>\n", "valid", [128, 341], [128, 341]),
        (ARTICLES, "[法条]《中华人民共和国刑法》第二百六十四条<eoa>", "valid", [264], [264]),
        (ARTICLES, "[法条]刑法第133条之一、第67条第3款<eoa>", "valid", [67, 133], [67, 133]),
        (ARTICLES, "[法条]刑法第266条诈骗罪<eoa>", "wrong_value", "刑法第266条诈骗罪", [266]),
        (ARTICLES, "答案是[法条]刑法第264条<eoa>", "text_before", ABSENT, [264]),
        (ARTICLES, "[法条]刑法第264条<eoa>盗窃", "text_after", ABSENT, [264]),
        (ARTICLES, "[法条]刑法第264条", "truncated", ABSENT, [264]),
        (ARTICLES, "刑法第128条、第341条<eoa>", "no_answer", ABSENT, [128, 341]),
        (ARTICLES, "", "empty", ABSENT, ABSENT),
        (ARTICLES, "抱歉，我无法回答。", "refusal", ABSENT, ABSENT),
        (CHARGES, "[罪名]盗窃;诈骗罪;<eoa>", "valid", ["盗窃", "诈骗"], ["盗窃", "诈骗"]),
        (CHARGES, "盗窃<eoa>", "no_answer", ABSENT, ["盗窃"]),
        (
            CHARGES,
            "[罪名]掩饰、隐瞒犯罪所得、犯罪所得收益<eoa>",
            *("valid", ["掩饰、隐瞒犯罪所得、犯罪所得收益"]) * 1,
            None,
        ),
        (TERM, "[刑期]12个月<eoa>", "valid", 12, 12),
        (TERM, "[刑期]无期徒刑<eoa>", "valid", "无期", "无期"),
        (TERM, "[刑期]10年<eoa>", "wrong_value", "10年", 120),
        (TERM, "预测判决刑期为三年零六个月", "no_answer", ABSENT, 42),
    ],
)
def test_forms(task: Any, reply: str, kind: str, value: Any, extracted: Any) -> None:
    form = task.form_of(reply)
    assert form.kind == kind
    assert form.value == (value if value is ABSENT else {task.field: value})
    if extracted is not None:
        assert form.extracted == (extracted if extracted is ABSENT else {task.field: extracted})


@given(st.text(), st.sampled_from(TASKS), st.sampled_from(["{}", "[法条]{}<eoa>", "[罪名]{}<eoa>", "[刑期]{}<eoa>"]))
def test_any_reply_has_a_form(text: str, task: Any, around: str) -> None:
    form = task.form_of(around.format(text))
    assert form.valid <= form.parses
    task.official([around.format(text)], [{task.field: 3 if task is TERM else [3] if task is ARTICLES else ["盗窃"]}])


@pytest.fixture(scope="module")
def cards(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Scorecards of the five models whose numbers are checked."""
    folder = tmp_path_factory.mktemp("lawbench")
    models = ("GPT4", "GPT-3.5-turbo-0613", "qwen-7b-chat-hf", "internlm-chat-7b-hf", "llama-2-7b-chat")
    with tarfile.open(shared_data / "legal_lawbench/predictions_zero_shot_12models.tar.xz") as tar:
        names = [name for name in tar.getnames() if name.split("/")[-2] in models and "/3-" in name]
        tar.extractall(folder, [tar.getmember(name) for name in names], filter="data")
    loaded = {path: rows for path in replies.find([str(folder)]) if (rows := load(path))}
    assert len(loaded) == 15
    store = Store(folder / "store")
    settings = {"resamples": 200}
    found = {}
    for task, asked, paths in read(loaded):
        scored = replies.score(
            asked,
            task.schema,
            EvaluationSettings(fields=task.rules, **settings),
            paths,
            store,  # type: ignore[arg-type]
        )
        found[task.field] = json.loads((scored / "scorecard.json").read_bytes())["systems"]
    return found


@pytest.mark.parametrize(
    ("field", "published"),
    [
        # Zero-shot, LawBench's README: tasks 3-1, 3-3 and 3-4.
        ("articles", {"GPT4": 52.47, "GPT-3.5-turbo-0613": 29.50, "qwen-7b-chat-hf": 44.62}),
        ("charges", {"GPT4": 41.99, "GPT-3.5-turbo-0613": 35.52, "qwen-7b-chat-hf": 40.67}),
        ("months", {"GPT4": 82.62, "GPT-3.5-turbo-0613": 78.75, "qwen-7b-chat-hf": 76.74}),
    ],
)
def test_official_scores_are_those_published(
    cards: dict[str, dict[str, Any]], field: str, published: dict[str, float]
) -> None:
    ours = {name: round(100 * cards[field][name]["official"]["score"], 2) for name in published}
    assert ours == published


def test_well_formed_replies(cards: dict[str, dict[str, Any]]) -> None:
    parsed = {
        field: {name: system["parses"]["count"] for name, system in cards[field].items()}
        for field in ("articles", "months")
    }
    assert parsed["articles"]["GPT4"] == parsed["months"]["GPT4"] == 498
    assert parsed["articles"]["llama-2-7b-chat"] == parsed["months"]["llama-2-7b-chat"] == 0
    for systems in cards.values():
        for system in systems.values():
            assert sum(system["form"].values()) == 500
            assert system["schema_valid"]["count"] == system["form"].get("valid", 0)
            assert system["parses"]["count"] == sum(system["form"].get(kind, 0) for kind in ("valid", "wrong_value"))


def test_files_of_no_known_task(tmp_path: Path) -> None:
    row = {"origin_prompt": [{"prompt": "?"}], "prediction": "x", "refr": "受害人:张某"}
    path = tmp_path / "2-6.json"
    path.write_text(json.dumps({"0": row}))
    loaded = load(path)
    assert loaded is not None
    with pytest.raises(AssayError, match="no task that can be scored"):
        read({path: loaded})
    (tmp_path / "other.json").write_text("[]")
    assert load(tmp_path / "other.json") is None


ROW = {"origin_prompt": [{"prompt": "q"}], "prediction": "x", "refr": "刑期:3个月"}


@pytest.mark.parametrize(
    "rows",
    [
        {"0": 1},
        {"0": None},
        {"0": "origin_prompt prediction refr"},
        {"0": ROW | {"origin_prompt": 1}},
        {"0": ROW | {"origin_prompt": []}},
        {"0": ROW | {"origin_prompt": [{"prompt": ["q"]}]}},
        {"0": ROW | {"prediction": 1}},
        {"0": ROW | {"refr": ["x"]}},
        {"0": ROW, "1": []},
    ],
)
def test_a_file_in_another_form_is_another_file(tmp_path: Path, rows: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    assert load(path) is None
    with pytest.raises(AssayError, match=r"a\.json: expected rows that are objects"):
        replies.read([path], "made")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(replies.UNPACKED + 1)
    with pytest.raises(AssayError, match=r"more than 1,024 MiB of replies"):
        load(path)
