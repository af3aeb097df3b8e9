"""A whole store read again; and whatever bit of it flips, no command gives another result without saying so."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate
from curate.sets.index import recorded_settings
from curate.sets.published import read_version
from curate.store import Store
from tests.assay.conftest import Finished
from tests.manifests import forge
from train.adapter import load
from train.base_model import BaseModel, prepare
from train.examples import read_split

FLIPS = 80
PLACES = ("datasets", "adapters", "scorecards", "ledger")


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def whole(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one of each: other tests add to that of the project."""
    store = tmp_path_factory.mktemp("whole") / "store"
    assay.evaluate(assay.train(assay.curate(finished.project.recipe_path, store=store, workers=1)))
    return store


@pytest.fixture(scope="module")
def published(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of it is published, and the ledger: the cache and the index have tests of their own."""
    store = tmp_path_factory.mktemp("published") / "store"
    for place in PLACES:
        shutil.copytree(whole / place, store / place)
    return store


@pytest.fixture
def store(published: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(published, tmp_path / "store"))


def folder_of(store: Path, kind: str) -> Path:
    (folder,) = (store / kind / "demo").iterdir()
    return folder


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def problems(store: Path) -> list[str]:
    return [f"{each.where}: {each.what}" for each in assay.check_store(store=store).problems]


def test_a_sound_store(whole: Path) -> None:
    done = command("check", "--all", "--store", whole, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["problems"] == []
    assert document["passed"]
    assert document["read"] == {
        "datasets": 1,
        "adapters": 1,
        "scorecards": 1,
        "experiments": 0,
        "studies": 0,
        "index": 1,
        "ledger": 5,
    }
    shown = command("check", "--all", "--store", whole).stdout
    assert "│ datasets    │     1 │" in shown
    assert "│ problems    │     0 │" in shown
    assert command("check", "--all", "--store", whole / "nothing").exit_code == 0


def test_what_is_damaged_is_named_each_with_what_to_do(store: Path) -> None:
    version, adapter, card = (folder_of(store, kind) for kind in ("datasets", "adapters", "scorecards"))
    flip(version / "train.parquet", 999)
    shutil.copy(version / "train.parquet", version / "train-00001.parquet")
    (version / "report.html").write_text("<h1>all is well</h1>")
    flip(adapter / "adapter_model.safetensors", 9999)
    (adapter / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    (card / "predictions.parquet").unlink()
    with (store / "ledger/events.jsonl").open("a") as ledger:
        ledger.write("{}}\n")
    done = command("check", "--all", "--store", store)
    assert done.exit_code == 1
    said = done.stderr.replace("\n", " ")
    for problem in (
        f"{version}/train.parquet: changed since it was published: its SHA-256 is ",
        f"{version}/report.html: changed since it was published: its SHA-256 is ",
        f"{version}/train-00001.parquet: not one of the files that were published. Remove it",
        f"{adapter}/adapter_model.safetensors: changed since it was published",
        f"remove {adapter}, and run `assay train RECIPE` again",
        f"{adapter}/adapter_model.bin: not one of the files that were published",
        f"{card}/predictions.parquet: not there, though it was published",
        f"{store}/ledger/events.jsonl, line 6: not as it was written. Restore the ledger",
    ):
        assert problem in said
    assert done.stderr.count("\n  /") == 7
    document = json.loads(command("check", "--all", "--store", store, "--json").stdout)
    assert not document["passed"]
    assert {*document["problems"][0]} == {"where", "what", "remedy"}


def test_a_folder_that_is_not_what_its_name_says(store: Path) -> None:
    version, adapter = folder_of(store, "datasets"), folder_of(store, "adapters")
    (version / "manifest.json").unlink()
    adapter.rename(adapter.parent / ("0" * 16))
    found = problems(store)
    assert f"{version}: no manifest.json, so nothing published is there." in found
    assert f"{adapter.parent / ('0' * 16)}: holds version {adapter.name}." in found
    assert (
        f"{adapter.parent / ('0' * 16)}: the ledger does not tell of it, so that its name alone never means it."
        in found
    )
    with pytest.raises(AssayError, match=r"no manifest\.json"):
        assay.load("demo", store=store).gist()


@pytest.mark.parametrize(("kind", "telling"), [("datasets", "README.md"), ("scorecards", "report.html")])
def test_a_version_without_its_sums(store: Path, kind: str, telling: str) -> None:
    folder = folder_of(store, kind)
    (folder / "SHA256SUMS").unlink()
    (folder / telling).write_text("all is well")
    [found] = problems(store)
    assert found == f"{folder}/SHA256SUMS: not there, so nobody can say whether card and reports are sound."
    assert "Restore it from a copy" in command("check", "--all", "--store", store).stderr


def test_parents_that_are_others_now(store: Path) -> None:
    version = folder_of(store, "datasets")
    forge(version, lambda manifest: manifest["counts"].update(conflicts=99))
    found = problems(store)
    assert f"{version}: holds version {assay.load(version).id}." in found
    for kind in ("adapters", "scorecards"):
        made_from = f"made from demo/{version.name}, whose manifest was another then."
        assert f"{folder_of(store, kind)}: {made_from}" in found


def test_a_curation_that_published_nothing_is_no_damage(finished: Finished, store: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(finished.project.recipe_path.read_text())
    path = finished.project.recipe_path.with_name("none.yaml")
    path.write_text(yaml.safe_dump(recipe | {"quality": {"min_chars": 100_000}}))
    fresh = tmp_path / "fresh"
    with pytest.raises(AssayError, match=r"quality\.min_chars|no row"):
        assay.curate(path, store=fresh, workers=1)
    assert (fresh / "index/demo").is_dir()
    assert problems(fresh) == []
    (fresh / "ledger").mkdir(exist_ok=True)
    shutil.copy(store / "ledger/events.jsonl", fresh / "ledger/events.jsonl")
    [found] = problems(fresh)
    assert found.startswith("demo: no version in "), "the ledger tells of one"


def test_the_command_wants_a_version_or_all(store: Path) -> None:
    for arguments in ((), ("demo", "--all")):
        done = command("check", *arguments, "--store", store)
        assert done.exit_code == 1
        assert "Name a version, or the whole store with --all" in done.stderr


def test_a_flipped_byte_in_what_is_trained_on_or_asked_ends_the_command(whole: Path, finished: Finished) -> None:
    """It gave another adapter, or another score, without a word."""
    recipe = yaml.safe_load(finished.project.recipe_path.read_text())
    other = finished.project.recipe_path.with_name("other.yaml")
    other.write_text(yaml.safe_dump(recipe | {"training": recipe["training"] | {"seed": 7}}))
    asked = finished.project.recipe_path.with_name("asked.yaml")
    asked.write_text(yaml.safe_dump(recipe | {"evaluation": recipe["evaluation"] | {"seed": 7}}))
    again = ("--store", whole)
    for path, arguments in (
        (folder_of(whole, "datasets") / "train.parquet", ("train", other)),
        (folder_of(whole, "datasets") / "train.parquet", ("curate", finished.project.recipe_path, "--workers", "1")),
        (folder_of(whole, "datasets") / "test.parquet", ("evaluate", asked)),
        (folder_of(whole, "adapters") / "adapter_model.safetensors", ("train", finished.project.recipe_path)),
        (folder_of(whole, "adapters") / "adapter_model.safetensors", ("evaluate", asked)),
        (folder_of(whole, "adapters") / "adapter_config.json", ("evaluate", asked)),
        (folder_of(whole, "scorecards") / "predictions.parquet", ("evaluate", finished.project.recipe_path)),
    ):
        flip(path, 8 * (path.stat().st_size // 2))
        done = command(*arguments, *again)
        flip(path, 8 * (path.stat().st_size // 2))
        assert done.exit_code == 1, (path, arguments)
        assert f"Error: {path}: changed since it was published: its SHA-256 is " in done.stderr.replace("\n", " ")
        assert f"remove {path.parent}" in done.stderr
        assert "Traceback" not in done.stderr


def reads(store: Path, base: BaseModel) -> dict[str, list[Callable[[], Any]]]:
    """What commands read of each kind, as values to be compared."""
    where, told = Store(store), {"store": store}
    version, adapter, card = (folder_of(store, kind) for kind in ("datasets", "adapters", "scorecards"))
    splits = ("train", "validation", "test", "quarantine", "conflicts")

    def weights() -> dict[str, Any]:
        tuned = load(adapter, base, ChatTemplate("chatml"))
        return {name: value.tolist() for name, value in tuned.named_parameters() if "lora_" in name}

    def indexed() -> list[Any]:
        keys = list(read_version(version, recorded_settings(where, "demo")))
        return [[each.rows.to_pylist(), each.signatures.tolist()] for each in keys]

    def tables(of: assay.Version | assay.Adapter | assay.Scorecard) -> Any:
        return [(table.title, table.rows) for table in of.tables()], of.data()

    def published(kind: type[Any], folder: Path) -> Any:
        return kind(folder, assay.load(version, **told).made)

    return {
        "datasets": [
            lambda: tables(assay.load(version, **told)),
            *(lambda name=name: getattr(assay.load(version, **told), name).to_list() for name in splits),
            *(lambda name=name: read_split(version, name, ["id", "messages"]) for name in splits[:3]),
            indexed,
        ],
        "adapters": [lambda: tables(published(assay.Adapter, adapter)), weights],
        "scorecards": [
            lambda: tables(published(assay.Scorecard, card)),
            lambda: published(assay.Scorecard, card).predictions.to_list(),
            lambda: assay.compare(card, card, "base", "tuned").data(),
        ],
        "ledger": [
            lambda: [where.resolve(kind, "demo") for kind in ("datasets", "adapters", "scorecards")],
            lambda: where.events(),
            lambda: tables(published(assay.Adapter, adapter)),
        ],
    }


def test_no_flipped_bit_of_what_is_published_gives_a_wrong_result_without_a_word(
    published: Path, finished: Finished, tmp_path: Path
) -> None:
    draw = random.Random(11)
    readers = reads(published, prepare(str(finished.project.tokenizer), tmp_path))
    before = {kind: [read() for read in each] for kind, each in readers.items()}
    files = {kind: sorted(path for path in (published / kind).rglob("*") if path.is_file()) for kind in PLACES}
    wrong, told = [], 0
    for number in range(FLIPS):
        kind = PLACES[number % len(PLACES)]
        path = files[kind][number // len(PLACES) % len(files[kind])]
        bit = draw.randrange(8 * path.stat().st_size)
        flip(path, bit)
        for place, read in enumerate(readers[kind]):
            try:
                if read() != before[kind][place]:
                    wrong.append((path, bit, place))
            except AssayError as error:
                told += 1
                if str(path) not in error.message or not error.remedy:
                    wrong.append((path, bit, error))
        found = [each.where for each in assay.check_store(store=published).problems]
        if not any(where.startswith(str(path)) for where in found):
            wrong.append((path, bit, found))
        flip(path, bit)
    assert not wrong
    assert told > FLIPS / 2
    assert problems(published) == []
