"""Checks of what is there: the files are those that were published, and every row is in one of them, once."""

import json
from collections import Counter
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from curate.manifest import DatasetManifest
from curate.publish.check_result import NAMED, Check
from curate.publish.published import SPLITS, Row, forgotten_rows, read_rows, row_count, row_name
from curate.store import changed, hashes, manifest_bytes, strangers, version_of

CHANGING = {"decisions", "clean", "pii", "fit", "ground"}
"""Stages that change what rows say; their counters tell how many; of `ground` one does, by its policy."""
UNCHANGING = {"read", "language", "quality", "decontaminate", "validate", "render", "duplicates", "semantic"} | {
    *("doubt", "balance", "select", "split")
}
SAID = {"id", "turns", "target", "reasoning", "source"}
"""Columns by which an id is found again; versions from before rows could think have no `reasoning`."""


def check_files(folder: Path, manifest: DatasetManifest) -> Check:
    check = Check("files", "files are those that were published (SHA-256), and readable", "", what="files")
    for name, sha256 in hashes(folder, manifest.files).items():
        check.compared += 1
        path = folder / name
        problem = changed(folder, name, sha256)
        if not path.is_file():
            check.fail(f"{name}: not readable: it is not there")
            continue
        if problem:
            check.fail(f"{name}: {problem}")
        if path.suffix == ".parquet":
            try:
                with pq.ParquetFile(path) as file:
                    for _ in file.iter_batches():
                        pass
            except (pa.ArrowException, OSError) as error:
                check.fail(f"{name}: not readable: {str(error).splitlines()[0]}")
    for name in strangers(folder, manifest.files):
        check.fail(f"{name}: not one of the files that were published")
    return check


def check_version_id(folder: Path) -> Check:
    check = Check("version", "the version is the manifest's hash", "", 1, "manifest")
    manifest = json.loads(manifest_bytes(folder))
    found = version_of(manifest)
    if found != manifest["version"]:
        check.fail(f"manifest.json: says version {manifest['version']}, its content is {found}")
    return check


def check_stages(folder: Path, manifest: DatasetManifest) -> Check:
    """Stage by stage and in all, against the rows that the files hold."""
    counts, stages = manifest.counts, manifest.stages
    claim = "rows in (and made of others) = rows kept + rows quarantined, at every stage and in all"
    check = Check("stages", claim, "1", counts.rows_in)
    if len({stage.name for stage in stages}) < len(stages):
        check.fail("manifest.json: two stages of one name")
    rows = counts.rows_in
    for stage in stages:
        if not stage.rows_in == rows == stage.kept + stage.rejected - stage.made:
            check.fail(
                f"stage {stage.name}: {rows} rows come, {stage.kept} kept + {stage.rejected} rejected"
                + (f", {stage.made} made" if stage.made else "")
            )
        if sum(stage.reasons.values()) != stage.rejected:
            check.fail(f"stage {stage.name}: {stage.rejected} rejected, for reasons {stage.reasons}")
        rows = stage.kept
    held = {name: row_count(folder / f"{name}.parquet") for name in SPLITS}
    for name, count in held.items():
        if count != counts.splits[name]:
            check.fail(f"{name}.parquet: {count} rows, {counts.splits[name]} by the manifest")
    gone = sum(each.rows for each in manifest.forgotten if each.split is not None)
    if not sum(held.values()) == counts.kept == rows - gone:
        check.fail(f"{sum(held.values())} rows in the splits, {counts.kept} kept, {rows} left by the last stage")
    quarantined = row_count(folder / "quarantine.parquet")
    total = counts.rows_in + sum(stage.made for stage in stages) - counts.forgotten
    if counts.forgotten != sum(each.rows for each in manifest.forgotten):
        check.fail(f"{counts.forgotten} rows forgotten, {sum(each.rows for each in manifest.forgotten)} by their fates")
    if quarantined != counts.quarantined or quarantined + sum(held.values()) != total:
        check.fail(f"{sum(held.values())} rows in the splits and {quarantined} in quarantine, of {total}")
    _check_reasons(check, folder, manifest)
    return check


def _check_reasons(check: Check, folder: Path, manifest: DatasetManifest) -> None:
    """Every quarantined row names a stage of the manifest, and each of its reasons is found as often as it says, but
    for the rows that were forgotten."""
    stages = manifest.stages
    found = Counter(
        (row["stage"], row["reason"]) for row in read_rows(folder / "quarantine.parquet", ["stage", "reason"])
    )
    told = Counter({(stage.name, reason): n for stage in stages for reason, n in stage.reasons.items()})
    told.subtract({(str(each.stage), str(each.reason)): each.rows for each in manifest.forgotten if each.stage})
    names = {stage.name for stage in stages}
    for stage, reason in sorted(found.keys() | told.keys()):
        if stage not in names:
            check.fail(f"quarantine.parquet: {found[stage, reason]} rows of {stage}, no stage of the manifest")
        elif found[stage, reason] != told[stage, reason]:
            check.fail(
                f"quarantine.parquet: {found[stage, reason]} rows {stage}/{reason}, {told[stage, reason]} by the stage"
            )


def check_sources(folder: Path, manifest: DatasetManifest) -> Check:
    """Rows of a file are numbered from 0, so a number that is missing is a row that was lost.

    Of rows that are made of others, as many are there more than once as the stages say they made.
    """
    check = Check("sources", "each row of each file is published or quarantined, once", "1")
    made = sum(stage.made for stage in manifest.stages)
    numbers: dict[str, list[int]] = {}
    for name in (*SPLITS, "quarantine"):
        for row in read_rows(folder / f"{name}.parquet", ["source"]):
            check.compared += 1
            numbers.setdefault(row["source"]["file"], []).append(row["source"]["row"])
    for row in forgotten_rows(folder):
        numbers.setdefault(row["file"], []).append(row["row"])
    more = sum(len(found) - len(set(found)) for found in numbers.values())
    if made and more != made:
        check.fail(f"{more} rows are there again, {made} were made of others")
    for file, found in sorted(numbers.items()):
        if sorted(set(found) if made else found) == list(range(len(set(found)))):
            continue
        twice = sorted(number for number, times in Counter(found).items() if times > 1)
        lost = sorted(set(range(max(found) + 1)) - set(found))
        check.fail(f"{file}: rows there twice {twice[:NAMED]}, rows lost {lost[:NAMED]}")
    return check


def check_ids(folder: Path, manifest: DatasetManifest) -> Check:
    """An id is the hash of what a row said when it was read; so where no stage has changed a row, it is still.

    Which rows were changed is not kept, only how many by each rule of a stage: no more may have another id. Stages of
    other packages may change rows without telling how many: then nothing is known.
    """
    check = Check("ids", "an id is the hash of what its row says, but for as many rows as stages have changed", "1")
    stages = {stage.name: stage.counters for stage in manifest.stages}
    if stages.keys() - CHANGING - UNCHANGING:
        check.how = f"none: {', '.join(sorted(stages.keys() - CHANGING - UNCHANGING))} may change rows"
        return check
    others: list[str] = []
    for split in SPLITS:
        path = folder / f"{split}.parquet"
        for row in read_rows(path, sorted(SAID & {*pq.read_schema(path).names})):
            check.compared += 1
            if _id(row) != row["id"]:
                others.append(row_name(split, row))
    rules = {name: stages.get(name, {}) for name in CHANGING}
    rules["ground"] = {rule: rows for rule, rows in rules["ground"].items() if rule == "null"}
    changed_rows = sum(sum(counters.values()) for counters in rules.values())
    if len(others) > changed_rows:
        for other in others:
            check.fail(f"{other}: its id is not that of what it says ({changed_rows} rows were changed)")
    return check


def _id(row: Row) -> str:
    """XXH3-128 of [turns, target] as JSON, with the target's reasoning where there is one; a turn is [role, content],
    with its reasoning where there is one, and that and false where it is not trained."""
    turns = []
    for turn in row["turns"]:
        reasoning, untrained = turn.get("reasoning"), turn.get("trained") is False
        more = [reasoning, False] if untrained else [] if reasoning is None else [reasoning]
        turns.append([turn["role"], turn["content"], *more])
    thought = [] if row.get("reasoning") is None else [row["reasoning"]]
    return xxhash.xxh3_128_hexdigest(orjson.dumps([turns, row["target"], *thought]))


def check_json_lines(folder: Path) -> Check:
    check = Check("json_lines", "the JSON lines hold the same rows as the Parquet files, but for `signals`", "1")
    for name in SPLITS:
        with (folder / f"{name}.jsonl").open("rb") as lines:
            for number, row in enumerate(read_rows(folder / f"{name}.parquet")):
                check.compared += 1
                row["meta"] = {entry["key"]: entry["value"] for entry in row["meta"]}
                row.pop("signals", None)
                try:
                    same = orjson.loads(next(lines, b"null")) == row
                except orjson.JSONDecodeError:
                    same = False
                if not same:
                    check.fail(row_name(f"{name}.jsonl, line {number + 1}", row))
            if more := sum(1 for _ in lines):
                check.fail(f"{name}.jsonl: {more} more lines than rows")
    return check
