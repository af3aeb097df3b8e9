"""Tables of what was published, as artifacts of the run."""

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

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


def artifact_key(name: str, key: str) -> str:
    """Prefect allows lower-case letters, digits and dashes."""
    return f"{name}-{key}".replace("_", "-")
