"""The data set card: README.md of a version, made from its manifest and the files beside it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from curate.contract import Contract, Field
from curate.manifest import DatasetManifest
from curate.publish.bars import ranked
from curate.publish.pages import one_line, report_environment
from curate.record import SPLITS

COLUMNS = tuple(
    Field(name, logical_type, False, description, "", "")
    for name, logical_type, description in (
        ("source", "object", "Where the row was read: drop (its hash), file, row (0-based)."),
        ("meta", "array", "Other values of the source, as key and value."),
        ("cluster", "string", "Near-duplicates share it; no cluster lies in two splits, and no group does."),
        (
            "messages",
            "array",
            "What the model is asked and answers, as the task template puts it, up to the last answer that is trained, "
            "with the reasoning that is written before an answer; `trained` is false where an answer is not trained.",
        ),
        ("text", "string", "The messages in the chat template."),
        ("tokens", "integer", "Length of the text in the base model's tokens."),
    )
)
"""Of every version, beside those that its contract documents."""


def write_card(folder: Path, manifest: DatasetManifest, contract: Contract) -> None:
    """Write README.md: the data set card, with front matter that `datasets.load_dataset(folder)` reads.

    Args:
        folder: holds train, validation and test.parquet.
        manifest: of the version.
        contract: documents the fields.
    """
    rows = pa.concat_tables([pq.read_table(folder / f"{split}.parquet", columns=["language"]) for split in SPLITS])
    languages = [code for code, count in ranked(rows["language"]) if code != "und" and count >= rows.num_rows / 100]
    front = {
        "pretty_name": one_line(contract.name),
        "license": one_line(contract.properties.get("license", "")),
        "language": languages,
        "task_categories": ["text-generation"],
        "tags": [one_line(tag) for tag in contract.tags],
        "size_categories": [_size_category(rows.num_rows)],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}.parquet"} for split in SPLITS],
            }
        ],
    }
    front = {key: value for key, value in front.items() if value}
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=float("inf"))
    page = report_environment().get_template("card.md.jinja")
    fields = [*contract.fields, *COLUMNS]
    text = page.render(header=header, manifest=manifest.content(), contract=contract, fields=fields, splits=SPLITS)
    (folder / "README.md").write_text(text, encoding="utf-8")


def _size_category(rows: int) -> str:
    """The hub's name for a number of rows."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
    return next((name for bound, name in bounds if rows < bound), "n>10M")
