"""Model folders from elsewhere: nothing in one is run, fetched or asked about, and what cannot be opened is named."""

import ast
import json
import os
import pickle
import shutil
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import AssayError
from curate.rows.renderer import load_tokenizer
from tests.train.test_trainer import killed
from train.base_model import configuration, load_model, prepare, prepare_tokenizer

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import pathlib
pathlib.Path({sentinel!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer
class OwnConfig(LlamaConfig): model_type = "own"
class OwnModel(LlamaForCausalLM): config_class = OwnConfig
class OwnTokenizer(LlamaTokenizer): pass
"""


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model."""
    return shutil.copytree(model_folder, tmp_path / "model")


@pytest.fixture
def ran(folder: Path, tmp_path: Path) -> Path:
    """The file that code in the folder makes when it is run."""
    sentinel = tmp_path / "ran"
    (folder / "own.py").write_text(CODE.format(sentinel=str(sentinel)))
    (folder / "__init__.py").write_text(CODE.format(sentinel=str(sentinel)))
    return sentinel


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; it is made if it is not there."""
    known = json.loads(path.read_bytes()) if path.is_file() else {}
    path.write_text(json.dumps(known | values))


AUTO_MAP = {
    "AutoConfig": "own.OwnConfig",
    "AutoModel": "own.OwnModel",
    "AutoModelForCausalLM": "own.OwnModel",
    "AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"],
    "AutoProcessor": "own.OwnTokenizer",
}
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")


def loaded_apart(folder: Path, tmp_path: Path) -> str:
    """What loading a model says in a copy of this process, whose user would answer `y` to every question."""
    answers, said, errors = (tmp_path / name for name in ("answers", "said", "errors"))
    answers.write_text("y\n" * 99)

    def load() -> None:
        sys.stdin, sys.stdout, sys.stderr = answers.open(), said.open("w"), errors.open("w")
        for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
            os.dup2(stream.fileno(), number)
        try:
            load_model(prepare(str(folder), tmp_path / "cache"), "none")
        except AssayError as error:
            sys.stdout.write(f"{error}\n")
        except BaseException:
            traceback.print_exc()
        else:
            sys.stdout.write("loaded\n")
        sys.stdout.flush()
        sys.stderr.flush()

    assert killed(load) == 0
    assert "Traceback" not in errors.read_text()
    assert "custom code" not in said.read_text() + errors.read_text(), "nobody is asked"
    return said.read_text()


def test_a_model_of_its_own_code_is_refused_and_nobody_is_asked(folder: Path, ran: Path, tmp_path: Path) -> None:
    for name in CONFIGS:
        change(folder / name, auto_map=AUTO_MAP)
    change(folder / "config.json", model_type="own", architectures=["OwnModel"])
    told = loaded_apart(folder, tmp_path)
    assert (
        f"{folder}: no model that transformers opens: config.json wants code of the model's own run (auto_map: " in told
    )
    assert "own.OwnModel" in told
    assert "Name a model whose architecture is built into transformers" in told
    assert not ran.exists()


def test_a_built_in_model_that_comes_with_code_works_without(folder: Path, ran: Path, tmp_path: Path) -> None:
    for name in CONFIGS:
        change(folder / name, auto_map=AUTO_MAP)
    change(folder / "generation_config.json", custom_generate=str(folder), trust_remote_code=True)
    change(folder / "config.json", trust_remote_code=True, custom_generate="own.py")
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "own.py", folder / "custom_generate/generate.py")
    assert loaded_apart(folder, tmp_path) == "loaded\n"
    assert not ran.exists()


@pytest.mark.parametrize("where", ["elsewhere/repo--own.OwnModel", "../own.OwnModel", "own.OwnModel"])
def test_code_of_another_repository_is_not_run_either(folder: Path, ran: Path, tmp_path: Path, where: str) -> None:
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": where, "AutoConfig": where}, model_type="new")
    with pytest.raises(AssayError, match="wants code of the model's own"):
        prepare(str(folder), tmp_path / "cache")
    assert not ran.exists()


def test_an_adapter_in_a_models_folder_is_not_loaded_with_it(folder: Path, tmp_path: Path) -> None:
    """As transformers would: its weights, and whatever its configuration makes peft import."""
    change(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="nobody/nothing")
    with pytest.raises(AssayError) as error:
        prepare(str(folder), tmp_path)
    assert str(error.value) == (
        f"{folder}: an adapter lies in the model's folder: {folder / 'adapter_config.json'}.\n"
        "Move it out of there, or save the model with it merged: merge_and_unload()."
    )


def test_no_kernel_is_fetched(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*arguments: Any, **named: Any) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", fetch)
    for key in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        for kernel in ("kernels-community/flash-attn", "nobody/evil:run", "flash_attention_2"):
            change(folder / "config.json", **{key: kernel, key.replace("attn", "experts"): kernel})
            model = load_model(prepare(str(folder), tmp_path), "none")
            assert model.config._attn_implementation == "sdpa"


class Evil:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.sentinel),)


def test_no_pickle_is_read(folder: Path, ran: Path, tmp_path: Path) -> None:
    for name in (
        "pytorch_model.bin",
        "model.pt",
        "training_args.bin",
        "optimizer.pt",
        "rng_state.pth",
        "tokenizer.pkl",
    ):
        (folder / name).write_bytes(pickle.dumps(Evil(ran)))
    change(folder / "pytorch_model.bin.index.json", weight_map={"lm_head.weight": "pytorch_model.bin"})
    expected = load_model(prepare(str(folder), tmp_path), "none").state_dict()
    assert expected
    (folder / "model.safetensors").unlink()
    with pytest.raises(AssayError, match=r"no \*\.safetensors in"):
        prepare(str(folder), tmp_path)
    assert not ran.exists()


def header(length: int, said: bytes) -> bytes:
    return struct.pack("<Q", length) + said


OVERLAP = json.dumps(
    {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in ("lm_head.weight", "model.norm.weight")}
).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        header(1 << 62, b"{}"),
        header(99_000_000, b"{}"),
        header(2, b"{}"),
        header(4, b"\xff{} "),
        header(200_000, b"[" * 200_000),
        header(len(OVERLAP), OVERLAP) + bytes(8),
        pickle.dumps({"lm_head.weight": 1}),
    ],
    ids=["empty", "short", "huge header", "no such header", "no tensors", "no JSON", "deep", "overlapping", "pickle"],
)
def test_safetensors_that_are_none(folder: Path, tmp_path: Path, raw: bytes) -> None:
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(AssayError) as error:
        load_model(prepare(str(folder), tmp_path), "none")
    assert str(folder) in error.value.message
    assert error.value.remedy


def test_weights_that_are_not_there_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.norm.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AssayError, match=r"of the model's weights 1 are missing, model\.norm\.weight among them"):
        load_model(prepare(str(folder), tmp_path), "none")


@pytest.mark.parametrize(
    "named", ["../../x.safetensors", "/x.safetensors", "sub/x.safetensors", "x.safetensors", 3, None]
)
def test_an_index_names_files_of_its_folder_alone(folder: Path, tmp_path: Path, named: Any) -> None:
    shutil.copy(folder / "model.safetensors", tmp_path / "x.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = folder / "model.safetensors.index.json"
    change(index, metadata={}, weight_map={"lm_head.weight": named})
    with pytest.raises(
        AssayError, match=r"index\.json: weight_map names .*, which is no \*\.safetensors of this folder"
    ):
        prepare(str(folder), tmp_path)
    for broken in ("[", "[]", '{"weight_map": 1}', '{"weight_map": {"a": []}}', "[" * 100_000):
        index.write_text(broken)
        with pytest.raises(AssayError, match="no model that transformers opens"):
            prepare(str(folder), tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "nothing-known"},
        {"model_type": None},
        {"auto_map": 7},
        {"model_type": ["llama"]},
        {"hidden_size": "many"},
        {"hidden_size": -1},
        {"hidden_size": 1 << 40},
        {"num_attention_heads": 0},
        {"vocab_size": "x"},
        {"quantization_config": 7},
        {"rope_scaling": {"rope_type": "__import__"}},
        {"hidden_act": "__import__('os').system"},
    ],
)
def test_configurations_that_are_none(folder: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(AssayError) as error:
        load_model(prepare(str(folder), tmp_path), "none")
    assert str(folder) in error.value.message
    assert error.value.remedy


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 1e300},
        {"model_type": "gpt2", "n_layer": 10**9},
        {"model_type": "qwen2", "num_hidden_layers": 10**12},
        {"model_type": "mixtral", "num_local_experts": 10**9},
        {"text_config": {"num_hidden_layers": 10**9}},
        {"depths": [2, 10**9]},
    ],
)
def test_no_model_is_built_of_more_parts_than_one_can_have(
    folder: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(AssayError, match=r"config\.json: \w+ is [\d,.e+]+, more than 10,000") as error:
        prepare(str(folder), tmp_path)
    assert str(folder) in error.value.message


@pytest.mark.parametrize("values", [{"quantization_config": {"quant_method": "evil"}}, {"torch_dtype": "os.system"}])
def test_configurations_that_do_nothing(folder: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    change(folder / "config.json", **values)
    assert load_model(prepare(str(folder), tmp_path), "none").dtype == torch.float32


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"llama"', "[" * 100_000, '{"model_type": 1e999}', "\x00", "\ud800"]
)
def test_config_json_that_is_none(folder: Path, tmp_path: Path, text: str) -> None:
    (folder / "config.json").write_text(text, errors="surrogatepass")
    for work in (lambda: prepare(str(folder), tmp_path), lambda: configuration(folder)):
        with pytest.raises(AssayError, match="no model that transformers opens"):
            work()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", ""),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer.json", '{"model": {"type": "Pickle"}}'),
        ("tokenizer_config.json", ""),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"eos_token": 7}'),
        ("tokenizer_config.json", '{"eos_token": {"contents": "x"}}'),
        ("tokenizer_config.json", "[" * 100_000),
    ],
)
def test_tokenizers_that_are_none(folder: Path, tmp_path: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(AssayError, match=rf"{folder / name}: ") as error:
        load_tokenizer(prepare_tokenizer(str(folder), tmp_path))
    assert error.value.remedy


def test_a_tokenizers_template_is_never_rendered(folder: Path, ran: Path, tmp_path: Path) -> None:
    evil = "{{ cycler.__init__.__globals__.os.mkdir('" + str(ran) + "') }}"
    change(folder / "tokenizer_config.json", chat_template=evil)
    (folder / "chat_template.jinja").write_text(evil)
    load_tokenizer(prepare_tokenizer(str(folder), tmp_path))
    load_model(prepare(str(folder), tmp_path), "none")
    assert not ran.exists()


def gguf(*, version: int = 3, tensors: int = 0, keys: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def text(said: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(said) if length is None else length) + said


ARCHITECTURE = text(b"general.architecture") + struct.pack("<I", 8)


NO_MODELS = [
    b"",
    b"GGUF",
    b"PK\x03\x04" + bytes(99),
    gguf(version=99),
    gguf(keys=1 << 62),
    gguf(tensors=1 << 62),
    gguf(keys=1, rest=text(b"a", 1 << 60)),
    gguf(keys=1, rest=ARCHITECTURE + text(b"llama", 1 << 50)),
    gguf(keys=1, rest=ARCHITECTURE + text(b"own")),
    gguf(keys=1, rest=ARCHITECTURE + text(b"llama")),
    gguf(keys=1, rest=text(b"a") + struct.pack("<IIQ", 9, 4, 1 << 60)),
    gguf(keys=1, rest=text(b"a") + struct.pack("<IIQ", 9, 9, 1 << 60) * 50),
    gguf(tensors=1, rest=text(b"t") + struct.pack("<IQQQQIQ", 4, 1 << 31, 1 << 31, 1 << 31, 1 << 31, 0, 0)),
]
QUICK = (4, 9)
"""Of these a count that is none, and a model without its keys: each takes a process with torch."""


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(raw, id=f"{number}", marks=[] if number in QUICK else pytest.mark.slow)
        for number, raw in enumerate(NO_MODELS)
    ],
)
def test_gguf_that_is_none(tmp_path: Path, raw: bytes) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(raw)
    with pytest.raises(AssayError, match=r"model\.gguf: no model that transformers opens"):
        prepare_tokenizer(str(folder), tmp_path / "cache")
    assert not any(path.name == "tokenizer" for path in tmp_path.rglob("*"))


def test_wherever_a_model_is_opened_its_code_is_refused() -> None:
    """Also by what is written next: each `from_pretrained` of transformers says that no code is to be run."""
    calls = []
    for package in ("assay", "benchmarks", "curate", "evaluation", "flows", "train"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "from_pretrained":
                    given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                    calls.append(
                        (f"{file.relative_to(ROOT)}: {ast.unparse(node.func)}", given.get("trust_remote_code"))
                    )
    # Of those that know no such thing: model2vec reads safetensors, peft an adapter's.
    neither = {"StaticModel.from_pretrained", "PeftModel.from_pretrained"}
    assert len(calls) >= 6
    assert [call for call, trust in calls if trust != "False" and call.split(": ")[1] not in neither] == []
