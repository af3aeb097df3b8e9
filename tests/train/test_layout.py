"""The layout of batches: loss and gradients are those of each row alone, whatever the model, or rows are put together
less closely, and that is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from curate.errors import AssayError
from curate.rows.renderer import IGNORED
from tests.families import FAMILIES, model_of, rows_of
from train.batches import Batch, Layout, forward
from train.examples import Example
from train.layout import closest, has_dropout, longest_alike, no_sharing, rounding, shortened, training_layout
from train.loss import answer_loss, collate

FOUND = dict.fromkeys(FAMILIES, "shared") | dict.fromkeys(["openai-gpt", "mamba", "bamba", "recurrent-gemma"], "padded")


def examples(rows: list[list[int]], trained: int = 8) -> list[Example]:
    """Rows with an answer in the middle and one at the end."""
    made = []
    for number, row in enumerate(rows):
        labels = [IGNORED] * len(row)
        labels[-trained:] = row[-trained:]
        labels[-3 * trained : -2 * trained] = row[-3 * trained : -2 * trained]
        made.append(Example(str(number), row, labels))
    return made


def loss_and_gradients(model: Any, work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    loss = work()
    loss.backward()
    gradients = [
        (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()
        for weight in model.parameters()
        if weight.requires_grad
    ]
    return loss.detach(), torch.cat(gradients)


def plainly(model: Any, rows: list[Example]) -> torch.Tensor:
    """Each row alone by the model's own forward: no padding, nothing shared, all logits."""
    total = torch.tensor(0.0)
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
        labels = torch.tensor(row.labels[1:])
        total = total + torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total


def check_exact(model: Any, rows: list[Example], layout: Layout) -> None:
    batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
    loss, gradients = loss_and_gradients(model, lambda: answer_loss(model, layout=layout, **batch)[0])
    plain, wanted = loss_and_gradients(model, lambda: plainly(model, rows))
    assert float(abs(loss - plain) / abs(plain)) < 1e-5
    assert float((gradients - wanted).norm() / wanted.norm()) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_each_row_alone(family: str) -> None:
    model, rows = model_of(family), examples(rows_of())
    told: list[str] = []
    layout = training_layout(model, rows, progress=lambda what, *_: told.append(what))
    assert layout.rows == FOUND[family]
    assert bool(layout.reason) is (layout.rows != "shared")
    assert told[-1] == f"rows are put together: {layout}"
    assert not model.training
    check_exact(model, rows, layout)
    check_exact(model, rows, Layout("alone"))


@pytest.mark.parametrize("window", [8, 48, 64, 128])
@pytest.mark.parametrize("common", [20, 40])
def test_windows_of_all_sizes(window: int, common: int) -> None:
    model, rows = model_of("mistral", sliding_window=window), examples(rows_of(common))
    layout = training_layout(model, rows)
    assert layout == Layout("shared")
    check_exact(model, rows, layout)


def test_a_model_that_sees_padding_is_run_a_row_at_a_time() -> None:
    """One that looks ahead sees what stands on the right."""
    layout = training_layout(model_of("roberta", is_decoder=False), examples(rows_of()))
    assert layout.rows == "alone"
    assert "padded rows are not what each is alone" in layout.reason


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_checkpointing_changes_neither_loss_nor_gradients(family: str) -> None:
    """transformers drops the cache under checkpointing: asked for or not, nothing is shared then."""
    model, rows = model_of(family).train(), examples(rows_of())
    layout = training_layout(model, rows, checkpointing=True)
    assert layout.rows == "padded"
    assert layout.reason == "gradient checkpointing keeps no cache"
    assert model.training
    model.activation_checkpointing_enable()
    assert model.is_activation_checkpointing
    for asked in (layout, Layout("shared"), Layout("alone")):
        check_exact(model, rows, asked)


def test_below_an_adapter() -> None:
    model: Any = get_peft_model(model_of("gemma3"), LoraConfig(target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    rows = examples(rows_of())
    layout = training_layout(model, rows)
    assert layout == Layout("shared")
    check_exact(model, rows, layout)
    model.train().base_model.model.activation_checkpointing_enable()
    model.enable_input_require_grads()
    check_exact(model, rows, layout)


def test_dropout_shares_nothing() -> None:
    rows = examples(rows_of())
    model: Any = get_peft_model(model_of("llama"), LoraConfig(target_modules="all-linear", lora_dropout=0.1))
    assert training_layout(model, rows) == Layout("padded", "with dropout each row has noise of its own")
    assert not has_dropout(model_of("gpt2"))
    assert has_dropout(model_of("gpt2", attn_pdrop=0.1))
    assert has_dropout(model_of("llama", attention_dropout=0.1)), "applied by a function, not by a module"


def test_gradients_that_cannot_be_had_are_an_error() -> None:
    with pytest.raises(AssayError, match="LlamaForCausalLM: the model gives no gradients: RuntimeError"):
        training_layout(model_of("llama").requires_grad_(False), examples(rows_of()))


def test_the_closest_that_is_exact_with_all_the_reasons() -> None:
    def distance(rows: str) -> float:
        if rows == "padded":
            raise IndexError("no\n such place")
        return {"shared": 0.5, "equal": float("nan"), "alone": 1e-9}[rows]

    layouts: Any = ("shared", "padded", "equal", "alone", "recomputed")
    assert closest(layouts[2:], distance, lambda: 1e-3, {}).rows == "alone"
    found = closest(layouts, distance, lambda: 1e-3, {})
    assert str(found) == (
        "alone: shared rows are not what each is alone (apart by 5.0e-01, rounding by 1e-03); padded rows fail "
        "(IndexError: no such place); equal rows are not what each is alone (apart by nan, rounding by 1e-03)"
    )
    assert closest(layouts[:3], lambda _: 1.0, lambda: 1e-3, {"shared": "for a reason"}).rows == "equal", (
        "the last is not tried"
    )


def gapped(model: Any, given: dict[str, Any]) -> torch.Tensor:
    """The loss with padding between what is shared and the rest of a row."""
    batch = Batch(**{name: given[name].clone() for name in ("prefix", "input_ids", "attention_mask")})
    shared, targets = batch.prefix.shape[1], torch.full(batch.input_ids.shape, IGNORED)
    targets[:, given["columns"]] = given["targets"]
    for row, mask in enumerate(batch.attention_mask[:, shared:]):
        padding = len(mask) - int(mask.sum())
        for tensor in (batch.input_ids[row], targets[row], mask):
            tensor.copy_(tensor.roll(padding))
    columns = (targets != IGNORED).any(dim=0).nonzero()[:, 0]
    logits, _ = forward(model, batch, columns, masked=True)
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets[:, columns].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def in_nf4(model: Any, folder: Path) -> Any:
    """The model with 4-bit weights, multiplied in bfloat16, below an adapter that does something."""
    model.save_pretrained(folder)
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)
    for module in loaded.modules():
        if isinstance(module, Linear4bit):
            module.compute_type_is_set = True  # to bfloat16, whatever the input is
    adapted: Any = get_peft_model(loaded, LoraConfig(target_modules="all-linear"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return adapted.eval()


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3", "phi3", "gpt-oss"])
@pytest.mark.parametrize("precision", ["bfloat16", "nf4"])
def test_coarse_arithmetic_hides_no_wrong_layout(
    family: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is right passes, and padding that takes up places of a window does not, with however few of them."""
    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 64}  # as the kernels for 4 bits want it
    model: Any = model_of(family, **wide)
    rows = examples(rows_of(lengths=(57, 53)))
    model = model.to(torch.bfloat16) if precision == "bfloat16" else in_nf4(model, tmp_path)
    assert training_layout(model, rows) == Layout("shared")

    def wrong(model: Any, layout: Layout, **given: Any) -> tuple[torch.Tensor, int]:
        return (gapped(model, given), 0) if layout.rows == "shared" else answer_loss(model, layout=layout, **given)

    monkeypatch.setattr("train.layout.answer_loss", wrong)
    found = training_layout(model, rows)
    assert found.rows == "padded"
    assert "shared rows are not what each is alone" in found.reason


@torch.inference_mode()
def test_rounding_is_measured_and_leaves_nothing() -> None:
    ids = torch.tensor(rows_of()[:1])
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 0.2)):
        model = model_of("llama").to(dtype)
        plain = model(ids).logits
        with rounding(model):
            shaken = model(ids).logits
        assert 1e-8 < float((shaken - plain).norm() / plain.norm()) < most
        assert torch.equal(model(ids).logits, plain)


def test_of_long_rows_the_middle_is_left_out() -> None:
    long = examples([list(range(1000)), list(range(900))])
    first, second = shortened(long, 100)
    assert [first.input_ids, second.input_ids] == [
        [*range(50), *range(950, 1000)],
        [*range(37), *range(862, 900)],
    ]
    assert first.labels[-8:] == first.input_ids[-8:]
    assert shortened(long, 2000) == long


def test_rows_that_are_compared_begin_alike() -> None:
    alike = [[*range(20), *range(number)] for number in (3, 9, 9, 5)]
    other = [[7] * 50, [8] * 40]
    assert longest_alike([*other, *alike], list) == [alike[1], alike[3]]
    assert longest_alike(other, list) == other
    assert longest_alike(other[:1], list) == other[:1]
    model = model_of("llama")
    assert training_layout(model, examples([other[0]])) == Layout("shared")


def test_what_a_configuration_tells() -> None:
    assert not no_sharing(model_of("llama"), gap=True)
    for family in ("mistral", "gemma3", "gpt-oss", "llama4", "gpt-neo"):
        assert "attention window" in no_sharing(model_of(family), gap=True)
        assert not no_sharing(model_of(family), gap=False)
    assert "linear attention" in no_sharing(model_of("bamba"), gap=False)


def test_padding_is_counted() -> None:
    rows = examples(rows_of(40, (30, 50)))
    given = collate([row.input_ids for row in rows], [row.labels for row in rows])
    batch = Batch(**{name: given[name] for name in ("prefix", "input_ids", "attention_mask")})
    assert batch.padding(Layout("shared")) == (20, 40 + 29 + 49 + 20)
    assert batch.padding(Layout("padded")) == (20, 2 * 89)
    assert batch.padding(Layout("alone")) == (0, 69 + 89)
