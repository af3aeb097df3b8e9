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
from train.dtypes import DType
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
        self.model.set_adapter(name, inference_mode=True)
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
        folders: of the adapters, by the names they are to be used by; one or more.
        base: the model that all were trained on.
        template: the chat template that all were trained with.
        quantization: of the base model's weights; by default as the adapters were trained.
        dtype: as of `train.adapter.load`, by default as the first was trained.

    Raises:
        AssayError: as `train.adapter.load`, of any of them; they cannot be switched; or some were trained on 4-bit
            weights and others not, and `quantization` is not given.
    """
    settings = {name: AdapterManifest.read(folder).inputs.settings for name, folder in folders.items()}
    methods = {name: method_in(each) for name, each in settings.items()}
    scales = {method == "ia3" for method in methods.values()}
    if len(scales) > 1 or WHOLE & set(methods.values()):
        named = ", ".join(f"{name} is of method {method}" for name, method in methods.items())
        raise AssayError(
            f"These cannot be switched: {named}.",
            remedy="On one base model go adapters of LoRA's and DoRA's methods, or those of ia3. Merge the others.",
        )
    trained = {name: quantization_of(each) for name, each in settings.items()}
    if quantization is None and len(set(trained.values())) > 1:
        raise AssayError(
            f"The adapters were trained on weights of several kinds: "
            f"{', '.join(f'{name} on {kind}' for name, kind in trained.items())}.",
            remedy="Say which is loaded: quantization.",
        )
    (first, folder), *others = folders.items()
    model: Any = load(folder, base, template, quantization, dtype, name=first)
    for name, folder in others:
        add(model, name, folder, base, template)
    return Adapters(model.eval(), tuple(folders))
