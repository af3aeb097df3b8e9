"""Each optimizer trains the tiny model, goes on after an interruption as if there had been none, and keeps as much as
is forecast; what is written here follows the published algorithm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from curate.store import Store
from tests.tiny import recipe_for, renderer_of, write_version
from train.audit import encode
from train.base_model import BaseModel, prepare
from train.checkpoints import Checkpoints
from train.examples import read_split
from train.history import History
from train.loop import Rows
from train.manifest import AdapterManifest
from train.memory import Batch, Machine, step
from train.methods.trained import adapted, weights_of, with_adapter
from train.optimizers import Sophia, Together, gauss_newton_bartlett, optimizer, state_bytes
from train.qlora import train
from train.settings import Optim, TrainingSettings
from train.trainer import fit

OPTIMS: tuple[Optim, ...] = get_args(Optim)
RATES: dict[str, float] = {"sgd": 0.3, "sophia": 0.003}
SHORT = {"rows": 12, "epochs": 2, "batch_size": 2, "rank": 64, "alpha": 64, "save_steps": 3}
"""12 steps, of weights that bitsandbytes keeps 8-bit moments of."""
SMALL: dict[str, Any] = {"vocab_size": 500, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
CONFIG = LlamaConfig(**SMALL, num_attention_heads=4, tie_word_embeddings=False)


Trained = tuple[History, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def base(model_folder_64: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return prepare(str(model_folder_64), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def version(model_folder_64: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(Store(tmp_path_factory.mktemp("data")), model_folder_64)


@pytest.fixture(scope="module")
def run(base: BaseModel, version: Path) -> Callable[..., Trained]:
    rows = read_split(version, "train", ["id", "messages"])[:12]
    examples = encode(rows, renderer_of(base.folder))

    def _run(folder: Path, settings: dict[str, Any], progress: Callable[..., None] = lambda *_: None) -> Trained:
        asked = recipe_for(base.folder, **SHORT | settings).training
        model = adapted(base, asked)
        history = fit(model, base, Rows(examples, []), asked, Checkpoints(folder, 2), progress=progress)
        return history, weights_of(model)

    return _run


def interrupts(at: int) -> Callable[..., None]:
    """A progress that interrupts when training speaks for the so manieth time."""
    told = 0

    def progress(what: str, *_: Any) -> None:
        nonlocal told
        told += what == "train"
        if told == at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"optim": name, "learning_rate": RATES.get(name, 0.01)},
            marks=[] if name in ("adamw_8bit", "muon") else pytest.mark.slow,
        )
        for name in OPTIMS
        if not name.startswith("paged") and name != "adamw"
    ]
    + [pytest.param({"neftune_noise_alpha": 5.0, "learning_rate": 0.01}, marks=pytest.mark.slow)],
    ids=lambda settings: settings.get("optim", "neftune"),
)
def test_the_loss_falls_and_an_interrupted_run_gives_the_same_bytes(
    settings: dict[str, Any], run: Callable[..., Trained], tmp_path: Path
) -> None:
    history, weights = run(tmp_path / "undisturbed", settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "store", settings, interrupts(10))
    told: list[str] = []
    again, same = run(tmp_path / "store", settings, lambda what, *_: told.append(what))
    assert "train (goes on after step 9 of 12)" in told
    assert [each.loss for each in again.steps] == [each.loss for each in history.steps]
    assert all(torch.equal(weight, same[name]) for name, weight in weights.items())
    losses = [each.loss for each in history.steps]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_an_optimizer_that_is_not_the_named_one_is_told(version: Path, base: BaseModel, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU pages")
    told: list[str] = []
    recipe = recipe_for(base.folder, optim="paged_adamw", rows=4)
    adapter = train(version, recipe, Store(tmp_path), lambda what, *_: told.append(what))
    said = "a CPU has no memory of a GPU to page out, so adamw takes the steps of paged_adamw"
    assert said in told
    manifest = AdapterManifest.read(adapter)
    assert (manifest.compute.optim, manifest.compute.optim_reason) == ("adamw", said)
    assert manifest.inputs.settings["optim"] == "paged_adamw"


def settings_of(optim: str, **more: Any) -> TrainingSettings:
    return TrainingSettings(**{"optim": optim, "method": "lora", "rank": 64} | more)


def kept(made: torch.optim.Optimizer) -> int:
    """Bytes of an optimizer's state, without counters of steps and the tables that bitsandbytes' weights share."""
    parts = made.parts if isinstance(made, Together) else [made]
    return sum(
        value.nbytes
        for part in parts
        for state in part.state.values()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and value.numel() > 1 and not key.startswith("qmap")
    )


def stepped(model: torch.nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer of a model after a step."""
    made = optimizer(model, settings, [name for name, weight in model.named_parameters() if weight.ndim == 2])
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight) if weight.requires_grad else None
    made.step()
    return made


@pytest.mark.parametrize("whole", [False, True], ids=["adapter", "whole model"])
@pytest.mark.parametrize(
    "settings",
    [*map(settings_of, OPTIMS), settings_of("sgd", momentum=0.0)],
    ids=lambda each: f"{each.optim} {each.momentum}",
)
def test_as_much_is_kept_as_is_forecast(settings: TrainingSettings, whole: bool) -> None:
    model: Any = AutoModelForCausalLM.from_config(CONFIG)
    if not whole:
        model = with_adapter(model, settings)
    assert state_bytes(model, settings, "cpu") == kept(stepped(model, settings))
    if not whole and settings.optim in ("adamw_8bit", "muon"):
        found = step(CONFIG, settings, Batch(1, 8, 4), Machine("cpu", torch.float32, torch.float32))
        assert found.memory["optimizer state"] == state_bytes(model, settings, "cpu")


def test_paged_moments_are_forecast_on_a_gpu() -> None:
    model: Any = AutoModelForCausalLM.from_config(CONFIG)
    paged, eight = (state_bytes(model, settings_of(each), "cuda") for each in ("paged_adamw_8bit", "adamw_8bit"))
    assert paged == eight < state_bytes(model, settings_of("paged_adamw"), "cuda") / 2


def test_muon_takes_the_matrices_within_layers_alone() -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(CONFIG)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    made = stepped(model, settings_of("muon", learning_rate=0.01))
    assert isinstance(made, Together)
    muon, adamw = ({id(each) for group in part.param_groups for each in group["params"]} for part in made.parts)
    for name, weight in model.named_parameters():
        matrix = weight.ndim == 2 and "embed" not in name and "lm_head" not in name
        assert (id(weight) in muon, id(weight) in adamw) == (matrix, not matrix), name
        if matrix:  # five iterations of Newton and Schulz bring every singular value near to 1
            moved = torch.linalg.svdvals(before[name] - weight) / (0.01 * 0.2 * max(weight.shape) ** 0.5)
            assert 0.5 < moved.median() < 1.3
            assert moved.max() < 1.3


def test_a_rate_that_is_set_reaches_every_part() -> None:
    model: Any = AutoModelForCausalLM.from_config(CONFIG)
    made = stepped(model, settings_of("muon"))
    again = stepped(model, settings_of("muon"))
    again.load_state_dict(made.state_dict())
    assert isinstance(again, Together)
    for group in again.param_groups:
        group["lr"] = 0.0
    assert [group["lr"] for part in again.parts for group in part.param_groups] == [0.0] * len(again.param_groups)
    before = [weight.detach().clone() for weight in model.parameters()]
    again.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_sophia_is_algorithm_3_of_the_paper() -> None:
    """Beside a loop written down from it, a number at a time, on a quadratic of known curvature."""
    curvature = [0.0, 0.01, 1.0, 1000.0]
    start, rate, decay, (first, second), gamma, least = [1.0, -2.0, 3.0, 0.5], 0.02, 0.1, (0.96, 0.99), 0.05, 1e-12
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    made = Sophia([weight], lr=rate, weight_decay=decay, period=3)
    hand, momentum, estimate = list(start), [0.0] * 4, [0.0] * 4
    for t in range(1, 31):
        assert made.due == (t % 3 == 1)
        if made.due:
            made.estimated([torch.tensor(curvature, dtype=torch.float64)])
        weight.grad = torch.tensor(curvature, dtype=torch.float64) * weight.detach()
        made.step()
        for i, h in enumerate(curvature):
            momentum[i] = first * momentum[i] + (1 - first) * h * hand[i]
            if t % 3 == 1:
                estimate[i] = second * estimate[i] + (1 - second) * h
            hand[i] -= rate * decay * hand[i]
            hand[i] -= rate * min(1.0, max(-1.0, momentum[i] / max(gamma * estimate[i], least)))
    assert weight.tolist() == pytest.approx(hand, rel=1e-12)
    assert abs(weight[3].item()) < 0.5, "the steep direction does not diverge at a rate at which SGD's would"


def test_sophia_goes_down_steep_and_flat_directions_alike() -> None:
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    curvature = torch.tensor([0.01, 1.0, 1000.0], dtype=torch.float64)
    made = Sophia([weight], lr=0.02, betas=(0.5, 0.99))
    for _ in range(80):
        if made.due:
            made.estimated([curvature])
        weight.grad = curvature * weight.detach()
        made.step()
    assert weight.tolist() == pytest.approx([weight[0].item()] * 3, rel=1e-9)
    assert weight.abs().max() < 0.1


def test_the_estimate_of_curvature_is_that_of_gauss_and_newton_in_the_mean() -> None:
    """Of a softmax whose logits are the weights, the diagonal is p (1 - p), whatever was asked for."""
    torch.manual_seed(0)
    logits = torch.nn.Parameter(torch.tensor([0.0, 1.0, -1.0, 0.5]))
    tokens, draws, total = 8, 1500, torch.zeros(4)
    expected = logits.detach().softmax(-1)
    for _ in range(draws):
        drawn = torch.multinomial(expected, tokens, replacement=True)
        loss = torch.nn.functional.cross_entropy(logits.expand(tokens, 4), drawn, reduction="sum")
        total += gauss_newton_bartlett(loss, tokens, [logits])[0]
    assert (total / draws).tolist() == pytest.approx((expected * (1 - expected)).tolist(), rel=0.1)


def test_8_bit_moments_step_nearly_as_those_of_32() -> None:
    model: Any = AutoModelForCausalLM.from_config(CONFIG)
    before = [weight.detach().clone() for weight in model.parameters()]
    moved = {}
    for optim in ("adamw", "adamw_8bit"):
        with torch.no_grad():
            for weight, old in zip(model.parameters(), before, strict=True):
                weight.copy_(old)
        made = optimizer(model, settings_of(optim, learning_rate=0.01), [])
        torch.manual_seed(0)
        for _ in range(5):
            for weight in model.parameters():
                weight.grad = torch.randn_like(weight)
            made.step()
        pairs = zip(model.parameters(), before, strict=True)
        moved[optim] = torch.cat([(weight.detach() - old).flatten() for weight, old in pairs])
    apart = (moved["adamw_8bit"] - moved["adamw"]).norm() / moved["adamw"].norm()
    assert 0 < apart < 0.05


def test_sgd_has_the_momentum_of_the_recipe() -> None:
    weight = torch.nn.Linear(1, 1, bias=False)
    start = weight.weight.item()
    made = optimizer(weight, settings_of("sgd", momentum=0.5, learning_rate=0.1), [])
    for _ in range(3):
        weight.weight.grad = torch.ones(1, 1)
        made.step()
    assert weight.weight.item() == pytest.approx(start - 0.1 * (1 + 1.5 + 1.75))
