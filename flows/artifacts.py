"""What was published, or why nothing was, as artifacts of the run."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from curate.errors import AssayError
from curate.publish.refused import RefusedError, candidate
from curate.store import Store
from curate.table import Table

REPORTS_URL = "ASSAY_REPORTS_URL"
"""Environment variable: where the store's reports are served, by `assay serve` or by a server of one's own."""


def publish_tables(name: str, tables: Sequence[Table], folder: Path, store: Store) -> None:
    """Keep tables as artifacts of the run: one page of Markdown with where the result is, and each as a table.

    Args:
        name: of the recipe.
        tables: the first one names the page.
        folder: of the result.
        store: in which it lies.
    """
    page = "\n".join(table.markdown() for table in tables)
    create_markdown_artifact(
        key=artifact_key(name, tables[0].key),
        markdown=f"{page}\nPublished at `{folder}`.\n{report_link(folder, store)}",
        description=name,
    )
    for table in tables[1:]:
        create_table_artifact(key=artifact_key(name, table.key), table=table.records(), description=table.title)


def publish_refusal(name: str, refusal: AssayError, store: Store) -> None:
    """Keep why a candidate was refused as an artifact of the run, as text in which nothing is Markdown.

    Args:
        name: of the recipe.
        refusal: says why, and where the candidate lies.
        store: in which it lies.
    """
    text = "\n".join(f"    {line}" for line in str(refusal).splitlines())
    page = f"### {name}: refused, nothing was published\n\n{text}\n"
    if isinstance(refusal, RefusedError):
        page += report_link(candidate(store, name), store)
    create_markdown_artifact(key=artifact_key(name, "refused"), markdown=page, description=name)


def report_link(place: Path, store: Store) -> str:
    """A line of Markdown that links to a report, where something of the store has one and it is served.

    Args:
        place: as of `report_of`.
        store: in which it lies.
    """
    report = report_of(place, store)
    return f"\n[Report]({report})\n" if "://" in report else ""


def report_of(place: Path, store: Store) -> str:
    """Where a report is: its URL where the store's reports are served, else its path; "" where there is none.

    Args:
        place: the folder of the version or the candidate, or the page itself.
        store: in which it lies.
    """
    served, report = os.environ.get(REPORTS_URL, ""), place if place.is_file() else place / "report.html"
    if not report.is_file():
        return ""
    return f"{served.rstrip('/')}/{quote(report.relative_to(store.root).as_posix())}" if served else str(report)


def artifact_key(name: str, key: str) -> str:
    """Prefect allows lower-case letters, digits and dashes."""
    return f"{name}-{key}".replace("_", "-")
