"""How much memory a step of training takes, found without taking it.

The model is made on the meta device, its tensors are then fakes of PyTorch (torch._subclasses), which have shapes and
no content, and one step is run on them: what is alive at its fullest moment is counted. So it holds for any
architecture of transformers, for checkpointed activations and for whatever attention a batch runs with.
"""

import contextlib
import copy
import gc
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from peft import PeftModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, DynamicCache

from train.base_model import quiet
from train.methods.keys import WHOLE
from train.methods.trained import with_adapter
from train.optimizers import state_bytes
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BLOCK, SUPER_BLOCK = 64, 256
"""Weights that share a constant of NF4, and constants that share one of the double quantisation (QLoRA, section 3)."""
CLEARED = 20
"""Operations from one clearing of circles to the next."""

Part = Literal[
    "weights",
    "quantisation constants",
    "adapters",
    "gradients",
    "optimizer state",
    "best weights",
    "activations",
    "logits",
    "libraries",
]
"""What memory is taken by."""


@dataclass(frozen=True)
class Batch:
    """The largest batch of a run."""

    rows: int
    tokens: int
    """Of its longest row, to which the others are padded."""
    trained: int
    """Columns that logits are computed at."""


@dataclass(frozen=True)
class Machine:
    """What the model is loaded and computed in."""

    device: Literal["cpu", "cuda"]
    weights: torch.dtype
    """Of what is not quantised."""
    compute: torch.dtype
    """Of products with quantised weights; on a GPU of all others too."""
    trained: torch.dtype = torch.float32
    """Of the adapter, its gradients and the optimizer's state."""
    libraries: int = 0
    """Bytes that the process takes before there is a model."""


@dataclass(frozen=True)
class Step:
    """What one batch takes, forward and backward."""

    memory: Mapping[Part, int]
    """Bytes at the fullest moment."""
    flops: int
    trained: int
    """Weights that are trained."""
    trained_bytes: int
    """What these take, and their gradients once more."""
    known: bool = True
    """Whether activations, logits and operations are: an architecture may have an operation that fakes do not know."""

    @property
    def bytes(self) -> int:
        return sum(self.memory.values())


def step(config: "PreTrainedConfig", settings: TrainingSettings, batch: Batch, machine: Machine) -> Step:
    """Run one step on fakes of a model's tensors.

    The step is run on the first layers alone, once and twice as many as their kinds need to come round, and what the
    others take follows from the difference; what does not move is counted on the whole model.

    Args:
        config: of any causal language model of transformers.
        settings: quantisation, adapter, checkpointing and accumulation; the batch size is the batch's.
        batch: the largest one.
        machine: what it is loaded and computed in.
    """
    fixed, trained, size = _fixed(_model(config, settings, machine), settings, machine)
    moving: Counter[Part] = Counter()
    flops, known = 0, True
    try:
        moving, flops = _all_layers(config, settings, batch, machine)
    except Exception:  # an operation that does not say what it would make of a fake: whichever error its authors chose
        known = False
    return _step(fixed, moving, settings, machine, Step({}, flops, trained, size, known))


def _all_layers(
    config: "PreTrainedConfig", settings: TrainingSettings, batch: Batch, machine: Machine
) -> "tuple[Counter[Part], int]":
    """`_moving` of a whole model, from its first layers."""
    text = config.get_text_config()
    depth: int = text.num_hidden_layers
    period = _period(text)
    if 2 * period >= depth or _names_layers(settings):
        return _moving(_model(config, settings, machine), settings, batch, machine)
    (once, flops), (twice, flops_twice) = (
        _moving(_model(_cut(config, layers), settings, machine), settings, batch, machine)
        for layers in (period, 2 * period)
    )
    further = (depth - period) / period

    def whole(one: float, two: float) -> int:
        return max(0, round(one + further * (two - one)))

    return Counter({part: whole(once[part], twice[part]) for part in once | twice}), whole(flops, flops_twice)


def _model(config: "PreTrainedConfig", settings: TrainingSettings, machine: Machine) -> Any:
    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=machine.weights)
        return with_adapter(model, settings)


def _names_layers(settings: TrainingSettings) -> bool:
    """Whether the recipe says something of single layers, so that one is not like another."""
    targets = settings.target_modules if isinstance(settings.target_modules, list) else []
    named = [*targets, *settings.rank_pattern, *settings.modules_to_save]
    return settings.layers_to_transform is not None or any(part.isdigit() for name in named for part in name.split("."))


def _period(config: "PreTrainedConfig") -> int:
    """After how many layers their kinds come round: 1 where all are alike."""
    depth = config.num_hidden_layers
    kinds = list(zip(*(value for value in vars(config).values() if _by_layer(value, depth)), strict=True))
    return next(
        (period for period in range(1, depth) if all(kind == kinds[at % period] for at, kind in enumerate(kinds))),
        depth,
    )


def _by_layer(value: object, depth: int) -> bool:
    return isinstance(value, list) and len(value) == depth


def _cut(config: "PreTrainedConfig", layers: int) -> "PreTrainedConfig":
    """The configuration of the first layers alone."""
    cut = copy.deepcopy(config)
    text = cut.get_text_config()
    depth = text.num_hidden_layers
    for key, value in list(vars(text).items()):
        if _by_layer(value, depth):
            setattr(text, key, value[:layers])
    text.num_hidden_layers = layers
    return cut


def _fixed(model: Any, settings: TrainingSettings, machine: Machine) -> tuple[dict[Part, int], int, int]:
    """Bytes of what stays from step to step; how many weights are trained, and what they take."""
    with FakeTensorMode():
        constants = _materialise(model, settings, machine)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        size = sum(each.nbytes for each in trained)
        count = sum(each.numel() for each in trained)
        state = state_bytes(model, settings, machine.device)
        held = sum(each.nbytes for each in [*model.parameters(), *model.buffers()])
    fixed: dict[Part, int] = {
        "weights": held if settings.method in WHOLE else held - size,
        "quantisation constants": constants,
        "adapters": 0 if settings.method in WHOLE else size,
        "optimizer state": state,
        "best weights": size if settings.keep_best and machine.device == "cpu" else 0,
    }
    return fixed, count, size


def _moving(model: Any, settings: TrainingSettings, batch: Batch, machine: Machine) -> "tuple[Counter[Part], int]":
    """Bytes of what comes and goes in one batch, at the fullest moment, and its floating-point operations."""
    model.train()
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable()
        if isinstance(model, PeftModel):  # as trl does
            model.enable_input_require_grads()
    mixed = machine.device == "cuda" and machine.compute != machine.trained
    gc.freeze()  # what there is now need not be looked at each time that circles are cleared
    try:
        with FakeTensorMode(), quiet():
            _materialise(model, settings, machine)
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            vocabulary, shapes = model.config.get_text_config().vocab_size, {tuple(each.shape) for each in trained}
            alive = Alive(vocabulary, shapes, circles=settings.gradient_checkpointing)
            counter = FlopCounterMode(display=False)
            with counter, alive:
                with torch.autocast("cpu", machine.compute) if mixed else contextlib.nullcontext():
                    loss = _loss(model, batch, settings.gradient_checkpointing)
                loss.backward()
    finally:
        gc.unfreeze()
    return Counter(alive.most), counter.get_total_flops()


def _step(
    fixed: dict[Part, int],
    moving: "Counter[Part]",
    settings: TrainingSettings,
    machine: Machine,
    told: Step,
) -> Step:
    """`told`, with the memory of its fullest moment."""
    size = told.trained_bytes
    if settings.gradient_accumulation_steps > 1:  # those of the batches before stay
        moving["gradients"] = max(moving["gradients"], size)
    elif moving.total() < size:  # the optimizer's own step is the fullest moment
        moving = Counter({"gradients": size})
    parts: dict[Part, int] = dict.fromkeys(get_args(Part), 0)
    return replace(told, memory=parts | fixed | dict(moving) | {"libraries": machine.libraries})


def _loss(model: Any, batch: Batch, checkpointed: bool) -> torch.Tensor:
    """The loss of a batch, computed as `train.batches.forward` and `train.loss.answer_loss` do. They tell a model of no
    padding, and nor does this: given a fake of what tells it, transformers would make masks that a run has not."""
    ids = torch.zeros((batch.rows, batch.tokens), dtype=torch.long)
    columns = torch.arange(batch.tokens - batch.trained, batch.tokens)
    cache = {} if checkpointed else {"past_key_values": DynamicCache(config=model.config), "use_cache": True}
    logits = model(
        input_ids=ids,
        logits_to_keep=columns,
        **cache,
    ).logits
    targets = torch.zeros(batch.rows * batch.trained, dtype=torch.long)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="sum")


def _materialise(model: Any, settings: TrainingSettings, machine: Machine) -> int:
    """Put fakes in the place of a model's meta tensors; its linear layers but the head quantised, what is trained in
    the dtype for that. Tied weights stay tied. Gives the bytes of the constants of the quantisation."""
    made: dict[int, torch.nn.Parameter] = {}
    constants = 0
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        for key, old in list(module._parameters.items()):
            if old is None:
                continue
            if id(old) not in made:
                dtype = machine.trained if old.requires_grad else old.dtype
                made[id(old)] = torch.nn.Parameter(torch.empty(old.shape, dtype=dtype), old.requires_grad)
            module._parameters[key] = made[id(old)]
        for key, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[key] = torch.empty(buffer.shape, dtype=buffer.dtype)
        frozen = isinstance(module, torch.nn.Linear) and not module.weight.requires_grad
        if settings.quantization == "nf4" and frozen and module is not head:
            constants += _constants(module.weight.numel(), settings.double_quantization)
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _Quantised(module, machine.compute))
    return constants


def _constants(weights: int, double: bool) -> int:
    """Bytes: a float32 for each block, or a byte for each and a float32 for each block of these."""
    blocks = -(-weights // BLOCK)
    return blocks + 4 * -(-blocks // SUPER_BLOCK) if double else 4 * blocks


class _Product(torch.autograd.Function):
    """A product with a weight that is dequantised for it, here and again in the backward pass."""

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        context.shape = shape
        return torch.nn.functional.linear(inputs, inputs.new_empty(shape))

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ gradient.new_empty(context.shape), None


class _Quantised(torch.nn.Linear):
    """What bitsandbytes' Linear4bit takes: half a byte a weight, and inputs in the dtype of the computation."""

    def __init__(self, linear: torch.nn.Linear, compute: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.whole, self.compute = linear.weight.shape, compute
        packed = torch.empty(-(-linear.weight.numel() // 2), dtype=torch.uint8)
        self.weight = torch.nn.Parameter(packed, requires_grad=False)
        self.bias = linear.bias
        self.W_q = None
        """By which peft knows a layer that has `dequantize`; DoRA asks for its weights."""

    def dequantize(self) -> torch.Tensor:
        return self.weight.new_empty(self.whole, dtype=torch.float32)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = _Product.apply(inputs.to(self.compute), self.whole).to(inputs.dtype)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, as long as they live.

    Args:
        vocabulary: tokens of it, by which logits are known.
        trained: shapes of trained weights, by which gradients are known.
        circles: whether tensors may hang in circles, as recomputed activations do. To clear them takes the longer the
            more operations there are, and a model that goes token by token (Mamba) has thousands.
    """

    def __init__(self, vocabulary: int, trained: set[tuple[int, ...]], *, circles: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocabulary = vocabulary
        self.trained = trained
        self.circles = circles
        self.known: dict[int, tuple[Part, int]] = {}
        self.now: Counter[Part] = Counter()
        self.total = self.peak = 0
        self.most: dict[Part, int] = {}
        """By part, at the fullest moment."""
        self.operations = 0

    def __torch_dispatch__(
        self, function: Any, types: Sequence[Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.operations += 1
        if self.circles and self.operations % CLEARED == 0:
            gc.collect()  # the counts of a real run get rid of them
        given = {each.untyped_storage()._cdata for each in tree_iter((args, kwargs)) if isinstance(each, torch.Tensor)}
        out = function(*args, **(kwargs or {}))
        for each in tree_iter(out):
            if isinstance(each, torch.Tensor):
                self._count(each, given)
        return out

    def _count(self, tensor: torch.Tensor, given: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known or key in given:  # a view, or written in place
            return
        shape = tuple(tensor.shape)
        part: Part = (
            "gradients"
            if shape in self.trained and tensor.dtype == torch.float32  # autocast's copies of weights are none
            else "logits"
            if shape[-1:] == (self.vocabulary,)
            else "activations"
        )
        self.known[key] = part, storage.nbytes()
        self.now[part] += storage.nbytes()
        self.total += storage.nbytes()
        weakref.finalize(storage, self._forget, key)
        if self.total > self.peak:
            self.peak, self.most = self.total, dict(self.now)

    def _forget(self, key: int) -> None:
        part, size = self.known.pop(key)
        self.now[part] -= size
        self.total -= size
