"""What each rule of quality finds in real data: rows out of its bounds, whatever a recipe does with them, and some of
them to read.

    python -m benchmarks.quality_rules ../shared/data
    python -m benchmarks.quality_rules ../shared/data --read duplicate_lines

A sample is drawn of the first source that the rule hits, and filled up from those after it; which rows, their content
decides. `--of` names the sources to count in and to draw from.
"""

import argparse
import tarfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import xxhash

from curate.read.files import InputFile, hashed
from curate.read.message_tree import gathered
from curate.read.raw import read_rows
from curate.read.shapes import recognise
from curate.record import SCHEMA, answer_text, prompt_text
from curate.rows.language import Language
from curate.rows.quality import RULES, Quality, measure

READ, SEED = 50, "0"
"""Rows of a rule that are shown, and what their order is made of."""
CHARS = 1_500
"""Characters of a prompt and of an answer that are shown: of longer ones the beginning and the end."""
FOLDERS = {
    "GPTeacher": ("ins_gpteacher", "*/*.json*"),
    "Self-Instruct": ("ins_self_instruct", "*/*.jsonl"),
    "Guanaco": ("ins_guanaco_oa", "prompts/oa_*.jsonl"),
    "OASST": ("ins_oasst_trees", "*_tree.jsonl"),
}
"""Sources of a shape that the reader knows: folder and files."""
SOURCES = (*FOLDERS, "Vicuna", "LawBench", "replies", "tldr", "CUAD", "notices")
"""Instructions; Guanaco's answers to Vicuna's questions; LawBench's Chinese tasks, and what 12 models replied to them;
and, for the rules of long text alone, manual pages, contracts and licence notices."""

Turns = list[dict[str, str]]


def turns_of(name: str, data: Path) -> Iterator[Turns]:
    """The conversations of a source; of the last three only texts."""
    if name in FOLDERS:
        folder, pattern = FOLDERS[name]
        for path in sorted((data / folder).glob(pattern)):
            form = "jsonl" if ".jsonl" in path.name else "json"
            for row in gathered(read_rows(hashed(InputFile(path, path.name, "", 0, form)))):
                if isinstance(row, dict):
                    yield from (conversation.turns for conversation in recognise(row)[1])
    elif name == "Vicuna":
        for path in sorted((data / "ins_guanaco_oa/generations/vicuna").glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                row = orjson.loads(line)
                yield _asked(row["text"], row["generation"])
    elif name == "LawBench":
        for rows in _json(data / "legal_lawbench/zero_shot.tar.xz"):
            yield from (_asked(f"{row['instruction']}\n{row['question']}", row["answer"]) for row in rows)
    elif name == "replies":
        for rows in _json(data / "legal_lawbench/predictions_zero_shot_12models.tar.xz"):
            for row in rows.values():
                said = row["origin_prompt"]
                yield _asked(said if isinstance(said, str) else said[-1]["prompt"], row["prediction"])
    elif name == "notices":
        spec = find_spec("licensedcode")
        for place in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(place).glob("data/rules/*.RULE")):
                yield [{"role": "user", "content": path.read_text(encoding="utf-8").split("---\n", 2)[2].strip()}]
    else:
        path = {"tldr": "dedup_tldr_pages/tldr_pages.tar.xz", "CUAD": "legal_cuad/full_contract_txt.tar.xz"}[name]
        yield from ([{"role": "user", "content": text.decode()}] for text in _members(data / path))


def _asked(prompt: str, answer: str) -> Turns:
    return [{"role": "user", "content": prompt.strip()}, {"role": "assistant", "content": answer.strip()}]


def _members(archive: Path) -> Iterator[bytes]:
    with tarfile.open(archive) as members:
        for member in members:
            if (content := members.extractfile(member)) is not None:
                yield content.read()


def _json(archive: Path) -> Iterator[Any]:
    yield from map(orjson.loads, _members(archive))


def records(name: str, data: Path) -> pa.Table:
    """A source's distinct rows with their languages; texts alone have a target, so that prompts are measured."""
    empty: dict[str, Any] = dict.fromkeys(SCHEMA.names) | {"meta": {}}
    rows = {}
    for turns in turns_of(name, data):
        key = xxhash.xxh3_128_hexdigest(orjson.dumps(turns))
        rows[key] = empty | {"id": key, "turns": turns, "target": None if len(turns) > 1 else "{}"}
    return Language().run(pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=SCHEMA)).kept


def found(table: pa.Table) -> dict[str, list[int]]:
    """The rows that are out of each rule's bounds."""
    asked = Quality(rules={name: {"then": "score"} for name in RULES})  # type: ignore[arg-type]
    return {name: np.flatnonzero(flags).tolist() for name, flags in asked.broken(measure(table)).items()}


def _shown(text: str) -> str:
    return text if len(text) <= CHARS else f"{text[: CHARS - 500]}\n[... {len(text) - CHARS} ...]\n{text[-500:]}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality_rules")
    parser.add_argument("data", type=Path)
    parser.add_argument("--read", choices=RULES, help="a rule whose rows to show")
    parser.add_argument("--of", choices=SOURCES, nargs="+", default=SOURCES)
    given = parser.parse_args(arguments)
    tables = {name: records(name, given.data) for name in given.of}
    hits = {name: found(table) for name, table in tables.items()}
    if given.read is None:
        print(f"{'':26}", *(f"{name:>13}" for name in tables))
        print(f"{'rows':26}", *(f"{table.num_rows:13,}" for table in tables.values()))
        for rule in RULES:
            print(f"{rule:26}", *(f"{len(hits[name][rule]):13,}" for name in tables))
        return
    wanted = READ
    for name, table in tables.items():
        prompts, answers, ids = prompt_text(table), answer_text(table), table["id"]

        def place(row: int, ids: Any = ids) -> str:
            return xxhash.xxh3_64_hexdigest((SEED + ids[row].as_py()).encode())

        for row in sorted(hits[name][given.read], key=place)[:wanted]:
            wanted -= 1
            print(f"\n===== {READ - wanted} {name} {ids[row].as_py()}\n{_shown(prompts[row].as_py())}")
            if len(table["turns"][row]) > 1:
                print(f"----- answer\n{_shown(answers[row].as_py())}")


if __name__ == "__main__":
    main()
