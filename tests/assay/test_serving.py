"""`assay merge` and `assay parity`: what they write, their exit status, and what is said when something is wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

import assay
from assay.cli import app
from tests.assay.conftest import Finished
from tests.evaluation.scripted import Reply, Request, completion, reply, serving
from tests.manifests import forge


def called(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_merge_writes_a_whole_model_and_overwrites_nothing(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    merged = assay.merge(finished.adapter, out)
    assert merged.folder == out
    assert {path.name for path in out.iterdir()} >= {"model.safetensors", "config.json", "chat_template.jinja"}
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert merged.dtype == "float32", "as the base model is"
    done = called("merge", finished.adapter.folder, "--out", tmp_path / "o", "--dtype", "int8")
    assert "dtype is 'int8'" in done.stderr
    done = called("merge", finished.adapter.folder, "--out", out, "--store", finished.store)
    assert done.exit_code == 1
    assert "is there already" in done.stderr


def wrong(request: Request) -> Reply:
    if request.path == "/v1/models":
        return reply({"data": [{"id": "tuned"}]})
    return (
        reply(completion("no idea") | {"usage": {"prompt_tokens": 3}}) if "messages" in request.body else reply({}, 404)
    )


def test_parity_tells_what_differs_and_exits_with_1(finished: Finished) -> None:
    with serving(wrong) as running:
        options = ("--endpoint", running.endpoint().url, "--rows", "2", "--max-new-tokens", "8")
        done = called("parity", finished.adapter.folder, *options, "--store", finished.store)
        assert done.exit_code == 1
        assert "0 of 2 as long" in done.stdout
        assert "does not ask and say what" in done.stderr
        done = called("parity", finished.adapter.folder, *options, "--store", finished.store, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (found["same"], found["model"], len(found["rows"])) == (False, "tuned", 2)
    assert found["rows"][0]["prompt"]["cause"].startswith("another chat template (")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--endpoint", "nonsense"), "url: expected http(s)://HOST/v1"),
        (("--endpoint", "http://127.0.0.1:9/v1", "--key", "HOME"), "key: expected an environment variable"),
        (("--endpoint", "http://127.0.0.1:9/v1", "--quantization", "int8"), "quantization is 'int8'"),
        (("--endpoint", "http://127.0.0.1:9/v1"), "lists no model"),
    ],
)
def test_a_wrong_option_is_told(finished: Finished, options: tuple[str, ...], told: str) -> None:
    done = called("parity", finished.adapter.folder, *options, "--store", finished.store)
    assert done.exit_code == 1
    assert told in done.stderr


def test_an_adapter_without_its_template_says_to_train_again(finished: Finished, tmp_path: Path) -> None:
    old = Path(shutil.copytree(finished.adapter.folder, tmp_path / "old"))
    (old / "chat_template.jinja").unlink()
    forge(old)
    with pytest.raises(assay.AssayError, match=r"no chat_template\.jinja"):
        assay.merge(old, tmp_path / "out", store=finished.store)


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "generation_config.json", "README.md"])
def test_check_all_reads_what_an_adapter_is_served_with(finished: Finished, name: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    there = store / finished.adapter.folder.relative_to(finished.store)
    shutil.copytree(finished.adapter.folder, there)
    (there / name).write_bytes((there / name).read_bytes() + b" ")
    [problem] = [each for each in assay.check_store(store=store).problems if each.where == str(there / name)]
    assert "changed since it was published" in problem.what
