"""Systems: who is asked, what is compared, and that each answers as it says."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

import evaluation.ask.endpoint
from curate.errors import AssayError
from curate.rows.renderer import Renderer
from curate.store import Store
from evaluation.ask import systems as module
from evaluation.ask.systems import Asking, pairs, systems_of
from evaluation.card.format import schema
from evaluation.card.manifest import ScorecardManifest
from evaluation.evaluate import evaluate
from evaluation.judge.answer import Generated
from evaluation.judge.structured import Judge
from evaluation.promotion import adapter_for
from evaluation.settings import Endpoint, EvaluationSettings, FullRecipe, SystemSettings
from tests.tiny import recipe_for, renderer_of, write_version
from train.adapter import merge
from train.base_model import load_model, prepare
from train.examples import select

SERVER = Endpoint(url="http://127.0.0.1:9/v1", model="big", price={"input": 2, "output": 8})


def asking(recipe: FullRecipe, systems: Mapping[str, Any], **more: Any) -> FullRecipe:
    """The recipe with other systems."""
    known = recipe.evaluation.model_dump(by_alias=True) | {"resamples": 100, "batch_size": 8}
    settings = EvaluationSettings.model_validate(known | {"systems": dict(systems)} | more)
    return recipe.model_copy(update={"evaluation": settings})


@pytest.fixture(scope="module")
def recipe(model_folder_64: Path) -> FullRecipe:
    return recipe_for(model_folder_64, rows=24, epochs=4, learning_rate=0.02, method="qlora")


BASELINES = ("majority", "tfidf", "nearest", "nearest_own")


@pytest.fixture(scope="module")
def renderer(model_folder_64: Path) -> Renderer:
    return renderer_of(model_folder_64)


ALL: dict[str, Any] = {
    "majority": {"model": "majority"},
    "tfidf": {"model": "tfidf"},
    "nearest": {"model": "nearest"},
    "nearest_own": {"model": "nearest", "rows": "own"},
    "quantised": {"model": "merged", "quantization": "nf4"},
    "base": {"model": "base"},
    "base_full": {"model": "base", "quantization": "none"},
    "few_shot": {"model": "base", "shots": 2},
    "retrieved": {"model": "base", "shots": 2, "choose": "nearest"},
    "tuned": {"model": "adapter"},
    "tuned_constrained": {"model": "adapter", "constrained": True},
    "merged": {"model": "merged"},
    "exported": {"model": "merged", "quantization": "q8_0"},
}


@pytest.fixture(scope="module")
def all_scored(store: Store, version: Path, recipe: FullRecipe, adapter: Path) -> tuple[Path, list[Any]]:
    """The scorecard of all systems, and which models were loaded for it."""
    loaded: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load", "load_model"):
            real = getattr(module, name)

            def noted(*args: Any, real: Any = real, name: str = name) -> Any:
                loaded.append((name, next(each for each in args if each in ("nf4", "none", "q8_0"))))
                return real(*args)

            patch.setattr(module, name, noted)
        folder = evaluate(version, adapter, asking(recipe, ALL, max_new_tokens=40), store)
    return folder, loaded


def test_all_systems_in_one_run(all_scored: tuple[Path, list[Any]]) -> None:
    folder, loaded = all_scored
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(schema().iter_errors(card)) == []
    assert list(card["systems"]) == list(ALL), "in the recipe's order"
    # One model for all that share it: the adapter on NF4 answers for the base too.
    # Of `base_full`, `merged` and `exported` each its own.
    assert sorted(loaded) == [("load", "nf4"), ("load_model", "nf4"), *[("load_model", "none")] * 3]
    for name, system in card["systems"].items():
        relaxed = system["settings"].pop("relaxed", None)
        assert (system["settings"].pop("layout", None) == "shared") == (name not in BASELINES), "a Llama shares"
        assert (relaxed == []) == ALL[name].get("constrained", False), "all of this schema is held to"
        assert system["settings"] == {"shots": 0, "choose": "fixed", "rows": "all", "constrained": False} | ALL[
            name
        ] | {
            "quantization": ALL[name].get("quantization", "none" if name == "merged" else "nf4")
            if name not in BASELINES
            else None
        }
        here = name not in BASELINES
        assert (system["tokens_in"] > 0) == (system["tokens_per_second"] is not None) == here
        assert ("calibration" in system) == here
        assert system["cost"] is None
    few, base = card["systems"]["few_shot"], card["systems"]["base"]
    assert few["tokens_in"] > 2 * base["tokens_in"]
    assert card["systems"]["tuned_constrained"]["schema_valid"]["value"] == 1.0
    assert card["systems"]["tfidf"]["fields"]["category"]["accuracy"]["value"] == 1.0, "three notices, told by a word"
    assert card["systems"]["tfidf"]["fields"]["license"] == card["systems"]["majority"]["fields"]["license"]
    scores = ScorecardManifest.read(folder).scores["systems"]["base"]
    assert base.keys() - scores.keys() == {"latency_seconds", "tokens_per_second"}, "what a clock gave"


def test_predictions_tell_shots_and_costs(all_scored: tuple[Path, list[Any]], version: Path) -> None:
    rows = pq.read_table(all_scored[0] / "predictions.parquet").to_pylist()
    known = set(pq.read_table(version / "train.parquet")["id"].to_pylist())
    shown = {name: [row["shots"] for row in rows if row["system"] == name] for name in ALL}
    assert shown["base"] == shown["tuned"] == [[]] * 8
    assert len(shown["few_shot"][0]) == 2
    assert shown["few_shot"] == shown["few_shot"][:1] * 8, "the same for all"
    assert len({tuple(each) for each in shown["retrieved"]}) > 1
    assert {each for name in ALL for ids in shown[name] for each in ids} <= known
    for row in rows:
        baseline = row["system"] in BASELINES
        assert (row["tokens_in"] == 0) == (row["logprob"] is None) == baseline
        assert row["logprob"] is None or row["logprob"] <= 0


def test_each_other_order_gives_the_same_answers(
    all_scored: tuple[Path, list[Any]], store: Store, version: Path, recipe: FullRecipe, adapter: Path
) -> None:
    """Nothing is asked again, whatever else is asked beside it."""
    told: list[str] = []
    some = {name: ALL[name] for name in ("merged", "few_shot", "base")}
    again = asking(recipe, some, max_new_tokens=40)
    folder = evaluate(version, adapter, again, store, lambda what, *_: told.append(what))
    assert told == []
    one, other = (json.loads((each / "scorecard.json").read_bytes())["systems"] for each in (all_scored[0], folder))
    assert other == {name: one[name] for name in some}


def test_the_merged_model_is_the_adapter_on_the_weights_it_was_trained_beside(
    store: Store, version: Path, recipe: FullRecipe, adapter: Path
) -> None:
    """On what its 4-bit weights stand for, in full: merged and unmerged say the same, to float32's last digits."""
    import torch

    from curate.rows.chat_template import ChatTemplate
    from train.adapter import load
    from train.batches import call

    base, template = prepare(recipe.fit.model, store.cache), ChatTemplate("chatml")
    merged = merge(adapter, base, template, store.cache)
    assert merge(adapter, base, template, store.cache) == merged
    weights = bytearray((merged.folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (merged.folder / "model.safetensors").write_bytes(weights)
    assert merge(adapter, base, template, store.cache) == merged, "what has rotted is made anew"
    assert merged.weights_sha256 != base.weights_sha256
    assert merged.tokenizer_sha256 == base.tokenizer_sha256
    ids, last = torch.arange(5, 40)[None], torch.tensor([34])
    with torch.inference_mode():
        whole, _ = call(load_model(merged, "none").eval(), last, input_ids=ids)
        apart, _ = call(load(adapter, base, template, "nf4", "float32"), last, input_ids=ids)
        plain, _ = call(load_model(base, "none").eval(), last, input_ids=ids)
    torch.testing.assert_close(whole, apart, rtol=1e-4, atol=1e-4)
    assert (whole - plain).abs().max() > 0.01


def test_shots_that_do_not_fit_are_left_out_and_told(
    store: Store, version: Path, recipe: FullRecipe, adapter: Path
) -> None:
    """The tiny model's context is 512 tokens: of 20 shots few fit."""
    folder = evaluate(version, adapter, asking(recipe, {"many": {"model": "base", "shots": 20}}), store)
    system = json.loads((folder / "scorecard.json").read_bytes())["systems"]["many"]
    assert system["fewer_shots"] == 8
    rows = pq.read_table(folder / "predictions.parquet").to_pylist()
    assert all(0 < len(row["shots"]) < 20 for row in rows)
    assert all(400 < row["tokens_in"] <= 512 - recipe.evaluation.max_new_tokens for row in rows)


def test_an_endpoint_needs_neither_weights_nor_an_adapter(
    version: Path, recipe: FullRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given the messages, shots as earlier turns, the schema if it is to be held to it; and it is paid."""
    calls: list[dict[str, Any]] = []

    def ask(endpoint: Endpoint, conversations: Any, **more: Any) -> list[Generated]:
        calls.append({"endpoint": endpoint, "conversations": conversations} | more)
        return [Generated("{}", 10, False, 0.5, 100, -0.1) for _ in conversations]

    monkeypatch.setattr(evaluation.ask.endpoint, "ask", ask)
    monkeypatch.setattr(module, "load_model", None)
    served = {"model": SERVER.model_dump()}
    systems = {"big": served, "shown": served | {"shots": 3, "constrained": True}, "majority": {"model": "majority"}}
    store, hosted = Store(tmp_path), asking(recipe, systems)
    assert adapter_for(hosted, store) is None
    folder = evaluate(version, None, hosted, store)
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(schema().iter_errors(card)) == []
    big = card["systems"]["big"]
    assert big["settings"]["model"] == {"url": SERVER.url, "model": "big", "price": SERVER.price.model_dump()}
    assert (big["tokens_in"], big["tokens_out"], big["tokens_per_second"]) == (800, 80, 20.0)
    assert big["cost"] == pytest.approx((800 * 2 + 80 * 8) / 1e6)
    assert [call["schema"] is None for call in calls] == [True, False]
    assert [turn["role"] for turn in calls[0]["conversations"][0]] == ["user"]
    assert [turn["role"] for turn in calls[1]["conversations"][0]] == ["user", "assistant"] * 3 + ["user"]
    assert {(each["a"], each["b"]) for each in card["comparisons"]} == {("big", "shown"), ("big", "majority")}
    assert "weights_sha256" not in ScorecardManifest.read(folder).inputs.content()["base"]
    faster = {name: each | {"model": SERVER.model_dump() | {"concurrency": 64}} for name, each in systems.items()}
    faster["majority"] = systems["majority"]
    assert evaluate(version, None, asking(recipe, faster), store) == folder, "found: speed changes no answer"
    assert len(calls) == 2


def test_what_died_half_way_leaves_nothing_and_goes_on(
    version: Path, recipe: FullRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked before the endpoint gave out, locally too, is not asked again."""

    def gone(*_: Any, **__: Any) -> list[Generated]:
        raise AssayError("The endpoint gave out.", remedy="")

    monkeypatch.setattr(evaluation.ask.endpoint, "ask", gone)
    store = Store(tmp_path)
    both = asking(recipe, {"big": {"model": SERVER.model_dump()}, "base": {"model": "base"}})
    with pytest.raises(AssayError, match="gave out"):
        evaluate(version, None, both, store)
    assert not (tmp_path / "scorecards").exists()
    assert store.events() == []
    monkeypatch.setattr(
        evaluation.ask.endpoint, "ask", lambda _, asked, **__: [Generated("{}", 1, False, 0.1)] * len(asked)
    )
    told: list[str] = []
    folder = evaluate(version, None, both, store, lambda what, *_: told.append(what))
    assert told == []
    assert list(json.loads((folder / "scorecard.json").read_bytes())["systems"]) == ["big", "base"]


def test_answers_that_have_rotted_are_told_and_asked_for_again(
    version: Path, recipe: FullRecipe, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    base = {"base": {"model": "base", "quantization": "none"}}
    evaluate(version, None, asking(recipe, base, max_new_tokens=8), store)
    [kept] = (tmp_path / "cache/answers").rglob("answers.json")
    whole = json.loads(kept.read_bytes())
    wrong = whole["answers"][0] | {"text": '{"colour": "red"}'}
    kept.write_text(json.dumps(whole | {"answers": [wrong, *whole["answers"][1:]]}))
    told: list[str] = []
    more = asking(recipe, base | {"majority": {"model": "majority"}}, max_new_tokens=8)
    evaluate(version, None, more, store, lambda what, *_: told.append(what))
    why = "the bytes of answers.json are not those that were written"
    assert {f"{kept.parent} is damaged ({why}): made anew", "ask base"} <= set(told)
    found = json.loads(kept.read_bytes())
    assert [each["text"] for each in found["answers"]] == [each["text"] for each in whole["answers"]]


def test_the_nearest_row_s_answer_is_copied(
    all_scored: tuple[Path, list[Any]], version: Path, recipe: FullRecipe
) -> None:
    """Of the train split, or of the rows that the adapter learned; predictions tell which row it was."""
    train = {row["id"]: row for row in pq.read_table(version / "train.parquet").to_pylist()}
    own = {row["id"] for row in select(train.values(), recipe.training.rows, recipe.training.max_tokens, 0)}
    for row in pq.read_table(all_scored[0] / "predictions.parquet").to_pylist():
        if row["system"] in ("nearest", "nearest_own"):
            [near] = row["shots"]
            assert row["output"] == train[near]["target"]
            assert row["system"] == "nearest" or near in own


def test_own_rows_are_those_the_adapter_was_trained_on(
    store: Store, version: Path, recipe: FullRecipe, adapter: Path, tmp_path: Path
) -> None:
    few = asking(recipe, {"own": {"model": "nearest", "rows": "own"}})
    few = few.model_copy(update={"training": recipe.training.model_copy(update={"rows": 2})})
    folder = evaluate(version, None, few, store)
    shown = pq.read_table(folder / "predictions.parquet")["shots"].to_pylist()
    assert len({row for rows in shown for row in rows}) <= 2, "without an adapter those that training would choose"
    other = write_version(store, Path(recipe.fit.model), rows=64)
    with pytest.raises(AssayError, match=r"rows: own: adapter tiny/.* was trained on rows of tiny/") as error:
        evaluate(other, adapter, asking(recipe, {"own": {"model": "nearest", "rows": "own"}}), store)
    assert "baselines on all rows" in error.value.remedy
    held = asking(recipe, {"tuned": {"model": "adapter", "constrained": True}}, max_new_tokens=4)
    assert evaluate(other, adapter, held, store).is_dir(), "a constraint needs none of them"


def test_right_answers_that_cannot_be_given_are_told(
    version: Path, recipe: FullRecipe, tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schema's order is no matter, a spelling that no grammar has is: its row, place and reason are told."""
    rows = pq.read_table(version / "test.parquet").to_pylist()
    odd = json.dumps(json.loads(rows[0]["target"])).replace("/", "\\/").replace('"notice"', '"not\\u0069ce"')
    odd = odd.replace('"tag"', '"t\\u0061g"').replace('"text"', '"t\\u0065xt"')
    rows[0] |= {"target": odd, "messages": [rows[0]["messages"][0], {"role": "assistant", "content": odd}]}
    told: list[tuple[str, int]] = []
    packaged = json.loads((Path(str(files("data_contracts"))) / recipe.contract / "target.schema.json").read_bytes())
    turned = packaged | {"properties": dict(reversed(packaged["properties"].items()))}
    asked = Asking(
        rows,
        pq.read_table(version / "train.parquet").to_pylist(),
        {},
        recipe,
        renderer,
        Judge(turned),
        turned,
        None,
        None,
        tmp_path,
        lambda what, done, total, unit: told.append((what, done)),
    )
    found = asked._told(SystemSettings(model="base", constrained=True))
    assert found["reordered"] == ["/"]
    assert found["unsayable"]["test"]["rows"] == 1
    [first] = found["unsayable"]["test"]["first"]
    assert (first["row"], first["at"]) == (rows[0]["id"], "/kind")
    assert "cannot be said, or not so spelled" in first["why"]
    assert told == [
        (f"constrained: right answers that cannot be given (row {first['row']} at /kind: {first['why']})", 1)
    ]

    monkeypatch.setattr(evaluation.ask.endpoint, "ask", lambda _, questions, **__: [Generated("{}")] * len(questions))
    held, free = (
        asked._endpoint("big", SystemSettings(model=SERVER, constrained=each), SERVER) for each in (True, False)
    )
    assert held.info.settings["unsayable"] == {"test": found["unsayable"]["test"]}
    assert "unsayable" not in free.info.settings
    monkeypatch.setattr(evaluation.ask.endpoint, "refused", lambda *_: ["response_format: json_schema"])
    loose = asked._endpoint("big", SystemSettings(model=SERVER, constrained=True), SERVER)
    assert "unsayable" not in loose.info.settings, "the server holds it to no schema"


def named(**systems: Any) -> dict[str, SystemSettings]:
    return {name: SystemSettings.model_validate(each) for name, each in systems.items()}


def test_pairs() -> None:
    found = pairs(systems_of_all := named(**ALL, base_constrained={"model": "base", "constrained": True}))
    assert found[: len(systems_of_all) - 1] == [("tuned", name) for name in systems_of_all if name != "tuned"]
    assert found[len(systems_of_all) - 1 :] == [
        ("nearest_own", "nearest"),
        ("few_shot", "base"),
        ("retrieved", "few_shot"),
        ("base_constrained", "base"),
    ]
    full = named(merged={"model": "merged", "quantization": "none"}, q={"model": "merged", "quantization": "nf4"})
    assert pairs(full | named(base={"model": "base"})) == [("base", "merged"), ("base", "q"), ("q", "merged")]
    shown = {"model": "base", "shots": 4, "choose": "nearest", "constrained": True}
    both = named(tuned={"model": "adapter"}, shown=shown, plain=shown | {"constrained": False}, base={"model": "base"})
    assert ("shown", "plain") in pairs(both)
    assert ("plain", "base") in pairs(both), "shots of either kind are a change of none"
    assert pairs(named(a={"model": "majority"}, b={"model": "tfidf"})) == [("a", "b")]
    assert pairs(named(a={"model": "base"})) == []


TRAINED = SimpleNamespace(
    inputs=SimpleNamespace(
        settings={"method": "qlora"}, dataset=SimpleNamespace(version="0123"), pairs=None, left_out=None
    )
)


def test_default_systems(recipe: FullRecipe) -> None:
    default = ["majority", "nearest", "nearest_own", "base", "tuned"]
    assert list(systems_of(recipe, True, TRAINED, "0123")) == default
    assert list(systems_of(recipe, True, TRAINED, "4567")) == [name for name in default if name != "nearest_own"]
    assert list(systems_of(recipe, True, None, "0123")) == ["majority", "nearest", "base"]
    assert list(systems_of(recipe, False, None)) == ["base"]
    plain = recipe.model_copy(update={"training": recipe.training.model_copy(update={"method": "lora"})})
    assert systems_of(plain, True, TRAINED)["base"].quantization == "nf4", "as the adapter was trained"
    assert systems_of(plain, True, None)["base"].quantization == "none"


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (
            {"guess": {"model": "majority"}},
            r"evaluation.systems.guess: the baseline `majority` needs the answer's JSON",
        ),
        ({"words": {"model": "tfidf"}}, r"systems.words: the baseline `tfidf` needs"),
        ({"held": {"model": "base", "constrained": True}}, r"systems.held: `constrained` needs"),
        ({"mine": {"model": "adapter"}}, r"systems.mine: adapter needs an adapter, and none is published for tiny"),
        ({"whole": {"model": "merged"}}, r"systems.whole: merged needs an adapter"),
    ],
)
def test_systems_that_cannot_be_asked(recipe: FullRecipe, systems: dict[str, Any], message: str) -> None:
    with pytest.raises(AssayError, match=message):
        systems_of(asking(recipe, systems), False, None)


def test_a_gate_that_names_no_system(recipe: FullRecipe) -> None:
    rule = "schema_valid better than few_shot, p < 0.05"
    with pytest.raises(AssayError, match=r"evaluation.gate: no system 'few_shot'; the gate holds `tuned`"):
        systems_of(asking(recipe, {}, gate=[rule]), True, TRAINED)
    few = {"tuned": {"model": "adapter"}, "few_shot": {"model": "base", "shots": 1}}
    assert list(systems_of(asking(recipe, few, gate=[rule]), True, TRAINED)) == ["tuned", "few_shot"]
    with pytest.raises(AssayError, match="no system 'tuned'"):
        systems_of(asking(recipe, {"base": {"model": "base"}}, gate=["schema_valid >= 0.5"]), True, TRAINED)
    assert list(systems_of(asking(recipe, {}, gate=[rule]), True, None)) == ["majority", "nearest", "base"], (
        "nothing is held to it"
    )


def test_a_schema_that_is_no_schema(version: Path, recipe: FullRecipe, tmp_path: Path) -> None:
    packaged = Path(str(files("data_contracts"))) / recipe.contract
    (tmp_path / "contract.yaml").write_bytes((packaged / "contract.yaml").read_bytes())
    schema_ = json.loads((packaged / "target.schema.json").read_bytes())
    (tmp_path / "target.schema.json").write_text(json.dumps(schema_ | {"type": "thing"}))
    broken = recipe.model_copy(update={"contract": str(tmp_path)})
    with pytest.raises(AssayError, match=r"target\.schema\.json"):
        evaluate(version, None, broken, Store(tmp_path / "store"))


def test_more_shots_than_rows(store: Store, version: Path, recipe: FullRecipe) -> None:
    with pytest.raises(AssayError, match=r"evaluation.systems.few: 25 shots, but the train split has 24 rows"):
        evaluate(version, None, asking(recipe, {"few": {"model": "base", "shots": 25}}), store)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"model": "majority", "shots": 2}, "majority takes no shots"),
        ({"model": SERVER.model_dump(), "quantization": "nf4"}, "an endpoint's weights are not here"),
        ({"model": "adapter", "quantization": "q8_0"}, "is of `merged`, which is what is exported"),
        ({"model": "base", "choose": "nearest"}, "say how many"),
        ({"model": "nearest", "shots": 1}, "nearest takes no shots"),
        ({"model": "adapter", "rows": "own"}, "this one is given no rows"),
    ],
)
def test_settings_that_mean_nothing(system: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SystemSettings.model_validate(system)


def test_the_adapter_to_evaluate(store: Store, recipe: FullRecipe, adapter: Path, tmp_path: Path) -> None:
    assert adapter_for(recipe, store) == adapter
    assert adapter_for(recipe, store, f"tiny/{adapter.name}") == adapter
    assert adapter_for(asking(recipe, {"base": {"model": "base"}}), store) is None
    with pytest.raises(AssayError, match="no system of the recipe tiny"):
        adapter_for(asking(recipe, {"base": {"model": "base"}}), store, "tiny")
    assert adapter_for(recipe, Store(tmp_path)) is None
    with pytest.raises(AssayError, match="no such version"):
        adapter_for(recipe, Store(tmp_path), "tiny/0123456789abcdef")
