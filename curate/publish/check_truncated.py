"""Checks of truncation: no row is too long, and no answer or message was cut to make it fit."""

import json
from pathlib import Path

from curate.manifest import DatasetManifest
from curate.publish.check_result import Check
from curate.publish.check_text import answer_of, reasoning_of
from curate.publish.published import read_rows, row_name, split_rows


def check_lengths(folder: Path, manifest: DatasetManifest) -> Check:
    longest = manifest.recipe["fit"]["max_tokens"]
    check = Check("lengths", f"no published row has more than {longest} tokens, every one quarantined for it has", "5")
    for name, row in split_rows(folder, ["source", "tokens"]):
        check.compared += 1
        if not 0 < row["tokens"] <= longest:
            check.fail(f"{row_name(name, row)}: {row['tokens']} tokens")
    for row in read_rows(folder / "quarantine.parquet", ["source", "stage", "reason", "evidence"]):
        if (row["stage"], row["reason"]) == ("fit", "too_many_tokens"):
            check.compared += 1
            if json.loads(row["evidence"])["tokens"] <= longest:
                check.fail(f"{row_name('quarantine', row)}: not too long, by its evidence {row['evidence']}")
    return check


def check_texts(folder: Path, manifest: DatasetManifest) -> Check:
    """Nothing is cut on the way from the record to the text; a chat template may strip what is around a message."""
    check = Check("texts", "the answer stands whole in the messages, and every message whole in the text", "5")
    thinks = manifest.recipe["render"].get("reasoning", "omit") != "omit"
    columns = ["turns", "target", "source", "messages", "text", *(["reasoning"] if thinks else [])]
    for name, row in split_rows(folder, columns):
        check.compared += 1
        last = row["messages"][-1]["content"] if row["messages"] else ""
        if answer_of(row).strip() not in last or (thinks and reasoning_of(row) not in last):
            check.fail(f"{row_name(name, row)}: the last message does not hold the answer")
        at = 0
        for number, message in enumerate(row["messages"]):
            content = message["content"].strip()
            found = row["text"].find(content, at)
            if found < 0:
                check.fail(f"{row_name(name, row)}: the text does not hold message {number} ({message['role']})")
                break
            at = found + len(content)
    return check
