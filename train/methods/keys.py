"""What is known of each method before a library of training is loaded."""

from collections.abc import Mapping
from typing import Any, Literal

Method = Literal["full", "partial", "lora", "qlora", "dora", "qdora", "ia3"]

PLACES = {"target_modules", "layers_to_transform"}
LORA = {
    "rank",
    "alpha",
    "dropout",
    "use_rslora",
    "loraplus_lr_ratio",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
} | PLACES
KEYS: Mapping[str, set[str]] = {
    "full": set(),
    "partial": PLACES,
    "lora": LORA,
    "qlora": LORA,
    "dora": LORA,
    "qdora": LORA,
    "ia3": {"target_modules"},
}
"""Keys of `training` that not every method takes."""
SOME = set[str]().union(*KEYS.values())
"""All of them."""

QUANTIZED = {"qlora", "qdora"}
"""Methods that train on a base model in NF4."""
WHOLE = {"full", "partial"}
"""Methods that train the base model's own weights: without what they learned there is no base model left."""
DORA = {"dora", "qdora"}

CHEAPER = {"full": "lora", "partial": "lora", "lora": "qlora", "dora": "qdora", "qdora": "qlora", "ia3": "qlora"}
"""The method that takes less memory, if there is one."""


def method_in(settings: Mapping[str, Any]) -> str:
    """The method, as settings of training in a recipe or a manifest have it."""
    quantization = settings.get("quantization")  # of adapters from before there were methods
    method: str = settings.get("method") or ("lora" if quantization == "none" else "qlora")
    return method


def takers(key: str) -> str:
    """The methods that take a key, in words."""
    return ", ".join(method for method, keys in KEYS.items() if key in keys)
