"""Assay: rows cleaned, where SETTINGS has `clean`, and judged by `duplicates`; with `answers`, told what they answer.

python mark_with_assay.py INPUT OUTPUT SETTINGS
"""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from curate.record import SCHEMA
from curate.rows.clean import Clean
from curate.sets.duplicates import Duplicates, judge
from curate.sets.signed import Part


def records(table: pa.Table, answers: bool) -> pa.Table:
    """The texts as records of one turn."""
    rows = [
        {
            "id": f"{row['id']:032}",
            "turns": [{"role": "user", "content": row["text"]}],
            "target": row["answer"] if answers else None,
            "source": {"file": "texts", "row": row["id"]},
        }
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def main() -> None:
    source, output, given = sys.argv[1:]
    settings = json.loads(given)
    table = pq.read_table(source)
    rows = records(table, settings.get("answers", False))
    if "clean" in settings:
        # one that is rejected would count as removed
        rows = Clean(**settings["clean"], template_markers="keep").run(rows).kept
    duplicates = Duplicates(**settings.get("duplicates", {}))
    keys = duplicates.keys_of(rows)
    found = judge(keys.drop([*duplicates.apart]), duplicates, [Part.of(keys.num_rows, lambda: keys)])
    cluster = pa.array(found.cluster).dictionary_encode().indices
    pq.write_table(pa.table({"id": table["id"], "kept": pa.array(found.reason).is_null(), "cluster": cluster}), output)


if __name__ == "__main__":
    main()
