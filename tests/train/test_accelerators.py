"""Kernels that are not there are asked for in vain, and that is said; one that gives all logits gives right ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from curate.errors import AssayError
from train.accelerators import require_accelerators
from train.batches import call
from train.settings import TrainingSettings


@pytest.mark.parametrize(("key", "package"), [("use_liger_kernel", "liger-kernel"), ("use_unsloth", "unsloth")])
@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("gpu", [False, True])
def test_what_is_missing_is_said(
    key: str, package: str, installed: bool, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.accelerators.find_spec", lambda name: name if installed else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    settings = TrainingSettings(**{key: True})
    if installed and gpu:
        require_accelerators(settings)
        return
    with pytest.raises(AssayError) as error:
        require_accelerators(settings)
    assert error.value.message.startswith(f"training.{key}: ")
    assert (f"{package} is not installed" in error.value.message) == (not installed)
    assert ("no GPU" in error.value.message) == (not gpu)
    assert (f"pip install {package}" in error.value.remedy) == (gpu and not installed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_liger_kernel": True, "use_unsloth": True}, "both put kernels"),
        ({"use_unsloth": True, "double_quantization": False}, "always quantises the constants too"),
    ],
)
def test_keys_that_are_at_odds(settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.accelerators.find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(AssayError, match=message):
        require_accelerators(TrainingSettings(**settings))
    require_accelerators(TrainingSettings(double_quantization=False))


def test_a_model_that_takes_no_columns_gives_those_asked_for(model_folder: Path) -> None:
    """Unsloth's forward takes `logits_to_keep` and, of a tensor, gives the logits of all columns."""
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    ids, columns = torch.arange(20)[None], torch.tensor([3, 7, 8])
    wanted, _ = call(model, columns, input_ids=ids, use_cache=False)
    forward = type(model).forward

    def heedless(*args: Any, logits_to_keep: Any = 0, **given: Any) -> Any:
        return forward(model, *args, **given)

    model.forward = heedless  # type: ignore[method-assign]
    assert torch.allclose(call(model, columns, input_ids=ids, use_cache=False)[0], wanted, atol=1e-6)
