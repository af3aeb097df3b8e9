"""What a run leaves in the cache: no more than three times its drop."""

import sysconfig
from pathlib import Path

import pytest
import yaml

from curate.cache import entries
from tests.curate.test_unharmed import lighten
from tests.project import RECIPE, Project

NOTICES = Path(sysconfig.get_path("purelib")) / "licensedcode/data/rules"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Real licence notices, of a hundred to ten thousand characters, some of them with many wordings alike."""
    made = Project(tmp_path)
    texts = (path.read_text(encoding="utf-8").partition("\n---\n")[2] for path in sorted(NOTICES.glob("[a-b]*.RULE")))
    rows = [{"text": text, "colour": "red", "count": len(text)} for text in texts if 100 <= len(text) <= 10_000]
    for number in range(4):
        made.add(f"{number}.jsonl", rows[number::4])
    return made


def test_the_cache_is_less_than_three_times_the_drop(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)
    # Every stage that may do something does: texts are tidied and replaced, long rows shortened.
    changes = {
        "clean": {"whitespace": "tidy"},
        "quality": {"max_chars": 100_000},
        "fit": RECIPE["fit"] | {"max_tokens": 3000, "policy": "truncate_input"},
    }
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | changes))
    curated = project.curate()
    drop = sum(path.stat().st_size for path in project.drop.iterdir())
    assert drop > 2_000_000
    assert curated.manifest.counts.rows_in > 2_000
    cache = sum(path.stat().st_size for path in (project.folder / "store/cache").rglob("*") if path.is_file())
    assert cache == sum(entry.size for entry in entries(project.folder / "store/cache"))
    assert cache <= 3 * drop
