"""Preferences: the loss and its gradients are trl's, the run learns them, and no pair is of what it is judged by."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from curate.errors import AssayError
from curate.hashing import file_digest
from curate.rows.renderer import IGNORED
from curate.store import Store
from tests.manifests import forge
from tests.tiny import recipe_for, renderer_of, write_version
from train.base_model import prepare
from train.batches import PADDED, SHARED
from train.manifest import AdapterManifest
from train.methods.trained import adapted
from train.objectives.dpo import groups_of, log_likelihoods, margins, reference_of
from train.preferences import Pair, PairRow, pairs_to_train, read_pairs, unseen_in
from train.qlora import forecast, train
from train.summary import training_tables

OTHER = {"role": "user", "content": "Something else?"}
LONG = {"rows": 8, "epochs": 3, "batch_size": 2, "learning_rate": 0.01, "objective": "dpo"}


@pytest.fixture(scope="module")
def version(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(Store(tmp_path_factory.mktemp("data")), model_folder)


def pair_of(row: dict[str, Any], rejected: str, **known: Any) -> dict[str, Any]:
    *prompt, chosen = [{key: message[key] for key in ("role", "content")} for message in row["messages"]]
    told = {"id": row["id"], "cluster": row["cluster"], "scorecard": "tiny/0123"}
    answer = {"role": "assistant", "content": rejected}
    return told | {"prompt": prompt, "chosen": [chosen], "rejected": [answer]} | known


def write(path: Path, pairs: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return str(path)


def rows_of(version: Path, split: str) -> list[dict[str, Any]]:
    return pq.read_table(version / f"{split}.parquet").to_pylist()


@pytest.fixture(scope="module")
def pairs(version: Path) -> list[dict[str, Any]]:
    """Of train rows; some ask just what test rows ask, since the version was made at random."""
    asked = [PairRow.model_validate(pair_of(row, "")) for row in rows_of(version, "test")]
    rows = unseen_in(rows_of(version, "train"), asked)
    assert len(rows) >= 8
    said = ['{"license": "x11"}', "I do not know, " * 6]
    return [pair_of(row, said[number % 2], truncated=number % 2 == 1) for number, row in enumerate(rows)]


@pytest.fixture(scope="module")
def pairs_file(pairs: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", pairs)


@pytest.fixture(scope="module")
def tokenised(pairs_file: str, version: Path, model_folder: Path) -> list[Pair]:
    settings = recipe_for(model_folder, objective="dpo", pairs=pairs_file).training
    return pairs_to_train(settings, version, renderer_of(model_folder), lambda *_: None)[0]


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_the_loss_and_its_gradients_are_those_of_trl(
    alpha: float | None,
    tokenised: list[Pair],
    pairs_file: str,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(groups_of(tokenised, SHARED)) == 1, "short prompts are not worth it"
    monkeypatch.setattr("train.objectives.dpo.WORTH_ALONE", 16)
    settings = recipe_for(model_folder, objective="dpo", pairs=pairs_file, batch_size=3).training
    model = adapted(prepare(str(model_folder), tmp_path, lambda *_: None), settings)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    trl = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(tmp_path),
            beta=0.2,
            loss_type=["sigmoid", *([] if alpha is None else ["sft"])],
            loss_weights=None if alpha is None else [1.0, alpha],
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=PreTrainedTokenizerFast.from_pretrained(model_folder),
    )  # it keeps a copy of the adapter, which changes nothing yet, as the reference
    generator = torch.Generator().manual_seed(1)
    for weight in weights:
        weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    answers = [[len(side.labels) - side.answer for side in pair.sides] for pair in tokenised]
    given = DataCollatorForPreference(pad_token_id=0)(
        [
            {
                "prompt_ids": pair.chosen.input_ids[: cut[0]],
                "chosen_ids": pair.chosen.input_ids[cut[0] :],
                "rejected_ids": pair.rejected.input_ids[cut[1] :],
            }
            for pair, cut in zip(tokenised, answers, strict=True)
        ]
    )
    wanted = trl.compute_loss(model, given)
    gradients = torch.autograd.grad(wanted, weights)
    for layout in (SHARED, PADDED):
        groups = groups_of(tokenised, layout)
        assert len(groups) == (len(tokenised) if layout is SHARED else 1)
        if layout is SHARED:
            assert all(group["prefix"].shape[1] > 16 for group in groups), "a pair's prompt is computed once"
        reference = reference_of(model, tokenised, layout, settings, lambda *_: None)
        policy = log_likelihoods(model, groups, layout)
        loss = -torch.nn.functional.logsigmoid(margins(policy, reference, 0.2)).mean()
        if alpha is not None:
            loss = loss - alpha * policy[:, 0].sum() / sum(pair.chosen.trained for pair in tokenised)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
        assert wanted.item() > 0.01
        for mine, its in zip(torch.autograd.grad(loss, weights), gradients, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)


@pytest.fixture
def run(version: Path, model_folder: Path, tmp_path: Path, pairs_file: str) -> Callable[..., Path]:
    def _run(progress: Callable[..., None] = lambda *_: None, store: str = "store", **settings: Any) -> Path:
        known = LONG | {"pairs": pairs_file} | settings
        return train(version, recipe_for(model_folder, **known), Store(tmp_path / store), progress)

    return _run


def test_preferences_are_learned_and_told_and_a_killed_run_is_as_though_it_had_not_been(
    run: Callable[..., Path], pairs_file: str
) -> None:
    told: list[str] = []
    adapter = run(lambda what, *_: told.append(what), save_steps=1)
    steps = pq.read_table(adapter / "steps.parquet").to_pylist()[1:]
    assert steps[0]["margin"] == pytest.approx(0, abs=1e-5), "it begins as the reference is, but for rounding"
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert all(step["preferred"] == 1.0 for step in steps[-4:])
    assert steps[-1]["margin"] > 1
    assert [step["pairs"] for step in steps] == [2] * 12
    manifest = AdapterManifest.read(adapter)
    assert manifest.inputs.pairs is not None
    assert manifest.inputs.pairs.content() == {
        "sha256": file_digest(Path(pairs_file)),
        "rows": len(read_pairs(Path(pairs_file))),
        "scorecards": ["tiny/0123"],
    }
    assert manifest.inputs.settings["beta"] == 0.1
    assert not manifest.inputs.settings.keys() & {"pairs", "start_from"}, "a path is nobody's parent"
    assert manifest.rows.train == 8
    assert manifest.loss.train == pytest.approx(
        [sum(step["loss"] for step in steps[begin : begin + 4]) / 4 for begin in (0, 4, 8)]
    )
    page = (adapter / "report.html").read_text()
    assert "Pairs whose chosen answer is preferred" in page
    assert "Margin of implicit rewards" in page

    child = os.fork()
    if child == 0:
        seen = 0

        def dies(what: str, *_: Any) -> None:
            nonlocal seen
            seen += what == "train"
            if seen == 6:
                os.kill(os.getpid(), signal.SIGKILL)

        run(dies, "killed", save_steps=1)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    told.clear()
    again = run(lambda what, *_: told.append(what), "killed", save_steps=1)
    assert "train (goes on after step 5 of 12)" in told
    for name in ("adapter_model.safetensors", "manifest.json"):
        assert (again / name).read_bytes() == (adapter / name).read_bytes()


def test_a_step_of_several_batches_is_that_of_the_big_batch(run: Callable[..., Path]) -> None:
    """Pairs count alike, and so do the chosen answers' tokens, however long the batches' answers are."""
    one, other = (
        pq.read_table(run(store=f"of{batch}", rows=8, batch_size=batch, gradient_accumulation_steps=8 // batch,
                          epochs=2, rpo_alpha=0.5) / "steps.parquet").to_pydict()
        for batch in (8, 2)
    )  # fmt: skip
    for key in ("loss", "grad_norm", "margin"):
        assert one[key][1:] == pytest.approx(other[key][1:], rel=1e-4, abs=1e-5)


def test_an_adapter_is_trained_further_and_is_the_reference(
    run: Callable[..., Path], version: Path, model_folder: Path, tmp_path: Path
) -> None:
    warm = train(
        version, recipe_for(model_folder, learning_rate=0.02, epochs=2, dropout=0.3), Store(tmp_path / "store")
    )
    assert "pairs" not in pq.read_table(warm / "steps.parquet").column_names
    start = f"tiny/{warm.name}"
    adapter = run(start_from=start, epochs=1, learning_rate=1e-9, dropout=0.3)
    manifest = AdapterManifest.read(adapter)
    assert manifest.inputs.adapter is not None
    assert manifest.inputs.adapter.version == warm.name
    steps = pq.read_table(adapter / "steps.parquet").to_pylist()[1:]
    assert all(abs(step["margin"]) < 1e-3 for step in steps), "measured from the adapter, not from the base model"
    weights, others = (load_file(each / "adapter_model.safetensors") for each in (warm, adapter))
    assert all(torch.allclose(tensor, others[name], atol=1e-6) for name, tensor in weights.items())
    further = run(start_from=start, objective="sft", pairs=None, epochs=1, dropout=0.3)
    losses = [AdapterManifest.read(each).loss.validation for each in (warm, further)]
    assert losses[1][0] == pytest.approx(losses[0][-1], abs=1e-5), "answers are learned further too"
    with pytest.raises(AssayError, match="has rank 4, the recipe 8") as error:
        run(start_from=start, rank=8, dropout=0.3)
    assert "Set training.rank as the adapter has it" in error.value.remedy


@pytest.mark.parametrize("by", ["id", "cluster", "prompt"])
def test_what_it_is_judged_by_is_not_trained(
    by: str, run: Callable[..., Path], version: Path, pairs: list[dict[str, Any]], tmp_path: Path
) -> None:
    held = pair_of(rows_of(version, "test")[0], "no")
    leaking = pairs[0] | {by: held[by]}
    with pytest.raises(AssayError, match="1 of 2 pairs ask what rows of the test split of tiny/") as error:
        run(pairs=write(tmp_path / "leak.jsonl", [pairs[1], leaking]))
    assert leaking["id"] in error.value.message
    assert "--split train" in error.value.remedy


def test_validation_rows_of_pairs_are_not_validated_on(
    run: Callable[..., Path], version: Path, model_folder: Path, tmp_path: Path
) -> None:
    test = [PairRow.model_validate(pair_of(row, "")) for row in rows_of(version, "test")]
    rows = unseen_in(rows_of(version, "validation"), test)[:2]
    file = write(tmp_path / "validation.jsonl", [pair_of(row, "no") for row in rows])
    with pytest.raises(AssayError, match="choosing its checkpoint by these rows"):
        run(pairs=file, keep_best="loss")
    left = unseen_in(rows_of(version, "validation"), read_pairs(Path(file)))
    told: list[str] = []
    adapter = run(lambda what, *_: told.append(what), pairs=file, epochs=1)
    assert AdapterManifest.read(adapter).rows.validation == len(left) < 12
    assert f"{12 - len(left)} of 12 rows of the validation split are left out: pairs ask them" in told


def test_a_split_that_pairs_ask_is_not_told_to_be_empty(model_folder: Path, tmp_path: Path) -> None:
    store, told = Store(tmp_path / "store"), list[str]()
    version = write_version(store, model_folder)
    forge(version, lambda manifest: manifest["counts"]["splits"].update(validation=12))
    version = version.rename(version.parent / json.loads((version / "manifest.json").read_bytes())["version"])
    test = [PairRow.model_validate(pair_of(row, "")) for row in rows_of(version, "test")]
    pairs = [pair_of(row, "no") for row in rows_of(version, "validation")]
    unseen = {row["id"] for row in unseen_in(rows_of(version, "validation"), test)}
    # Those that ask what the test split asks say so by their id alone.
    pairs = [pair if pair["id"] in unseen else pair | {"cluster": None, "prompt": [OTHER]} for pair in pairs]
    recipe = recipe_for(model_folder, **LONG | {"pairs": write(tmp_path / "all.jsonl", pairs), "epochs": 1})
    adapter = train(version, recipe, store, lambda what, *_: told.append(what))
    assert "12 of 12 rows of the validation split are left out: pairs ask them" in told
    rows = dict(row for row in training_tables(adapter, store)[0].rows)
    assert rows["validation loss"] == (
        "not known: none of the 12 rows of the validation split is left, for what pairs ask"
    )


def test_both_answers_are_audited(
    pairs: list[dict[str, Any]], version: Path, model_folder: Path, tmp_path: Path
) -> None:
    def read(*rows: dict[str, Any], **settings: Any) -> tuple[list[Pair], dict[str, int], list[str]]:
        told: list[str] = []
        recipe = recipe_for(model_folder, objective="dpo", pairs=write(tmp_path / "some.jsonl", list(rows)), **settings)
        found, audit = pairs_to_train(
            recipe.training, version, renderer_of(model_folder), lambda what, *_: told.append(what)
        )
        return found, {str(key): count for key, count in audit.counts.items() if count}, told

    whole, cut = pairs[0] | {"truncated": False}, pairs[1] | {"truncated": True}
    found, counts, told = read(whole, cut)
    by_id = {pair.id: pair for pair in found}
    assert (counts, told) == ({}, [])
    stop = renderer_of(model_folder).stop_token_id
    assert by_id[whole["id"]].rejected.input_ids[-1] == stop
    assert stop not in [label for label in by_id[cut["id"]].rejected.labels if label != IGNORED], "it was never said"
    for pair in found:
        assert pair.whole.trained == pair.chosen.trained + pair.rejected.trained
        assert len(pair.whole.input_ids) == len(pair.chosen.input_ids) + len(pair.rejected.input_ids)
        assert pair.whole.answer == pair.chosen.answer + pair.rejected.answer

    long = pairs[2] | {"rejected": [{"role": "assistant", "content": "and so on " * 400}]}
    found, counts, told = read(whole, long)
    assert [pair.id for pair in found] == [whole["id"]]
    assert counts == {"too_long": 1}
    assert told == ["left out of 2 pairs: answers that have more tokens than training.max_tokens"]
    with pytest.raises(AssayError, match="none of its 1 pairs can be trained: 1 have more tokens"):
        read(long)

    silent = pairs[3] | {"rejected": [{"role": "assistant", "content": ""}], "truncated": True}
    found, counts, told = read(whole, silent)
    assert [pair.id for pair in found] == [whole["id"]]
    assert counts == {"no_trained_token": 1}
    assert told == ["left out of 2 pairs: answers that have no token that is trained"]
    with pytest.raises(AssayError, match="none of its 1 pairs can be trained: 1 have no token that is trained"):
        read(silent)
    [kept] = read(silent | {"truncated": False})[0]
    assert kept.rejected.trained == 1, "its stop token was said"


def test_a_forecast_counts_both_answers(pairs_file: str, version: Path, model_folder: Path, tmp_path: Path) -> None:
    settings = LONG | {"pairs": pairs_file, "rows": 6}
    told = forecast(version, recipe_for(model_folder, **settings), Store(tmp_path))
    assert (told.rows, told.steps) == (6, 9)
    found = pairs_to_train(
        recipe_for(model_folder, **settings).training, version, renderer_of(model_folder), lambda *_: None
    )[0]
    assert told.tokens == 3 * sum(len(side.input_ids) for pair in found for side in pair.sides)


GOOD: dict[str, Any] = {
    "prompt": [{"role": "user", "content": "?"}],
    "chosen": [{"role": "assistant", "content": "a"}],
    "rejected": [{"role": "assistant", "content": "b"}],
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no pairs"),
        ("{", "line 1: no JSON"),
        (
            json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"chosen": "a"}),
            "pair 2: `chosen`: Input should be a valid list",
        ),
        (json.dumps(GOOD | {"prompt": [{"role": "user"}]}), "pair 1: `prompt.0.content`: Field required"),
        (json.dumps(GOOD | {"rejected": GOOD["chosen"]}), "pair 1: chosen and rejected are the same answer"),
    ],
)
def test_a_file_that_is_none_of_pairs_is_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(AssayError) as error:
        read_pairs(path)
    assert error.value.message.startswith(f"{path}: {message}")
    (tmp_path / "no.parquet").write_text("x")
    with pytest.raises(AssayError, match="not readable as Parquet"):
        read_pairs(tmp_path / "no.parquet")
    with pytest.raises(AssayError, match="no such file"):
        read_pairs(tmp_path / "none.jsonl")


def test_pairs_are_text_in_utf_8(tmp_path: Path) -> None:
    path, line = tmp_path / "pairs.jsonl", json.dumps(GOOD | {"id": "é"}, ensure_ascii=False)
    path.write_text(f"{line}\n{line}\n", encoding="utf-8-sig")
    assert [row.id for row in read_pairs(path)] == ["é", "é"]
    path.write_bytes(f"{json.dumps(GOOD)}\n".encode() + line.encode("latin-1"))
    with pytest.raises(AssayError, match="line 2: not UTF-8: 'utf-8' codec can't decode byte 0xe9") as error:
        read_pairs(path)
    assert error.value.remedy == "Write it as UTF-8."
    for key, known in (
        ("id", {"id": "\ud800"}),
        ("rejected.0.content", {"rejected": [{"role": "assistant", "content": "\udc80"}]}),
        ("prompt.0.role", {"prompt": [{"role": "\ud800", "content": "?"}]}),
    ):
        path.write_text(json.dumps(GOOD | known))
        with pytest.raises(AssayError, match=rf"pair 1: `{key}`: lone surrogate .u[0-9a-f]{{4}}\."):
            read_pairs(path)
    latin = pa.array([b"\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": latin}), tmp_path / "pairs.parquet")
    with pytest.raises(AssayError, match="not readable as Parquet: 'utf-8' codec can't decode"):
        read_pairs(tmp_path / "pairs.parquet")


def test_objective_and_pairs_go_together(model_folder: Path) -> None:
    from train.settings import TrainingSettings

    for settings in ({"objective": "dpo"}, {"pairs": "x"}):
        with pytest.raises(ValueError, match="go together"):
            TrainingSettings.model_validate(settings)
    with pytest.raises(ValueError, match="expected NAME/VERSION"):
        TrainingSettings.model_validate({"start_from": "licences"})
    with pytest.raises(ValueError, match="`rpo_alpha` is of"):
        TrainingSettings.model_validate({"rpo_alpha": 1.0})
    told = TrainingSettings().deciding().keys()
    assert not told & {"objective", "beta", "rpo_alpha", "pairs", "start_from"}, "other adapters are as they were"
