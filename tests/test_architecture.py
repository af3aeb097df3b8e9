"""The rules of the house: imports run one way, light commands stay light, data folders travel with the wheel."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["curate", "train", "evaluation", "flows", "assay"]  # a package may import itself and those before it
HEAVY = {"bitsandbytes", "datasets", "great_expectations", "pandas", "peft", "prefect", "torch", "transformers", "trl"}


CURATE = [
    "(ground)",
    "text",
    "grounding",
    "read",
    "rows",
    "sets",
    "publish",
    "recipe",
    "pipeline",
    "arrival",
    "workers",
    "engines",
    "preload",
]
EVALUATION = ["settings", "judge", "card", "ask", "(top)", "experiment", "tune"]
"""Floors inside a package, the lowest first: its folders, and modules beside them; those not named share one floor."""


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, module or name in it) of every import of a file, also of those inside functions and for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in ORDER:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def graph() -> dict[str, set[str]]:
    """Each of our modules -> those of ours that it imports."""
    known = modules()

    def module_of(name: str) -> str | None:
        return name if name in known else (name.rpartition(".")[0] if name.rpartition(".")[0] in known else None)

    return {
        name: {module for _, each in imports(file) if (module := module_of(each)) is not None} - {name}
        for name, file in known.items()
    }


def offences(package: str, forbidden: set[str]) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no module in {package}/"
    return [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in files
        for line, name in imports(file)
        if name.partition(".")[0] in forbidden
    ]


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_one_way(package: str) -> None:
    assert offences(package, set(ORDER[ORDER.index(package) + 1 :])) == []


def floor(module: str, floors: list[str]) -> int:
    """The floor of a module of a package, by its folder or its own name, or else the one in brackets."""
    second = f"{module}.".split(".")[1]
    if second in floors:
        return floors.index(second)
    return next(at for at, name in enumerate(floors) if name.startswith("("))


@pytest.mark.parametrize(("package", "floors"), [("curate", CURATE), ("evaluation", EVALUATION)])
def test_a_floor_imports_only_those_below_it(package: str, floors: list[str]) -> None:
    folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(floors)
    upwards = [
        f"{module} imports {other}"
        for module, others in graph().items()
        for other in others
        if module.partition(".")[0] == other.partition(".")[0] == package
        and floor(other, floors) > floor(module, floors)
    ]
    assert upwards == []


@pytest.mark.parametrize("package", ORDER)
def test_nothing_is_longer_than_can_be_taken_in(package: str) -> None:
    """Modules of 500 lines, functions of 80, and what is compiled with 12 arguments, at most."""
    too_long = []
    for file in sorted((ROOT / package).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > 500:
            too_long.append(f"{file.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                compiled = any("kernel" in ast.unparse(each) for each in node.decorator_list)
                arguments = len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
                if lines > 80 or (compiled and arguments > 12):
                    too_long.append(f"{file.relative_to(ROOT)}: {node.name}, {lines} lines, {arguments} arguments")
    assert too_long == []


def test_nothing_imports_in_a_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("package", ["curate", "train", "evaluation"])
def test_only_flows_knows_prefect(package: str) -> None:
    assert offences(package, {"prefect", "typer"}) == []


def test_curation_knows_no_training_library() -> None:
    assert offences("curate", {"accelerate", "bitsandbytes", "peft", "torch", "transformers", "trl"}) == []


def test_the_rule_sees_an_import_inside_a_function(tmp_path: Path) -> None:
    file = tmp_path / "stage.py"
    file.write_text("import os\ndef f():\n    from torch.nn import Linear\n    from .near import x\n")
    assert list(imports(file)) == [(1, "os"), (3, "torch.nn.Linear")]


def modules_loaded_by(code: str) -> set[str]:
    """Top-level modules in memory after running `code` in a fresh interpreter."""
    report = "\nimport sys\nprint('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_import_curate_is_light() -> None:
    loaded = modules_loaded_by(
        "import curate, pkgutil\nfor m in pkgutil.walk_packages(curate.__path__, 'curate.'): __import__(m.name)"
    )
    assert "curate" in loaded
    assert loaded & HEAVY == set()


def test_the_flows_load_what_they_wire_only_where_it_is_used() -> None:
    loaded = modules_loaded_by("import flows.pipeline")
    assert {"prefect", "curate"} <= loaded
    assert loaded & (HEAVY - {"prefect"}) == set()


def test_import_assay_is_light() -> None:
    loaded = modules_loaded_by("import assay\nassert callable(assay.curate)\nassert assay.Version.__doc__")
    assert {"assay", "curate"} <= loaded
    assert loaded & (HEAVY | {"numpy", "pyarrow"}) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["curate", "--help"], ["evaluate", "--help"]])
def test_help_imports_only_what_draws_it(arguments: list[str]) -> None:
    loaded = modules_loaded_by(
        "from assay.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code"
    )
    assert {"typer", "rich"} <= loaded
    assert loaded & (HEAVY | {"numpy", "pyarrow", "yaml"}) == set()


def test_an_installed_wheel_carries_its_data_folders_and_says_that_it_is_typed(tmp_path: Path) -> None:
    """Recipes, contracts and templates are read through importlib.resources from an installed copy, not from here."""
    installed = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-build-isolation", "--target", str(installed), str(ROOT)),
        ],
        cwd=tmp_path,
        check=True,
        timeout=240,
    )
    assert [name for name in ORDER if not (installed / name / "py.typed").is_file()] == []
    folders = ("data_contracts", "recipes", "templates")
    code = (
        "from importlib.resources import files\n"
        f"for name in {folders!r}:\n"
        "    root = files(name)\n"
        "    print('root', root)\n"
        "    stack = [(name, root)]\n"
        "    while stack:\n"
        "        path, entry = stack.pop()\n"
        "        if entry.is_dir(): stack += [(f'{path}/{child.name}', child) for child in entry.iterdir()]\n"
        "        else: print('file', path, len(entry.read_bytes()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [Path(text) for kind, text in lines if kind == "root"] == [installed / name for name in folders]
    here = {
        f"{file.relative_to(ROOT)} {file.stat().st_size}"
        for name in folders
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {text for kind, text in lines if kind == "file" and "__pycache__" not in text} == here
