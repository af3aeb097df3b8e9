"""What a run leaves in the cache: no more than three times its drop."""

import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate import pipeline
from curate.cache import entries
from curate.engine import WorkerDied, supervised
from curate.errors import AssayError, RotError
from curate.progress import silent
from curate.shards import PassTask
from curate.stage import WORKER_DIED
from tests.attacks.lethal import LETHAL, words_of
from tests.curate.test_unharmed import lighten
from tests.project import RECIPE, Project

NOTICES = Path(sysconfig.get_path("purelib")) / "licensedcode/data/rules"

CHANGING = RECIPE | {
    "clean": {"whitespace": "tidy"},
    "quality": {"max_chars": 100_000},
    "fit": RECIPE["fit"] | {"max_tokens": 3000, "policy": "truncate_input"},
}
"""Every stage that may do something does: texts are tidied and replaced, long rows shortened."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return notices(tmp_path, 1)


@pytest.fixture
def small(tmp_path: Path) -> Project:
    return notices(tmp_path, 5)


def notices(folder: Path, every: int) -> Project:
    """Real licence notices, of a hundred to ten thousand characters, some of them with many wordings alike."""
    made = Project(folder)
    texts = (path.read_text(encoding="utf-8").partition("\n---\n")[2] for path in sorted(NOTICES.glob("[a-b]*.RULE")))
    rows = [{"text": text, "colour": "red", "count": len(text)} for text in texts if 100 <= len(text) <= 10_000]
    for number in range(4):
        made.add(f"{number}.jsonl", rows[::every][number::4])
    return made


def test_the_cache_is_less_than_three_times_the_drop(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)
    project.recipe_path.write_text(yaml.safe_dump(CHANGING))
    curated = project.curate()
    drop = sum(path.stat().st_size for path in project.drop.iterdir())
    assert drop > 2_000_000
    assert curated.manifest.counts.rows_in > 2_000
    cache = sum(path.stat().st_size for path in (project.folder / "store/cache").rglob("*") if path.is_file())
    assert cache == sum(entry.size for entry in entries(project.folder / "store/cache"))
    assert cache <= 3 * drop


@pytest.mark.parametrize(("keep", "found"), [("read", 1), ("nothing", 0)])
def test_what_a_later_run_does_not_need_goes(
    small: Project, keep: str, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lighten(monkeypatch)
    cache = small.folder / "store/cache"
    small.recipe_path.write_text(yaml.safe_dump(CHANGING))
    monkeypatch.setenv("ASSAY_KEEP", keep)
    first = small.curate()
    left = [entry for entry in entries(cache) if (entry.folder / "summary.json").is_file()]
    assert len(left) == found
    assert sum(entry.size for entry in entries(cache)) < found * 300_000 + 100_000
    again = small.curate()
    assert again.folder == first.folder
    assert (again.cached["read"], again.cached["clean"]) == ((found, 1), (0, 1))


def test_what_was_made_of_rows_that_end_their_worker_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard at which a worker dies is put together from parts of it, down to the rows to blame."""
    lighten(monkeypatch)
    project = Project(tmp_path)
    texts = [LETHAL if number in (3, 40) else f"Row {number} says {number}." for number in range(60)]
    project.add("a.jsonl", [{"text": text, "colour": "red", "count": n} for n, text in enumerate(texts)])

    def each(function: Any, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for number, task in enumerate(tasks):
            if isinstance(task, PassTask) and LETHAL in words_of(task):
                yield number, WorkerDied("its worker process ended", "Wait.", False)
            else:
                yield number, function(task)

    monkeypatch.setenv("ASSAY_KEEP", "nothing")
    curated = project.curate(map_shards=supervised(each, silent))
    assert [stage.reasons[WORKER_DIED] for stage in curated.manifest.stages if WORKER_DIED in stage.reasons] == [2]
    assert not list((tmp_path / "store/cache/stages").rglob("summary.json"))


def test_what_a_run_made_before_it_began_again_goes_too(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)
    small.recipe_path.write_text(yaml.safe_dump(CHANGING))
    monkeypatch.setenv("ASSAY_KEEP", "nothing")
    removed, real = list[int](), pipeline._past

    def past(work: Any, *given: Any) -> Any:
        if not removed:
            removed.append(1)
            raise RotError(work.store.cache / "stages/aa/aa", "checksums is missing")
        return real(work, *given)

    monkeypatch.setattr(pipeline, "_past", past)
    small.curate()
    assert removed
    assert not list((small.folder / "store/cache/stages").rglob("summary.json"))


def test_what_another_run_made_stays(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)
    cache = small.folder / "store/cache"
    small.recipe_path.write_text(yaml.safe_dump(CHANGING))
    first = small.curate()
    known = {entry.folder for entry in entries(cache)}
    small.recipe_path.write_text(yaml.safe_dump(CHANGING | {"quality": {"min_chars": 150, "max_chars": 100_000}}))
    monkeypatch.setenv("ASSAY_KEEP", "nothing")
    other = small.curate()
    assert other.folder != first.folder
    assert known <= {entry.folder for entry in entries(cache)}


def test_what_a_run_was_told_to_keep_stays_where_another_is_told_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lighten(monkeypatch)
    project = Project(tmp_path)
    rows = [{"text": f"Row {number} says {number}.", "colour": "red", "count": number % 7} for number in range(60)]
    project.add("a.jsonl", rows)
    cache = project.folder / "store/cache"
    monkeypatch.setenv("ASSAY_KEEP", "all")
    project.curate()
    known = {entry.folder for entry in entries(cache)}
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"split": {"train": 0.6, "validation": 0.2, "test": 0.2}}))
    monkeypatch.delenv("ASSAY_KEEP")
    project.curate()
    assert known <= {entry.folder for entry in entries(cache)}


def test_a_word_that_says_nothing_is_refused(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KEEP", "little")
    with pytest.raises(AssayError, match="'little': expected one of all, stages, read, nothing") as caught:
        small.curate()
    assert "reads no file again" in caught.value.remedy
