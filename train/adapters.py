"""Several adapters on one base model: loaded once, and switched."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate
from train.adapter import add, load
from train.base_model import BaseModel, Quantization
from train.dtypes import DType, compute_dtype, computed_in
from train.manifest import AdapterManifest
from train.methods.keys import WHOLE, method_in
from train.settings import quantization_of

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class Adapters:
    """A base model with several adapters, of which one at a time is in use."""

    model: "PeftModel"
    names: tuple[str, ...]

    @contextmanager
    def using(self, name: str) -> "Iterator[PeftModel]":
        """The model with one of the adapters in use; it says what it would if no other was loaded.

        Raises:
            AssayError: there is no such adapter among them.
        """
        if name not in self.names:
            raise AssayError(f"No adapter {name!r} is loaded.", remedy=f"There are: {', '.join(self.names)}.")
        before = self.model.active_adapter
        self.model.set_adapter(_within(self.names.index(name)), inference_mode=True)
        try:
            yield self.model
        finally:
            self.model.set_adapter(before, inference_mode=True)


def load_several(
    folders: Mapping[str, Path],
    base: BaseModel,
    template: ChatTemplate,
    quantization: Quantization | None = None,
    dtype: DType | None = None,
) -> Adapters:
    """The base model, loaded once, with several published adapters.

    Args:
        folders: of the adapters, by the names they are to be used by, whatever these are; one or more.
        base: the model that all were trained on.
        template: the chat template that all were trained with.
        quantization: of the base model's weights; by default as the adapters were trained.
        dtype: as of `train.adapter.load`, by default as the adapters were trained.

    Raises:
        AssayError: as `train.adapter.load`, of any of them; there is none; they cannot be switched; or alone some would
            be loaded on a base model that is quantised or computed otherwise.
    """
    if not folders:
        raise AssayError("No adapter is named.", remedy="Name one or more, each by the name it is to be used by.")
    settings = {name: AdapterManifest.read(folder).inputs.settings for name, folder in folders.items()}
    methods = {name: method_in(each) for name, each in settings.items()}
    scales = {method == "ia3" for method in methods.values()}
    if len(scales) > 1 or WHOLE & set(methods.values()):
        named = ", ".join(f"{name} is of method {method}" for name, method in methods.items())
        raise AssayError(
            f"These cannot be switched: {named}.",
            remedy="On one base model go adapters of LoRA's and DoRA's methods, or those of ia3. Merge the others.",
        )
    alone = {name: _base_of(each, quantization, dtype) for name, each in settings.items()}
    if len(set(alone.values())) > 1:
        raise AssayError(
            f"The adapters were trained on weights of several kinds: "
            f"{', '.join(f'{name} on {kind}' for name, kind in alone.items())}.",
            remedy="Say which is loaded: quantization, dtype. Constants of NF4 are as they were trained beside: load "
            "adapters apart whose constants differ, or merge them.",
        )
    first, *others = folders.values()
    model: Any = load(first, base, template, quantization, dtype, name=_within(0))
    for number, folder in enumerate(others, 1):
        add(model, _within(number), folder, base, template)
    return Adapters(model.eval(), tuple(folders))


def _within(number: int) -> str:
    """What peft knows an adapter by: it makes a module of the name, which not every text can be."""
    return f"adapter{number}"


def _base_of(settings: Mapping[str, Any], quantization: Quantization | None, dtype: DType | None) -> str:
    """As what the base model would be loaded for an adapter alone, in words."""
    import torch

    kind: str = quantization or quantization_of(settings)
    computing = compute_dtype(dtype or computed_in(settings.get("dtype", "auto")))
    if kind == "nf4":
        kind += " with constants in " + ("8 bits" if settings.get("double_quantization", True) else "float32")
    elif not torch.cuda.is_available():  # what is not quantised is computed in float32 there
        return kind
    return f"{kind}, computed in {str(computing).removeprefix('torch.')}"
