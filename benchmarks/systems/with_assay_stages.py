"""Assay: the stages of curation that have an equal among data-juicer's operators, over a folder of JSON lines.

Rows are read, cleaned (mojibake, controls, white space), held to bounds of length and to the quality rules, rid of
e-mail and IP addresses and of duplicates; kept rows are written as JSON lines, the others with reason and evidence. The
last line printed is a profile: seconds by step.

    python with_assay_stages.py INPUT OUTPUT THRESHOLD WORDS PERMUTATIONS PROCESSES
"""

import json
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.systems.with_assay import Profile
from curate.progress import silent
from curate.read.ingest import ingest
from curate.recipe import Recipe
from curate.sets.stage import Past, judge_rows
from curate.shards import Shard, StageTask, run_stage
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
        drop = profile.timed("read", ingest)(recipe.sources, recipe.lookups, recipe.record, source, cache, map_shards)
        shards = drop.shards
        done = list(shards)
        for stage in (recipe.clean, recipe.quality, recipe.pii):
            tasks = [StageTask(shard, cache, stage) for shard in shards]
            shards = profile.timed(stage.name, map_shards)(stage.name, run_stage, tasks)
            done += shards
        past = Past([], [], [], [], Path)
        judge = profile.timed("duplicates", judge_rows)
        shards, _ = judge(recipe.duplicates, shards, past, {}, cache, map_shards, silent)
        done += shards
        profile.timed("write", write)(shards, Path(output))
        pq.write_table(
            pa.concat_tables([shard.quarantine() for shard in done]), Path(output).with_name("removed.parquet")
        )
    print(json.dumps({name: round(seconds, 3) for name, seconds in profile.items()}))


if __name__ == "__main__":
    main()
