"""Adapters: saved and loaded with the knowledge of what they were trained on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.render import ChatTemplate
from curate.store import read_manifest
from train.base_model import BaseModel, load_model, quiet

if TYPE_CHECKING:
    from peft import PeftModel

PARENTS = {
    "weights_sha256": "base weights",
    "tokenizer_sha256": "tokenizer",
    "chat_template_sha256": "chat template",
}


def check_parents(what: str, parents: dict[str, str], base: BaseModel, template: ChatTemplate) -> None:
    """Check that something was made for this base model and chat template.

    Args:
        what: names the thing in the message, e.g. "Adapter PATH".
        parents: hashes by the keys of PARENTS; a key that is missing is not checked.

    Raises:
        AssayError: names what differs.
    """
    here = {
        "weights_sha256": base.weights_sha256,
        "tokenizer_sha256": base.tokenizer_sha256,
        "chat_template_sha256": template.sha256,
    }
    for key, name in PARENTS.items():
        if key in parents and parents[key] != here[key]:
            raise AssayError(
                f"{what} was made with another {name} ({key} {parents[key][:16]}) than "
                f"{base.name} with chat template {template.name} has ({here[key][:16]}).",
                remedy="Name the base model and chat template it was made with, or make it again with these.",
            )


def save(model: "PeftModel", base: BaseModel, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json as peft reads them; equal weights give equal bytes."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict() | {"base_model_name_or_path": base.name, "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=lambda value: getattr(value, "value", sorted(value)))
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def load(folder: Path, base: BaseModel, template: ChatTemplate) -> "PeftModel":
    """The base model with a published adapter.

    Args:
        folder: of the adapter.
        base: the model it was trained on.
        template: the chat template it was trained with.

    Raises:
        AssayError: base weights, tokenizer or chat template are not those it was trained on.
    """
    inputs: dict[str, Any] = read_manifest(folder)["inputs"]
    check_parents(f"Adapter {folder}", inputs["base"], base, template)
    with quiet():
        from peft import PeftModel

        model = PeftModel.from_pretrained(load_model(base, inputs["settings"]["quantization"]), folder)
    return model.eval()
