"""Files that would be read in one way: a sample of their rows, what it shows, and the mapping it suggests."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from curate.errors import AssayError
from curate.read.encoding import SAMPLE, encoding_of
from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.read.profile import MOSTLY, Guess, Profile, Seen, guess, json_object
from curate.read.raw import InputFile, Row, Unread, read_rows
from curate.read.verdicts import BAD, GOOD, GRADES
from curate.record import SCHEMA

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED = {"and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "self", "turns", "loop", "for"}
MOST_NAMED = 10
"""Columns that an error names."""
MOST_FILES = 200
"""Files of a group that are sampled, at equal distances."""
MOST_SHOWN = 5
"""Rows that cannot be read of which the reasons are kept."""
OF_TEXT = frozenset({"name", "number"})
"""Columns that a row of a text file has beside its text: which file's, and which of it."""
COUNTED = 1 << 30
"""Bytes of JSON lines that are counted line by line; of more the number of rows is an estimate."""


@dataclass
class Group:
    """Files that would be read in one way: of one format and one shape, or of one set of columns."""

    format: str | None
    """None for archives."""
    packed: bool = False
    """Whether the files are compressed, or archives."""
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
    rejected: Counter[str] = field(default_factory=Counter)
    """Records that go to quarantine for what their rows say of the answers, by reason."""
    answers: Seen = field(default_factory=Seen)
    """The JSON objects that recognised rows have for their answers."""
    answered: int = 0
    """Recognised records that have an answer."""
    record: dict[str, Any] | None = None
    """The first row as a record, where one can be made of it."""
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Where and why, of the first rows that cannot be read."""
    unreadable: int = 0
    unrecognised: str | None = None
    """Why the first of the rows without a shape has none."""
    asks: str | None = None
    """What the first of the rows asks of which only the recipe can say what is to be learned."""

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
    def guess(self) -> Guess:
        columns = {name for name in self.profile.columns if not name.startswith("_")}
        return guess(self.profile, OF_TEXT if columns <= OF_TEXT | {"text"} else frozenset())

    def mapping(self) -> dict[str, Any]:
        """The recipe's `record`: nothing where a shape tells all, else by what columns look like.

        Raises:
            AssayError: nothing looks like a question, or like an answer.
        """
        if not self.profile.rows:
            what = "none of its rows can be read" if self.unreadable else "there is no row in it"
            raise AssayError(
                f"{self.files[0].name}: {what}.",
                remedy="Mend the file, or state in a recipe how it is written (`format`, `encoding`, `delimiter`).",
            )
        if self.asks is not None and not self.recognised:
            raise AssayError(
                f"{self.files[0].name}: {self.asks}.",
                remedy="Write the recipe's `record` by hand: nothing is guessed of answers that may be bad ones.",
            )
        found = self.guess
        if self.recognised:
            mapping: dict[str, Any] = {"target": "turns[-1].content"} if self.structured else {}
        else:
            if found.prompt is None or not found.answers:
                what = "a prompt" if found.prompt is None else "an answer"
                columns = named(self.profile.columns, MOST_NAMED)
                raise AssayError(
                    f"No column looks like {what}; there are {columns}.",
                    remedy="Write the recipe's `record` by hand: `turns` for what is said, `target` for a JSON answer.",
                )
            turns = [{"role": "user", "content": self.expression(found.prompt)}]
            mapping = {"turns": turns}
            if not found.target:
                turns.append({"role": "assistant", "content": self.expression(found.answers[0])})
            elif self.profile.holds_objects(found.answers[0]):
                mapping["target"] = self.expression(found.answers[0])
            else:
                mapping["target"] = {name: self.expression(name) for name in found.answers}
            if found.group is not None:
                mapping["group"] = self.expression(found.group)
        if found.label is not None and self.taken.get(found.label) in (None, "label"):
            mapping["label"] = self.expression(found.label)
        return mapping

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
            noticed, _ = self._noticed()
            roles.update(dict.fromkeys(noticed, "read") | self.taken)
        elif self.asks is None:
            roles |= {found.group: "group", found.prompt: "prompt"}
            roles.update(dict.fromkeys(found.answers, "target" if found.target else "answer"))
        return {name: role for name, role in roles.items() if name is not None}

    def notes(self) -> list[str]:
        """What a reader of the inspection should know, a sentence each."""
        if not self.profile.rows:
            return []
        read = self.read_as()
        columns = [name for name in self.profile.columns if name not in read and not name.startswith("_")]
        said = [f"No notice is taken of {named(columns, MOST_NAMED)}."] if columns else []
        if self.opened < len(self.files):
            said.append(f"Of {len(self.files):,} files {self.opened:,} were opened, at equal distances.")
        if self.recognised:
            _, keys = self._noticed()
            keys |= {name.partition(".")[2] for name in self.told if name.startswith("message_key_not_read.")}
            said += [f"Of messages these keys are not read: {named(sorted(keys), MOST_NAMED)}."] if keys else []
        verdicts = [name for name in columns if name.lower() in GOOD | BAD | GRADES]
        if verdicts:
            said.append(
                f"Whether an answer is good may stand in {named(verdicts, MOST_NAMED)}, of which no notice is taken. "
                "If it does, say in the recipe which answers are learned: `record.accept`."
            )
        said += [
            f"{count:,} records of the rows looked at go to quarantine as {why}."
            for why, count in self.rejected.items()
        ]
        return said

    def _noticed(self) -> tuple[set[str], set[str]]:
        """By trial: the columns of the first rows without one of which another record would be made, and the keys of
        their messages without which none would."""
        columns: set[str] = set()
        keys: dict[str, bool] = {}
        for row in self.profile.first:
            made = _made(row)
            columns |= {name for name in row if _made({key: row[key] for key in row if key != name}) != made}
            for name, value in row.items():
                if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
                    continue
                for key in {key for each in value for key in each if each[key] is not None}:
                    without = [{other: each[other] for other in each if other != key} for each in value]
                    keys[key] = keys.get(key, False) or _made(row | {name: without}) != made
        return columns, {key for key, read in keys.items() if not read}

    def sample(self, rows: int) -> None:
        """Look at some rows of all files, as many of each."""
        files = self.files[:: max(1, -(-len(self.files) // min(MOST_FILES, rows)))]
        self.opened = len(files)
        for file in files:
            if self.format not in (None, "parquet", "arrow") and not self.packed:
                self.encodings[_encoding(file)] += 1
        read: Counter[str] = Counter()
        for file, number, row in mapped_rows(files, rows):
            read[file.name] += 1
            if isinstance(row, Unread):
                self.unreadable += 1
                if len(self.unread) < MOST_SHOWN:
                    where = f"{file.name}, line {row.line}" if row.line is not None else f"{file.name}, row {number}"
                    self.unread.append((where, row.message))
            else:
                self._add(row)
        self.total, self.exact = self._count(read, files, rows)
        if self.profile.first:
            try:
                mapper = Mapper(RecordMapping.model_validate(self.mapping()), {})
                made = mapper.records(self.profile.first[0], files[0].name)
            except (AssayError, RowError):
                return
            self.record = {name: made[0][name] for name in SCHEMA.names if made[0].get(name)}

    def _add(self, row: Row) -> None:
        self.profile.add(row)
        records = record_of(row)
        if not records:
            why = why_unrecognised(row)
            self.unrecognised = self.unrecognised or str(why["message"])
            self.asks = self.asks or (str(why["message"]) if "asks" in why else None)
            return
        shape, *others = records[0]["told"]
        self.shapes[shape] += 1
        self.told.update(others)
        for record in records:
            self.taken |= record.get("taken") or {}
            if record.get("rejected"):
                self.rejected[record["rejected"][0]] += 1
            elif (answer := answer_of(record)) is not None:
                self.answered += 1
                if (found := json_object(answer)) is not None:
                    self.answers.add(found)

    def _count(self, read: Counter[str], sampled: list[InputFile], rows: int) -> tuple[int | None, bool]:
        """The rows of all files: (number or None, whether it is a count)."""
        if self.format in ("text", "front_matter") and not self.layout:
            return len(self.files), True
        if all(read[file.name] < max(1, rows // len(sampled)) for file in self.files):
            return read.total(), True
        if self.format == "parquet":
            import pyarrow.parquet as pq

            return sum(pq.ParquetFile(file.path).metadata.num_rows for file in self.files), True
        if self.format is None or self.packed:
            return None, False
        if self.format in ("jsonl", "csv", "tsv") and self.size <= COUNTED:
            lines = sum(_lines(file) for file in self.files)
            header = self.format != "jsonl" and self.options.get("header", True)
            return lines - len(self.files) * header, self.format == "jsonl"
        seen = sum(len(json.dumps(row, default=str, ensure_ascii=False).encode()) for row in self.profile.first)
        return (round(self.size * len(self.profile.first) / seen), False) if seen else (None, False)


def mapped_rows(files: list[InputFile], rows: int | None = None) -> Iterator[tuple[InputFile, int, Row | Unread]]:
    """Rows of files, each with its file and number, messages of one tree put together; from each file as many, if no
    more than `rows`."""
    each = None if rows is None else max(1, rows // len(files))
    for file in files:
        for number, row in islice(rows_recognised(file), each):
            yield file, number, row


def record_of(row: Row) -> list[dict[str, Any]]:
    """The records of a row whose shape is recognised; none of another."""
    try:
        return _RECOGNISE.records(row, "")
    except RowError:
        return []


def why_unrecognised(row: Row) -> dict[str, Any]:
    """What is said of a row whose shape is not recognised: the quarantine's evidence."""
    try:
        _RECOGNISE.records(row, "")
    except RowError as problem:
        return problem.evidence
    return {"message": ""}


def rows_recognised(file: InputFile) -> Iterator[tuple[int, Row | Unread]]:
    """A file's rows with their numbers, messages of one tree put together."""
    return _RECOGNISE.rows(read_rows(file))


_RECOGNISE = Mapper(RecordMapping(), {})


def _made(row: Row) -> Any:
    """What of a row's records depends on the row."""
    return [{key: value for key, value in record.items() if key not in ("told", "taken")} for record in record_of(row)]


def answer_of(record: dict[str, Any]) -> str | None:
    last = record["turns"][-1]
    return str(last["content"]) if last["role"] == "assistant" else None


def named(names: Iterable[str], most: int) -> str:
    """Names one after the other, no more than `most` of them."""
    every = list(names)
    return (", ".join(every[:most]) or "none") + (f" and {len(every) - most:,} more" if len(every) > most else "")


def _encoding(file: InputFile) -> str:
    if file.options.encoding is not None:
        return file.options.encoding
    with file.path.open("rb") as stream:
        return encoding_of(stream.read(SAMPLE)) or "not UTF-8"


def _lines(file: InputFile) -> int:
    """Lines that are not blank."""
    with file.path.open("rb") as stream:
        return sum(not line.isspace() for line in stream)
