"""adapter_config.json: what training writes into it, and no more is read from it.

It is data of whoever made the adapter; other keys of peft's import modules, read files or are regular expressions.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from train.methods.keys import DORA

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

LORA = ("r", "lora_alpha", "lora_dropout", "target_modules", "task_type")
IA3 = ("target_modules", "feedforward_modules", "task_type")
"""Keys that training sets."""
SOMETIMES = ("layers_to_transform", "target_parameters", "modules_to_save", "ensure_weight_tying")
"""Those that it sets where not all layers are trained, where layers hold their experts as one tensor, and where other
modules are trained beside the adapter."""
PATTERNS = ("rank_pattern", "alpha_pattern")
PATTERN = re.compile(r"\.\*\\\.\w+|\w+(\.\w+)*")
"""Of a name in them, of which peft makes a regular expression."""
SWITCHES = ("use_rslora", "fan_in_fan_out")
"""What a recipe switches on, and peft itself for layers that hold their weights the other way round, as GPT-2's do."""
TELLING = ("base_model_name_or_path", "inference_mode", "peft_version", "revision")
"""Keys that change nothing in what is loaded."""


def write_configuration(model: "PeftModel", base: str, path: Path) -> None:
    """Write it as peft reads it, in an order that is no run's own."""
    config = model.peft_config["default"].to_dict() | {"base_model_name_or_path": base, "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=lambda value: getattr(value, "value", sorted(value)))
    path.write_text(text + "\n", encoding="utf-8")


def peft_configuration(path: Path, method: str) -> "PeftConfig":
    """What it says, if that is what training by this method writes.

    Raises:
        AssayError: it says something else; names the keys.
    """
    from peft import IA3Config, LoraConfig

    said: dict[str, Any] = json.loads(path.read_bytes())
    kind: Any = IA3Config if method == "ia3" else LoraConfig
    needed = IA3 if method == "ia3" else LORA
    optional = ("fan_in_fan_out",) if method == "ia3" else (*SOMETIMES, *PATTERNS, *SWITCHES)
    given: dict[str, Any] = {key: said.get(key) for key in needed} | {
        key: said[key] for key in optional if said.get(key)
    }
    if method in DORA:
        given["use_dora"] = True
    config: PeftConfig = kind(**given)
    plain = config.to_dict()
    other = {
        key
        for key, value in said.items()
        if key not in (*needed, *optional, *TELLING)
        and (value not in (None, False, [], {}) or key == "use_dora")
        and value != plain.get(key)
    }
    other |= _strange(said, needed)
    if other:
        raise AssayError(
            f"{path}: not an adapter as method {method} makes them: {', '.join(sorted(other))}.",
            remedy="Only adapters as `assay train` makes them are loaded.",
        )
    return config


def _strange(said: Mapping[str, Any], needed: tuple[str, ...]) -> set[str]:
    """Keys that are missing, or of another kind than training writes; of a text peft makes a regular expression."""
    modules = ("target_modules", "feedforward_modules", "modules_to_save")
    return {
        *(key for key in needed if key not in said),
        *(key for key in modules if isinstance(said.get(key), str)),
        *(key for key in SWITCHES if not isinstance(said.get(key, False), bool)),
        *(key for key in PATTERNS if not isinstance(said.get(key, {}), dict)),
        *(key for key in PATTERNS for name in said.get(key) or {} if not PATTERN.fullmatch(name)),
    }
