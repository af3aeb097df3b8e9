"""Assay: the stages of curation that have an equal among data-juicer's operators, over a folder of JSON lines.

Rows are read, cleaned (mojibake, controls, white space), held to bounds of length and to the quality rules, rid of
e-mail and IP addresses and of duplicates; kept rows are written as JSON lines, the others with reason and evidence. The
last line printed is a profile: seconds by step.

    python with_assay_stages.py INPUT OUTPUT THRESHOLD WORDS PERMUTATIONS PROCESSES
"""

import json
import sys
from functools import partial
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.systems.with_assay import Profile
from curate.cache import Shard, StageTask, read_arrow, run_stage, write_arrow
from curate.pipeline import KeyTask, apply_verdict, compared_texts, run_keys
from curate.progress import silent
from curate.read.ingest import SHARD_BYTES, ingest
from curate.recipe import Recipe
from curate.sets import duplicates
from curate.workers import process_pool

RECIPE = {
    "name": "notices",
    "contract": "unused",
    "sources": [{"files": ["*.jsonl"]}],
    "record": {"turns": [{"role": "user", "content": "text"}], "target": '{"id": id}', "meta": {"id": "id"}},
    "quality": {"min_chars": 2, "max_chars": 20000},
    "pii": {"replace": ["email", "ip"]},
    "render": {"task": "unused", "chat": "unused"},
    "fit": {"model": "unused"},
}
STAGES = ("clean", "quality", "pii")


def write(shards: list[Shard], folder: Path) -> None:
    """What is kept, a file for each shard; beside the folder, what each stage has taken out."""
    folder.mkdir()
    for number, shard in enumerate(shards):
        table = shard.kept()
        texts = pa.chunked_array([turns.values.field("content") for turns in table["turns"].chunks], pa.string())
        ids = [dict(meta)["id"] for meta in table["meta"].to_pylist()]
        with (folder / f"{number:05}.jsonl").open("wb") as file:
            for id_, text in zip(ids, texts.to_pylist(), strict=True):
                file.write(orjson.dumps({"id": int(id_), "text": text}) + b"\n")


def main() -> None:
    source, output, threshold, words, _permutations, processes = sys.argv[1:]
    settings = {
        "threshold": float(threshold),
        "shingle_words": int(words),
        "same_target": False,
        "conflicts": "keep_and_flag",
    }
    recipe = Recipe.model_validate(RECIPE | {"drop": source, "duplicates": settings})
    profile, cache = Profile(), Path(output).with_name("cache")
    with process_pool(int(processes), silent) as map_shards:
        shards = profile.timed("read", ingest)(recipe, cache, map_shards, SHARD_BYTES).shards
        done = list(shards)
        for name in STAGES:
            stage = getattr(recipe, name)
            tasks = [StageTask(name, stage.version, stage.model_dump(), stage.run, shard, cache) for shard in shards]
            shards = profile.timed(name, map_shards)(name, run_stage, tasks)
            done += shards

        def remove_duplicates() -> list[Shard]:
            tasks = [KeyTask(shard, recipe.duplicates, cache) for shard in shards]
            keys = pa.concat_tables(
                [read_arrow(each / "keys.arrow") for each in map_shards("compare", run_keys, tasks)]
            )
            verdict = duplicates.judge(keys, recipe.duplicates, compared_texts(shards, recipe.duplicates))
            columns = {
                name: pa.array(getattr(verdict, name), pa.string()) for name in ("reason", "evidence", "cluster")
            }
            write_arrow(pa.table(columns), cache / "verdict.arrow")
            tasks, begin = [], 0
            for shard in shards:
                run = partial(apply_verdict, stage="duplicates", path=cache / "verdict.arrow", begin=begin)
                tasks.append(StageTask("duplicates", 1, None, run, shard, cache))
                begin += shard.rows
            return map_shards("duplicates", run_stage, tasks)

        shards = profile.timed("duplicates", remove_duplicates)()
        done += shards
        profile.timed("write", write)(shards, Path(output))
        pq.write_table(
            pa.concat_tables([shard.quarantine() for shard in done]), Path(output).with_name("removed.parquet")
        )
    print(json.dumps({name: round(seconds, 3) for name, seconds in profile.items()}))


if __name__ == "__main__":
    main()
