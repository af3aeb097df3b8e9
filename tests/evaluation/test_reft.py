"""Reinforcement: answers that are worth more become likelier, trl is given just what is evaluated, and a killed run is
as though it had not been."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch

from curate.errors import AssayError
from curate.store import Store
from evaluation.judge.structured import Judge
from evaluation.reward import JudgedReward, reward_of
from evaluation.settings import FullRecipe
from evaluation.validation_score import ValidationScore
from tests.tiny import recipe_for, renderer_of, write_model, write_version
from train import memory
from train.adapter import merge_into
from train.examples import read_split
from train.history import REINFORCED
from train.manifest import AdapterManifest
from train.objectives.reft import TRAINERS, Groups
from train.qlora import forecast, train
from train.reward import Rewarded
from train.settings import ReftSettings, TrainingSettings
from train.summary import training_tables

KINDS = ("notice", "tag", "text")
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": list(KINDS)}},
    "required": ["kind"],
    "additionalProperties": False,
}


class AnyKind:
    """Answers that have nothing to do with the question."""

    def __init__(self) -> None:
        self.given = count()

    def __getitem__(self, which: int) -> dict[str, str]:
        return {"kind": KINDS[next(self.given) * 7 % 11 % 3]}


@pytest.fixture(scope="module", autouse=True)
def one_forecast(forecasts_kept: None) -> Iterator[None]:
    """What a step takes is found once: elsewhere it is what is tested, here it would be half of the time."""
    found, step = [], memory.step

    def once(*known: Any) -> memory.Step:
        found.extend([] if found else [step(*known)])
        return found[0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory, "step", once)
        yield


class Talker(NamedTuple):
    """A model that answers in the right form and knows no answer, and a data set in which one is right. What it was
    published with, to generate by, would let no answer end."""

    model: Path
    version: Path


@pytest.fixture(scope="module")
def talker(one_forecast: None, tmp_path_factory: pytest.TempPathFactory) -> Talker:
    folder = tmp_path_factory.mktemp("talker")
    made, store = write_model(folder / "made"), Store(folder / "store")
    babble = write_version(store, made, rows=96, answers=AnyKind())  # type: ignore[arg-type]
    settings = {"method": "full", "rows": 48, "batch_size": 16, "epochs": 12, "learning_rate": 0.01}
    adapter = train(babble, recipe_for(made, **settings), store)
    merge_into(folder / "talker", adapter, store.cache)
    never_ends = {"suppress_tokens": [renderer_of(made).stop_token_id], "temperature": 0.1, "do_sample": True}
    (folder / "talker/generation_config.json").write_text(json.dumps(never_ends))
    return Talker(folder / "talker", write_version(Store(folder / "data"), made, answers=[{"kind": "tag"}] * 3))


Run = Callable[..., Path]
REFT = {"group_size": 4, "max_new_tokens": 10, "learning_rate": 0.02, "epochs": 3, "beta": 0.01}
TOLD: dict[str, Any] = {"objective": "reft", "batch_size": 16, "rows": 16, "learning_rate": 1e-3}


@pytest.fixture
def run(talker: Talker, tmp_path: Path) -> Run:
    def _run(
        progress: Callable[..., None] = lambda *_: None,
        store: str = "store",
        reft: dict[str, Any] | None = None,
        scored: bool = False,
        **settings: Any,
    ) -> Path:
        recipe = recipe_for(talker.model, **TOLD | {"reft": ReftSettings(**REFT | (reft or {}))} | settings)
        reward = JudgedReward(talker.version, recipe, SCHEMA, Judge(SCHEMA))
        where = Store(tmp_path / store)
        score = ValidationScore(talker.version, recipe, SCHEMA, reward.judge, None, where.cache, progress, (), reward)
        return train(talker.version, recipe, where, progress, score if scored else None, reward=reward)

    return _run


def steps_of(adapter: Path) -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = pq.read_table(adapter / "steps.parquet").slice(1).to_pydict()
    return told


@pytest.mark.parametrize("algorithm", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
def test_answers_get_better_and_the_run_is_told(algorithm: str, run: Run, talker: Talker, tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    adapter = run(lambda *each: told.append(each), reft={"algorithm": algorithm}, scored=True)
    steps = steps_of(adapter)
    right, rewards = steps["reward_fields"], steps["reward"]
    assert sum(right[:2]) / 2 < 0.5 < 0.65 < sum(right[-4:]) / 4, "a kind of three at first, then that which is right"
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4
    for each in zip(rewards, *(steps[f"reward_{part}"] for part in Rewarded._fields), strict=True):
        assert each[0] == pytest.approx(sum(each[1:]) / 4)
    assert steps["kl"][0] == pytest.approx(0, abs=1e-6), "it begins as the warm-up is"
    assert max(steps["kl"]) > 0.001
    assert steps["answers"] == [16] * 12
    assert all(0 <= share < 1 for share in steps["truncated"])
    assert 0 < sum(steps["alike"]) < 12
    assert all(norm > 0 for norm, alike in zip(steps["grad_norm"][:1], steps["alike"][:1], strict=True) if alike < 1)

    manifest = AdapterManifest.read(adapter)
    settings, reward = manifest.inputs.settings, manifest.inputs.reward
    assert (settings["objective"], settings["reft"]["algorithm"]) == ("reft", algorithm)
    assert (settings["epochs"], settings["learning_rate"]) == (3, 0.02), "its own, not the warm-up's"
    assert reward is not None
    assert reward["parts"] == {"json": 0.25, "schema": 0.25, "fields": 0.25, "grounded": 0.25}
    assert manifest.inputs.adapter is not None
    assert manifest.run is not None
    assert [each.step for each in manifest.run.validations] == [0, 4, 8, 12]
    assert manifest.run.validations[-1].score == 1.0, "greedily the right kind"
    assert manifest.tokens.seen == sum(steps["tokens"])
    warm = AdapterManifest.read(adapter.parent / manifest.inputs.adapter.version)
    assert "objective" not in warm.inputs.settings
    assert warm.inputs.reward is None
    assert not set(REINFORCED) & set(pq.read_schema(adapter.parent / warm.version / "steps.parquet").names)
    page = (adapter / "report.html").read_text()
    for title in ("Reward", "Reward, fields", "KL divergence", "Share truncated", "Reward of validation answers"):
        assert f"<figcaption>{title}</figcaption>" in page
    [table] = training_tables(adapter, Store(tmp_path / "store"))
    assert ["validation reward", ", ".join(f"{each.score:.3f}" for each in manifest.run.validations)] in table.rows
    assert ("warm-up: 0 of 16 rows are trained to think before they answer", 1, 1, "warm-ups") in told
    assert [each for each in told if each[0] == "train"][-1][1:] == (192, 192, "answers")

    told.clear()
    known = {"reft": {"algorithm": algorithm}, "scored": True, "start_from": f"tiny/{warm.version}"}
    begun = run(lambda *each: told.append(each), **known)
    assert begun == adapter, "the same adapter, named or warmed up"
    assert [what for what, *_ in told] == ["train (found in the store)"]


def test_trl_is_given_what_is_evaluated(
    run: Run, talker: Talker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts and stop tokens are the renderer's, what is cut off is masked, answers are what was drawn, and a forecast
    bounds them."""
    made: list[dict[str, torch.Tensor]] = []
    judged: list[tuple[str, str, bool]] = []
    drawn: list[list[list[int]]] = []
    trainer = TRAINERS["grpo"]
    prepare, draw, judge = trainer._generate_and_score_completions, trainer._generate_single_turn, JudgedReward.__call__

    def prepared(self: Any, *known: Any) -> Any:
        made.append(prepare(self, *known))
        assert set(self.generation_config.eos_token_id) == renderer.stop_token_ids == set(self.eos_token_ids)
        assert self.args.mask_truncated_completions
        assert all(each.p == 0 for each in self.model.modules() if isinstance(each, torch.nn.Dropout))
        return made[-1]

    def drew(self: Any, *known: Any) -> Any:
        answers = draw(self, *known)
        drawn.append(answers[0])
        return answers

    def was_judged(self: JudgedReward, *known: Any) -> Rewarded:
        judged.append(known)  # type: ignore[arg-type]
        return judge(self, *known)

    renderer = renderer_of(talker.model)
    monkeypatch.setattr(trainer, "_generate_and_score_completions", prepared)
    monkeypatch.setattr(trainer, "_generate_single_turn", drew)
    monkeypatch.setattr(JudgedReward, "__call__", was_judged)
    short = {"epochs": 1, "max_new_tokens": 7}
    adapter = run(reft=short, rows=6, batch_size=8, dropout=0.5)
    train_rows = {row["id"]: row["messages"] for row in read_split(talker.version, "train", ["id", "messages"])}
    answers = [answer for step in drawn for answer in step]
    asked = [
        ids[mask.bool()].tolist()
        for each in made
        for ids, mask in zip(each["prompt_ids"], each["prompt_mask"], strict=True)
    ]
    assert len(asked) == len(judged) == len(answers) == 24
    ended = 0
    for prompt, (row, text, cut_off), ids in zip(asked, judged, answers, strict=True):
        assert prompt == renderer.prompt_ids(train_rows[row])
        assert cut_off == (ids[-1] not in renderer.stop_token_ids)
        assert text == renderer.decode(ids if cut_off else ids[:-1])
        ended += not cut_off
    for each, step in zip(made, drawn, strict=True):
        for ids, mask, its in zip(each["completion_ids"], each["completion_mask"], step, strict=True):
            assert ids[: len(its)].tolist() == its, "no token is made again from text"
            assert int(mask.sum()) == (len(its) if its[-1] in renderer.stop_token_ids else 0)
    assert 0 < ended < 24, "both kinds were looked at"

    manifest = AdapterManifest.read(adapter)
    recipe = recipe_for(talker.model, **TOLD | {"rows": 6, "batch_size": 8, "reft": ReftSettings(**REFT | short)})
    told = forecast(talker.version, recipe, Store(tmp_path))
    assert manifest.run is not None
    assert told.steps == manifest.run.steps == 3
    assert 0.8 * told.tokens < manifest.tokens.seen <= told.tokens, "answers may end before"
    assert "not counted: drawing them" in told.line()
    with pytest.raises(AssayError, match="is not measured"):
        forecast(talker.version, recipe, Store(tmp_path), measure=2)


COMES_BACK = ["step", "loss", "grad_norm", "tokens", "trained", *REINFORCED]


@pytest.mark.slow
def test_a_killed_run_goes_on_as_though_it_had_not_been(run: Run) -> None:
    settings = {"save_steps": 1, "batch_size": 4, "gradient_accumulation_steps": 2, "rows": 5, "dropout": 0.1}
    reft = {"epochs": 2, "max_new_tokens": 8}
    undisturbed = run(reft=reft, **settings)
    assert steps_of(undisturbed)["answers"] == [8] * 6, "an epoch's last step is filled up"

    def dies(at: int) -> Callable[..., None]:
        told = count(1)

        def progress(what: str, *known: Any) -> None:
            if what == "train" and known[-1] == "answers" and next(told) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        return progress

    for moment in (5, 6):  # in the third step, and in the next epoch's first
        child = os.fork()
        if child == 0:
            run(dies(moment), "killed", reft, **settings)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    told: list[str] = []
    adapter = run(lambda what, *_: told.append(what), "killed", reft, **settings)
    assert "train (found in the store)" in told, "the warm-up"
    assert "train (goes on after step 4 of 6)" in told
    for column in COMES_BACK:
        assert steps_of(adapter)[column] == steps_of(undisturbed)[column], column
    for name in ("adapter_model.safetensors", "manifest.json"):
        assert (adapter / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "ia3", "gradient_checkpointing": True},
        pytest.param({"method": "partial", "layers_to_transform": [1], "reft": {"beta": 0.0}}, marks=pytest.mark.slow),
    ],
)
def test_other_ways_to_train_are_reinforced_too(settings: dict[str, Any], run: Run) -> None:
    known = {"rows": 4, "batch_size": 8, "learning_rate": 0.01} | settings
    adapter = run(**known | {"reft": {"epochs": 1, **settings.get("reft", {})}})
    steps = steps_of(adapter)
    assert all(norm > 0 for norm, reward in zip(steps["grad_norm"], steps["reward"], strict=True) if 0 < reward < 1)
    if "reft" not in settings:
        assert steps["kl"][0] == pytest.approx(0, abs=1e-6), "the reference is the warm-up, of (IA)^3 too"


def test_a_model_that_gets_nothing_right_is_told(talker: Talker, tmp_path: Path) -> None:
    """Where the answers to a prompt are all worth the same, there is nothing to learn."""

    class Nothing(JudgedReward):
        def __call__(self, row: str, answer: str, cut_off: bool, /) -> Rewarded:
            return Rewarded(0.0, 0.0, 0.0, 0.0)

    recipe = recipe_for(
        talker.model, **TOLD | {"rows": 4, "batch_size": 8, "reft": ReftSettings(**REFT | {"epochs": 1})}
    )
    told: list[str] = []
    reward = Nothing(talker.version, recipe, SCHEMA, Judge(SCHEMA))
    adapter = train(talker.version, recipe, Store(tmp_path), lambda what, *_: told.append(what), reward=reward)
    assert steps_of(adapter)["alike"] == [1.0, 1.0]
    assert steps_of(adapter)["grad_norm"] == [0.0, 0.0]
    assert told[-1].startswith("nothing was reinforced: the answers to each prompt were all worth the same")


def test_each_row_is_asked_in_each_epoch_in_whole_groups() -> None:
    settings = TrainingSettings.model_validate(
        {"objective": "reft", "batch_size": 6, "gradient_accumulation_steps": 2, "reft": {"group_size": 4}}
    )
    order = Groups(7, settings)
    first = list(order)
    assert len(first) == len(order) == 3 * 12 * 2, "three steps of two batches, each of both given all of them"
    assert list(Groups(7, settings)) == first
    steps = [first[begin : begin + 24] for begin in range(0, 72, 24)]
    for step in steps:
        assert step[:12] == step[12:]
        assert [step[at] for at in range(12)] == [step[at] for at in (0, 4, 8) for _ in range(4)]
    asked = [step[at] for step in steps for at in (0, 4, 8)]
    assert sorted(asked[:7]) == list(range(7))
    assert asked[7:] == asked[:2], "the last is filled up from the first"
    order.set_epoch(1)
    assert list(order) != first


def test_reasoning_is_counted_before_the_warm_up(talker: Talker) -> None:
    from train.reward import tell_reasoning

    told: list[tuple[Any, ...]] = []
    answers = ["<think>\nSo.\n</think>\n\n{}", "{}", "<think> {}"]
    rows = [
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": each}]} for each in answers
    ]
    tell_reasoning(rows, renderer_of(talker.model), lambda *each: told.append(each))
    assert told == [("warm-up: 1 of 3 rows are trained to think before they answer", 1, 1, "warm-ups")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reft": {"beta": 0.1}}, "are of `objective: reft`"),
        ({"keep_best": "reward"}, "are of `objective: reft`"),
        ({"objective": "reft", "reft": {"group_size": 3}}, "8 answers of a step .* are no whole groups of 3"),
        ({"objective": "reft", "optim": "sophia"}, "are of `objective: sft`"),
        ({"objective": "reft", "neftune_noise_alpha": 5}, "are of `objective: sft`"),
        ({"objective": "reft", "use_unsloth": True}, "`use_unsloth` is not of `objective: reft`"),
        ({"objective": "reft", "method": "full"}, "method full takes `reft.beta: 0`"),
        ({"objective": "reft", "pairs": "x"}, "go together"),
    ],
)
def test_what_does_not_go_together_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings.model_validate(settings)


def test_nobody_else_is_told_of_reinforcement() -> None:
    assert not TrainingSettings().deciding().keys() & {"objective", "reft"}, "other adapters are as they were"
    warm = TrainingSettings.model_validate({"objective": "reft", "keep_best": "reward", "epochs": 2}).warm_up
    assert warm.deciding() == TrainingSettings(epochs=2).deciding()


def test_what_cannot_be_rewarded_is_told(talker: Talker, tmp_path: Path) -> None:
    recipe = recipe_for(talker.model, **TOLD)
    with pytest.raises(AssayError, match="needs a reward, and nobody"):
        train(talker.version, recipe, Store(tmp_path))
    plain = FullRecipe.load(Path("recipes/guanaco.yaml"))
    plain = plain.model_copy(update={"training": recipe.training})
    with pytest.raises(AssayError, match="reft needs the answer's JSON Schema") as error:
        reward_of(talker.version, plain)
    assert "Plain chat has no right answer" in error.value.remedy
    assert reward_of(talker.version, recipe_for(talker.model)) is None
