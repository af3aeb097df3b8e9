"""What the terminal shows of a result: its tables and places, of some the JSON, of inspections and previews more."""

import json
from itertools import groupby
from typing import Any

import yaml
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from assay.console import harmless, print_places, print_tables, standard_output
from assay.contracts import WholeContract
from assay.file_group import Group
from assay.inspection import MOST_GROUPS, Inspection
from assay.openlineage import Lineage
from assay.previews import Preview, Previews
from assay.result import Result
from assay.stage_list import RecipeSchema
from curate.errors import AssayError
from curate.rows.tokens import Token


def show(result: Result) -> None:
    """Print a result on standard output."""
    if isinstance(result, Previews):
        standard_output().print(KEY)
        for row in result.rows:
            print_preview(row)
        print_places(result.places())
        return
    if isinstance(result, RecipeSchema):
        standard_output().print(Text(json.dumps(result.schema, indent=1)), soft_wrap=True)
        return
    if isinstance(result, Lineage) and result.sent is None:
        for line in result.lines():
            standard_output().print(Text(line), soft_wrap=True)
        return
    if isinstance(result, WholeContract):
        print_contract(result)
    elif isinstance(result, Inspection):
        print_inspection(result)
    else:
        print_tables(result.tables())
    print_places(result.places())


KEY = Text.assemble(
    ("⟦trained⟧", "black on green"), "  ", ("«special token»", "bold"),
    ("  │ border  · space  ⇥ tab  ⏎ line's end  ⋯ part of a character", "dim"),
)  # fmt: skip
"""What the marks of tokens mean."""


def print_preview(preview: Preview) -> None:
    """Print one row: its record, its messages, and its tokens, what is trained marked with and without colours."""
    console = standard_output()
    read_as = f", read as {preview.shape}" if preview.shape else ""
    console.print(Rule(Text(harmless(preview.source + read_as))))
    if preview.rejected is not None:
        console.print(Text("Quarantined by ", style="bold yellow") + Text(harmless(str(preview.rejected))))
        return
    if preview.record:
        record = json.dumps(preview.record, ensure_ascii=False, indent=1)
        console.print(Panel(Text(harmless(record)), title="record"))
    for message in preview.messages:
        console.print(Panel(Text(harmless(message["content"])), title=Text(harmless(f"message: {message['role']}"))))
    console.print(Panel(_drawn(preview.tokens), title="tokens (trained ones marked)"))
    console.print(Text(harmless(f"id {preview.id}: {preview.told()}")), soft_wrap=True)
    for problem in preview.problems:
        console.print(Text("Not trained: ", style="bold red") + Text(harmless(problem)))


def _drawn(tokens: list[Token]) -> Text:
    """Tokens with a border between each two, a line's end at each line's end."""
    text = Text()
    for trained, run in groupby(tokens, lambda token: token.trained):
        colours = "black on green" if trained else ""
        text.append("⟦" if trained else "", colours)
        between = ""
        for token in run:
            text.append(between, colours if trained else "dim")
            if token.special:
                text.append(f"«{token.shown()}»", f"bold {colours}")
            else:
                text.append(token.shown(), colours)
            text.append("\n" if token.ends_line else "")
            between = "" if token.ends_line else "│"
        text.append("⟧" if trained else "", colours)
    return text


SECTIONS = {
    "contract": "The contract, merged with what is common to all (Open Data Contract Standard)",
    "target_schema": "What an answer must be (JSON Schema)",
    "row_schema": "What a row must be, or it goes to quarantine (JSON Schema)",
    "suite": "What the whole set must be, or nothing is published (Great Expectations)",
    "service_levels": "What a drop must be, or nothing is published",
    "columns": "What the set's columns must be besides, or nothing is published",
    "sha256": "What the contract is known by",
}


class _Whole(yaml.SafeDumper):
    """YAML in which nothing is an alias of something above."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def print_contract(whole: WholeContract) -> None:
    """Print a contract's sections, each below its heading; all of it is one YAML document."""
    console = standard_output()
    for key, value in whole.data().items():
        console.print(Text(f"# {SECTIONS[key]}", style="bold"), soft_wrap=True)
        written = yaml.dump({key: value}, Dumper=_Whole, sort_keys=False, allow_unicode=True, width=100)
        console.print(Text(harmless(written)), soft_wrap=True)


MOST_UNREAD, LONGEST_TURN = 3, 400
"""What is shown of an inspection: rows of a group that cannot be read, characters of a text."""


def print_inspection(inspection: Inspection) -> None:
    """Print what would be read: the files, and of the largest group its columns, how they are read, and one row."""
    console = standard_output()
    files, *columns = inspection.tables()
    print_tables([files])
    for sentence in inspection.left_out():
        console.print(Text(harmless(f"{sentence}.")))
    group = inspection.groups[0]
    unread = [each for other in inspection.groups for each in other.unread[:MOST_UNREAD]]
    for where, why in unread[:MOST_GROUPS]:
        console.print(Text("Cannot be read: ", style="bold yellow") + Text(harmless(f"{where}: {why}")))
    if not group.profile.rows:
        return
    if len(inspection.groups) > 1:
        console.print(Text(harmless(f"Below: {files.rows[0][0]}.")))
    print_tables(columns)
    console.print(Text(harmless(_reading(group))))
    for note in group.notes():
        console.print(Text(harmless(note), style="yellow"))
    told: dict[str, Any] = {"sources": [{"files": ["..."], **group.options}]} if group.options else {}
    if group.beside is not None:
        told["lookups"] = group.beside.lookups()
    try:
        if mapping := group.mapping():
            told["record"] = mapping
    except AssayError as error:
        console.print(Text(harmless(f"{error.message} {error.remedy}"), style="yellow"))
    if told:
        written = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
        console.print(Panel(Text(harmless(written.rstrip())), title="in a recipe"))
    if group.record is not None:
        record = json.dumps(_shortened(group.record), ensure_ascii=False, indent=1)
        title = f"the first row as a record, {group.record_goes}" if group.record_goes else "the first row as a record"
        console.print(Panel(Text(harmless(record)), title=title))
    if inspection.written:
        recipe = inspection.written[0]
        next_step = f"Next: `assay preview {recipe}` shows rows as they will be trained; then `assay curate {recipe}`."
        console.print(Text(harmless(next_step)), soft_wrap=True)
    elif group.record is not None:
        console.print("With --write FOLDER, a recipe and a contract to start with are written there.")


def _reading(group: Group) -> str:
    """How a starter recipe would read the rows."""
    seen = f"Seen: {group.layout}. " if group.layout else ""
    if group.recognised:
        known = ", ".join(shape for shape, _ in group.shapes.most_common())
        ends = ", whose answers are JSON: they become the target" if group.structured else ""
        return f"{seen}Read as {known}{ends}. The recipe needs no mapping of turns."
    if group.asks is not None:
        return f"{seen}Rows of no known shape, of which nothing is guessed."
    # What was looked for stands in docs/shapes.md, and the columns above: what is left is what the row has amiss.
    amiss = (group.unrecognised or "").partition("; looked for ")[0]
    why = f" ({amiss})" if amiss and not amiss.startswith("columns ") else ""
    return f"{seen}Rows of no known shape{why}; what the columns look like is a guess."


def _shortened(value: object) -> object:
    """A record with its long texts cut, and how much was cut."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, str) and len(value) > LONGEST_TURN:
        return f"{value[:LONGEST_TURN]}… ({len(value) - LONGEST_TURN:,} more characters)"
    return value
