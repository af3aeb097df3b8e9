"""What was published, or why nothing was, as artifacts of the run."""

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from curate.errors import AssayError
from curate.table import Table


def publish_tables(name: str, tables: Sequence[Table], published: str) -> None:
    """Keep tables as artifacts of the run: one page of Markdown with where the result is, and each as a table.

    Args:
        name: of the recipe.
        tables: the first one names the page.
        published: folder of the result.
    """
    page = "\n".join(table.markdown() for table in tables)
    create_markdown_artifact(
        key=artifact_key(name, tables[0].key), markdown=f"{page}\nPublished at `{published}`.\n", description=name
    )
    for table in tables[1:]:
        create_table_artifact(key=artifact_key(name, table.key), table=table.records(), description=table.title)


def publish_refusal(name: str, refusal: AssayError) -> None:
    """Keep why a candidate was refused as an artifact of the run, as text in which nothing is Markdown.

    Args:
        name: of the recipe.
        refusal: says why, and where the candidate lies.
    """
    text = "\n".join(f"    {line}" for line in str(refusal).splitlines())
    page = f"### {name}: refused, nothing was published\n\n{text}\n"
    create_markdown_artifact(key=artifact_key(name, "refused"), markdown=page, description=name)


def artifact_key(name: str, key: str) -> str:
    """Prefect allows lower-case letters, digits and dashes."""
    return f"{name}-{key}".replace("_", "-")
