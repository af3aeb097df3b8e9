"""Files that would be read in one way: a sample of their rows, what it shows, and the mapping it suggests."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from assay.beside import LOOKUP, Beside
from assay.recognised import RECOGNISED, answer_of, made_of, mapped_rows
from curate.errors import AssayError
from curate.read.chat_exports import CLAUDES, LIST
from curate.read.conversation import UNGRADED_ANSWER
from curate.read.encoding import SAMPLE, encoding_of
from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.read.message_tree import TREE_KEYS
from curate.read.profile import LAST_WORDS, MOSTLY, OFFERED, WORD, Guess, Profile, Seen, guess, json_object
from curate.read.raw import InputFile, Row, Unread, form_of
from curate.read.standoff import are_spans
from curate.read.verdicts import (
    BAD,
    GOOD,
    GRADES,
    JUDGING,
    MESSAGE,
    PRODIGY,
    PRODIGYS,
    UnknownVerdict,
    evidence,
    judge,
    meant,
    normal,
    number,
    truth,
)
from curate.record import SCHEMA
from curate.stage import UNREAD_KEY

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED = {"and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "self", "turns", "loop", "for"}
MOST_NAMED = 10
"""Columns that an error names."""
MOST_FILES = 200
"""Files of a group that are sampled, at equal distances."""
MOST_SHOWN = 5
"""Rows that cannot be read of which the reasons are kept."""
GRADED = ("_score", "_rating", "_reward", "_votes", "_correct")
"""Ends of names of columns that may grade an answer, or something else."""
OF_TEXT = frozenset({"name", "number"})
"""Columns that a row of a text file has beside its text: which file's, and which of it."""
DOCUMENTS = ("text", "pdf", "docx", "odt", "rtf", "html", "eml")
"""Formats of documents, which rows may name."""
EACH_A_ROW = (*DOCUMENTS, "front_matter", "brat")
"""Formats of which a file is a row."""
OF_CHARACTERS = ("jsonl", "json", "csv", "tsv", "text", "front_matter", "html", "conll", "brat")
"""Formats whose encoding there is something to say of."""
COUNTED = 1 << 30
"""Bytes of JSON lines that are counted line by line; of more the number of rows is an estimate."""


@dataclass
class Group:
    """Files that would be read in one way: of one format and one shape, or of one set of columns."""

    format: str | None
    """The first file's; None for archives."""
    options: dict[str, Any] = field(default_factory=dict)
    """What a recipe's source must state beside the files' names."""
    layout: str = ""
    """What was seen of how the rows are written, in words, where a source must state it."""
    files: list[InputFile] = field(default_factory=list)
    encodings: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    """How many of the files were sampled."""
    profile: Profile = field(default_factory=Profile)
    total: int | None = None
    """Rows of all files, as far as they can be told without reading them."""
    exact: bool = False
    """Whether `total` is a count; else it is an estimate."""
    shapes: Counter[str] = field(default_factory=Counter)
    """Rows by the shape that they were recognised to have."""
    taken: dict[str, str] = field(default_factory=dict)
    """Columns of recognised rows, and what each was taken for."""
    told: Counter[str] = field(default_factory=Counter)
    """What is counted of recognised rows beside their shapes."""
    records: int = 0
    """Of recognised rows."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Records that go to quarantine for what their rows say of the answers, by reason."""
    ungraded: str | None = None
    """What the first of the records with the best grade asks, of those whose answers are graded."""
    best_grade: float = -math.inf
    answers: Seen = field(default_factory=Seen)
    """The JSON objects that recognised rows have for their answers."""
    answered: int = 0
    """Recognised records that have an answer."""
    record: dict[str, Any] | None = None
    """The first row as a record, where one can be made of it."""
    record_goes: str | None = None
    """Why that record goes to quarantine, if it does."""
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Where and why, of the first rows that cannot be read."""
    unreadable: int = 0
    unrecognised: str | None = None
    """Why the first of the rows without a shape has none."""
    beside: Beside | None = None
    """The documents that a column of the rows names."""
    asks: str | None = None
    """What the first of the rows asks of which only the recipe can say what is to be learned."""

    @property
    def formats(self) -> list[str]:
        """The formats of its files: what is in a file decides, so rows alike are one group in whatever format."""
        return list(dict.fromkeys(file.format or "archive" for file in self.files))

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def recognised(self) -> bool:
        """Whether nearly all rows have a shape."""
        return sum(self.shapes.values()) >= MOSTLY * max(1, self.profile.rows)

    @property
    def structured(self) -> bool:
        """Whether nearly all answers of recognised rows are JSON objects."""
        return self.answered > 0 and self.answers.count >= MOSTLY * self.answered

    @property
    def lone(self) -> bool:
        """Whether all there is is one object of no shape: settings, mostly."""
        return self.format == "json" and self.profile.rows == self.total == 1 and not self.recognised

    @property
    def has_mapping(self) -> bool:
        """Whether a mapping is known or guessed, or the rows ask for one."""
        found = self.guess
        guessed = found.prompt is not None and bool(found.answers) and not self.lone
        return self.recognised or self.asks is not None or guessed

    @property
    def guess(self) -> Guess:
        if self.beside is not None:
            found = guess(self.profile, frozenset({self.beside.column}))
            answers = found.answers or (
                (found.prompt,) if found.prompt else ()
            )  # a document asks, whatever else is there
            return replace(found, prompt=self.beside.column, answers=answers)
        columns = {name for name in self.profile.columns if not name.startswith("_")}
        return guess(self.profile, OF_TEXT if columns <= OF_TEXT | {"text"} else frozenset())

    def mapping(self) -> dict[str, Any]:
        """The recipe's `record`: nothing where a shape tells all, else by what columns look like.

        Raises:
            AssayError: nothing looks like a question, or like an answer.
        """
        if not self.profile.rows:
            what = "there is no row in it"
            if self.unread:
                what = "none of its rows can be read. " + ": ".join(self.unread[0])
            raise AssayError(
                f"{self.files[0].name}: {what}.",
                remedy="Mend the file, or state in a recipe how it is written (`format`, `encoding`, `delimiter`).",
            )
        if self.asks is not None and not self.recognised:
            raise AssayError(
                f"{self.files[0].name}: {self.asks}.",
                remedy="Write that into the recipe's `record`: only you can know it.",
            )
        if self.lone:
            raise AssayError(
                f"{self.files[0].name}: one object, of no known shape; nothing tells what its columns are.",
                remedy="If rows lie below a key, name it with `--rows KEY`; else write the recipe's `record` by hand.",
            )
        found = self.guess
        if self.recognised:
            mapping: dict[str, Any] = {"target": "turns[-1].content"} if self.structured else {}
        else:
            if found.prompt is None or not found.answers:
                what = "a prompt" if found.prompt is None else "an answer"
                columns = named((name for name in self.profile.columns if not name.startswith("_")), MOST_NAMED)
                raise AssayError(
                    f"No column looks like {what}; there are {columns}.",
                    remedy=self._undecoded()
                    or "Write the recipe's `record` by hand: `turns` for what is said, `target` for a JSON answer.",
                )
            self._certain(found)
            said = self.expression(found.prompt)
            turns = [{"role": "user", "content": said if self.beside is None else f"{LOOKUP}[{said}].text"}]
            mapping = {"turns": turns}
            if not found.target:
                turns.append({"role": "assistant", "content": self.expression(found.answers[0])})
            elif self.profile.holds_objects(found.answers[0]):
                mapping["target"] = self.expression(found.answers[0])
            else:
                mapping["target"] = {name: self._answer(name, found.prompt) for name in found.answers}
            if found.group is not None:
                mapping["group"] = self.expression(found.group)
            if verdicts := self._verdicts():
                mapping["accept"] = " and ".join(verdicts.values())
        if found.label is not None and self.taken.get(found.label) in (None, "label"):
            mapping["label"] = self.expression(found.label)
        return mapping

    def _certain(self, found: Guess) -> None:
        """That nothing says otherwise of the answers that were guessed.

        Raises:
            AssayError: several columns have the answer's name, or one judges written answers.
        """
        annotated = any(name in self.profile.columns for name in PRODIGYS)
        if annotated and any(row.get("answer") in PRODIGY for row in self.profile.first):
            raise AssayError(
                f"{self.files[0].name}: answer is Prodigy's verdict on an annotation, no answer.",
                remedy='Write the recipe\'s `record` by hand: `turns`, `target`, and `accept: answer == "accept"`.',
            )
        answer = found.answers[0]
        last = WORD.findall(answer.lower())[-1:]
        same = [
            name for name in self.profile.columns if WORD.findall(name.lower())[-1:] == last and name != found.prompt
        ]
        if len(same) > 1 and last and last[0] in LAST_WORDS and answer.lower() not in LAST_WORDS:
            raise AssayError(
                f"{self.files[0].name}: {named(same, MOST_NAMED)} may each be the answer.",
                remedy="Write the recipe's `record` by hand: nothing is guessed of answers that may be bad ones.",
            )
        if found.target:
            offers = [
                name for name in self.profile.columns if OFFERED & {*WORD.findall(name.lower())} and name != answer
            ]
            if offers:
                raise AssayError(
                    f"{self.files[0].name}: {named(offers, MOST_NAMED)} offers answers, which {answer} chooses from.",
                    remedy="Write the recipe's `record` by hand: in `turns` the question, and what is offered.",
                )
            return
        used = {found.prompt, found.label, *found.answers, *self._verdicts()}
        for row in self.profile.first:
            why, _ = judge({name: value for name, value in row.items() if name not in used})
            if why is not None:
                column, value = why.evidence["column"], why.evidence["value"]
                grades = self._grades(column)
                asks = None if grades else why.evidence.get("message")
                asks = asks or evidence(column, type(value)(max(grades)) if grades else value)["message"]
                raise AssayError(
                    f"{self.files[0].name}: {column} is {value!r}, which may say that an answer is bad.",
                    remedy=f"Write the recipe's `record` by hand (`turns`), and {asks.partition(': ')[2]}.",
                )

    def _answer(self, name: str, prompt: str) -> str:
        """A column as a key of the target; places in the prompt as what stands there."""
        if are_spans((row.get(name), row.get(prompt)) for row in self.profile.first):
            spans, text = self.expression(name), self.expression(prompt)
            return f'{spans} | entities({text}) | map("pick", "label", "text") | list'
        return self.expression(name)

    def expression(self, name: str) -> str:
        """A column as the recipe's expressions name it, where some rows lack it with none in its place."""
        plain = IDENTIFIER.fullmatch(name) and name.lower() not in RESERVED
        missing = self.profile.columns[name].count < self.profile.rows
        return (name if plain else f"_row[{json.dumps(name)}]") + (" | default(none)" if missing else "")

    def read_as(self) -> dict[str, str]:
        """What columns are read as; those that a recipe would take no notice of are not there."""
        found = self.guess
        roles: dict[str | None, str] = {found.label: "label"}
        if self.recognised:
            noticed, _ = self._noticed
            roles.update(dict.fromkeys(noticed, "read") | self.taken)
        elif self.asks is None and not self.lone:
            roles.update(dict.fromkeys(self._verdicts(), "feedback"))
            roles |= {found.group: "group", found.prompt: "prompt"}
            roles.update(dict.fromkeys(found.answers, "target" if found.target else "answer"))
        return {name: role for name, role in roles.items() if name is not None}

    def notes(self) -> list[str]:
        """What a reader of the inspection should know, a sentence each."""
        if not self.profile.rows:
            return []
        read = self.read_as()
        columns = [
            name
            for name, seen in self.profile.columns.items()
            if seen.filled and name not in read and not name.startswith("_")
        ]
        said = [f"No notice is taken of {named(columns, MOST_NAMED)}."] if columns else []
        if self.opened < len(self.files):
            said.append(f"Of {len(self.files):,} files {self.opened:,} were opened, at equal distances.")
        if self.recognised:
            _, keys = self._noticed
            keys = {key for key in keys if meant(key) not in MESSAGE | JUDGING}
            keys |= {name.removeprefix(UNREAD_KEY) for name in self.told if name.startswith(UNREAD_KEY)}
            said += [f"Of messages these keys are not read: {named(sorted(keys), MOST_NAMED)}."] if keys else []
        said += [
            f"{count:,} of the {self.records:,} records of these rows would go to quarantine as {why}."
            for why, count in self.rejected.items()
        ]
        said += [
            f"Values of {name} that differ by case or space alone: {named(map(repr, alike), MOST_NAMED)}."
            for name, role in read.items()
            if role in ("label", "target") and (alike := self.profile.columns[name].alike())
        ]
        undecoded = self._undecoded() if self.has_mapping else None  # else `mapping` says so
        return said + ([undecoded] if undecoded else []) + self.questions()

    def _undecoded(self) -> str | None:
        """What to do of columns whose bytes are no text that is known."""
        names = [name for name in self.profile.columns if any(_has_bytes(row.get(name)) for row in self.profile.first)]
        if not names:
            return None
        return (
            f"{named(names, MOST_NAMED)}: bytes that are not UTF-8. If they are text, state in which `encoding`, as by "
            "`--encoding latin-1`."
        )

    def questions(self) -> list[str]:
        """What only the reader can know: which answers are good, a sentence each."""
        read = self.read_as()
        columns = {name: seen for name, seen in self.profile.columns.items() if seen.filled and name not in read}
        verdicts = [
            name
            for name, seen in columns.items()
            if meant(name) in GOOD | BAD | GRADES
            or normal(name).endswith(GRADED)
            or seen.types.keys() <= {"boolean", "null"}
        ]
        asked = [f"{self.ungraded}."] if self.ungraded else []
        if verdicts and self.has_mapping:
            name = verdicts[0]
            first = self.expression(name)
            if grades := self._grades(name):
                text = " | float" if columns[name].types["string"] else ""
                first += f"{text} >= {max(grades) * (0.8 if max(grades) > 0 else 1):g}"
            asked.append(
                f"Whether an answer is good may stand in {named(verdicts, MOST_NAMED)}, of which no notice is taken. "
                f"If it does, say in the recipe which answers are learned, such as `record: {{accept: {first}}}`."
            )
        return asked

    def _grades(self, name: str) -> list[float]:
        """The different numbers in a column."""
        return [grade for grade in map(number, self.profile.distinct.get(name, ())) if grade is not None]

    def _verdicts(self) -> dict[str, str]:
        """Columns of a guessed mapping that call answers good or bad, and the expression that is true of the good."""
        found = self.guess
        taken = {found.prompt, found.label, found.group, *found.answers}
        said: dict[str, str] = {}
        for name, seen in self.profile.columns.items():
            known = meant(name)
            if known not in GOOD | BAD or name in taken or not seen.filled:
                continue
            if seen.types.keys() <= {"boolean", "null"}:
                said[name] = f"{self.expression(name)} is not {'true' if known in BAD else 'false'}"
                continue
            with suppress(UnknownVerdict):  # what it says is no verdict
                good = [value for value in sorted(self.profile.distinct.get(name, ())) if truth(value, known in BAD)]
                said[name] = f"({self.expression(name)} | string) in {json.dumps(good, ensure_ascii=False)}"
        return said

    @cached_property
    def _noticed(self) -> tuple[set[str], set[str]]:
        """By trial: the columns of the first rows without one of which another record would be made, and the keys of
        their messages without which none would."""
        columns: set[str] = set()
        keys: dict[str, bool] = {}
        for row in self.profile.first:
            made = made_of(row)
            columns |= {name for name in row if made_of({key: row[key] for key in row if key != name}) != made}
            for name, value in row.items():
                messages = isinstance(value, list) and all(isinstance(each, dict) for each in value)
                if name not in columns or not messages:
                    continue
                for key in {key for each in value for key in each if each[key] not in (None, "", [], {})}:
                    without = [{other: each[other] for other in each if other != key} for each in value]
                    keys[key] = keys.get(key, False) or made_of(row | {name: without}) != made
        known = {key for key in keys if meant(key) in JUDGING} | ({*TREE_KEYS} if "oasst" in self.shapes else set())
        known |= CLAUDES if LIST in columns else set()
        return columns, {key for key, read in keys.items() if not read} - known

    def sample(self, rows: int) -> None:
        """Look at some rows of all files, as many of each."""
        files = self.files[:: max(1, -(-len(self.files) // min(MOST_FILES, rows)))]
        self.opened = len(files)
        for file in files:
            if file.format in OF_CHARACTERS and form_of(file)[0] is None:
                self.encodings[_encoding(file)] += 1
        read: Counter[str] = Counter()
        for file, at, row in mapped_rows(files, rows):
            read[file.name] += 1
            if isinstance(row, Unread):
                self.unreadable += 1
                if len(self.unread) < MOST_SHOWN:
                    where = f"{file.name}, line {row.line}" if row.line is not None else f"{file.name}, row {at}"
                    self.unread.append((where, row.message))
            else:
                self._add(row)
        self.total, self.exact = self._count(read, files, rows)

    def show_first(self) -> None:
        """Make a record of the first row, where it can be made."""
        if self.profile.first:
            try:
                tables = self.beside.tables(self.profile.first[:1]) if self.beside else {}
                mapper = Mapper(RecordMapping.model_validate(self.mapping()), tables)
                made = mapper.records(self.profile.first[0], self.files[0].name)
            except (AssayError, RowError):
                return
            self.record = {name: made[0][name] for name in SCHEMA.names if made[0].get(name)}
            self.record_goes = f"to quarantine as {made[0]['rejected'][0]}" if made[0]["rejected"] else None

    def _add(self, row: Row) -> None:
        self.profile.add(row)
        try:
            records = RECOGNISED.records(row, "")
        except RowError as problem:
            why = problem.evidence
            self.unrecognised = self.unrecognised or str(why["message"])
            self.asks = self.asks or (str(why["message"]) if "asks" in why else None)
            return
        shape, *others = records[0]["told"]
        self.shapes[shape] += 1
        self.told.update(others)
        self.records += len(records)
        for record in records:
            self.taken |= record["taken"]
            if record["rejected"]:
                reason, why = record["rejected"]
                self.rejected[reason] += 1
                if reason == UNGRADED_ANSWER and (best := number(why["value"]) or 0.0) > self.best_grade:
                    self.best_grade, self.ungraded = best, str(why["message"])
                continue
            if not all(turn["content"].strip() for turn in record["turns"]):
                self.rejected["record_schema (a turn says nothing)"] += 1
            if (answer := answer_of(record)) is not None:
                self.answered += 1
                if (found := json_object(answer)) is not None:
                    self.answers.add(found)

    def _count(self, read: Counter[str], sampled: list[InputFile], rows: int) -> tuple[int | None, bool]:
        """The rows of all files: (number or None, whether it is a count)."""
        if self.format in EACH_A_ROW and not self.layout:
            return len(self.files), True
        if all(read[file.name] < max(1, rows // len(sampled)) for file in sampled):
            exact = len(sampled) == len(self.files)
            return round(read.total() * len(self.files) / len(sampled)), exact
        first = self.profile.first
        each = sum(len(json.dumps(row, default=str, ensure_ascii=False).encode()) for row in first) / max(1, len(first))
        counts = [_rows_of(file, each) for file in self.files] if self.size <= COUNTED else []
        if not counts or None in counts:
            known = each and all(form_of(file)[0] is None and file.format is not None for file in self.files)
            return (round(self.size / each), False) if known else (None, False)
        return sum(number for number, _ in filter(None, counts)), all(exact for _, exact in filter(None, counts))


def _rows_of(file: InputFile, size: float) -> tuple[int, bool] | None:
    """The rows of a file of rows of about `size` bytes (number, whether it is a count); None where it is packed."""
    if file.format is None or form_of(file)[0] is not None:
        return None
    if file.format == "parquet":
        import pyarrow.parquet as pq

        return pq.ParquetFile(file.path).metadata.num_rows, True
    if file.format in ("jsonl", "csv", "tsv"):
        return _lines(file) - (file.format != "jsonl" and file.options.header), file.format == "jsonl"
    return (round(file.size / size), False) if size else None


def named(names: Iterable[str], most: int, rest: str = "more") -> str:
    """Names one after the other, no more than `most` of them, and how many the `rest` are."""
    every = list(names)
    return (", ".join(every[:most]) or "none") + (f" and {len(every) - most:,} {rest}" if len(every) > most else "")


def _has_bytes(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_has_bytes, value.values() if isinstance(value, dict) else value))
    return isinstance(value, bytes)


def _encoding(file: InputFile) -> str:
    if file.options.encoding is not None:
        return file.options.encoding
    with file.path.open("rb") as stream:
        return encoding_of(stream.read(SAMPLE)) or "not UTF-8"


def _lines(file: InputFile) -> int:
    """Lines that are not blank."""
    with file.path.open("rb") as stream:
        return sum(not line.isspace() for line in stream)
