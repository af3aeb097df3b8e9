"""Profile: what raw rows are like before anything is known of them, and which of their columns look like what."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from curate.read.raw import Row
from curate.read.verdicts import ASKED
from curate.text import strict_json

MOST_VALUES = 50
"""Different values that a class may have: with more of them it is no class to be listed."""
LONGEST_VALUE = 80
"""Characters of a class's name."""
REPEATED = 5
"""How often each value of a class is met on average: names and numbers that happen to repeat are met less often."""
MOST_KEYS = 100
"""Keys of an object; one with more maps things to things, and its keys are no fields."""
TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")


@dataclass
class Seen:
    """What a place in JSON-like values has held: a column, or a key of the objects in it."""

    count: int = 0
    types: Counter[str] = field(default_factory=Counter)
    values: Counter[str] | None = field(default_factory=Counter)
    """Texts and how often they were met; None once there are too many, or too long ones, for a class."""
    keys: "dict[str, Seen] | None" = field(default_factory=dict)
    """Of objects; None once there are too many."""
    items: "Seen | None" = None
    """Of lists, all their items together."""
    characters: int = 0
    """Of all texts."""
    example: Any = None
    """The first value that is not null, nor empty."""

    def add(self, value: Any) -> None:
        self.count += 1
        kind = json_type(value)
        self.types[kind] += 1
        if self.example in (None, "", [], {}):
            self.example = value
        if kind == "string":
            self.characters += len(value)
            if self.values is not None:
                self.values[value] += 1
                if len(self.values) > MOST_VALUES or len(value) > LONGEST_VALUE:
                    self.values = None
        if kind == "array":
            self.items = self.items or Seen()
            for item in value:
                self.items.add(item)
        elif kind == "object":
            for key, inner in value.items() if self.keys is not None else ():
                self.keys.setdefault(str(key), Seen()).add(inner)  # type: ignore[union-attr]
            if self.keys is not None and len(self.keys) > MOST_KEYS:
                self.keys = None

    @property
    def filled(self) -> int:
        """How many values were neither null nor empty text."""
        empty = self.values[""] if self.values is not None else 0
        return self.count - self.types["null"] - empty

    def is_text(self) -> bool:
        return self.filled > 0 and set(self.types) <= {"string", "null"}

    def is_class(self) -> bool:
        """Whether the values are texts of a few kinds."""
        return self.is_text() and bool(self.values) and self.filled >= REPEATED * len(self.values or ())

    def alike(self) -> list[str]:
        """Texts of a class that differ from another one by case or white space alone."""
        plain = {value: " ".join(value.split()).casefold() for value in sorted(self.values or ())}
        ways = Counter(plain.values())
        return [value for value, way in plain.items() if ways[way] > 1]

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of what was seen: types, keys that are always there, and the values of a class."""
        types = [name for name in TYPES if self.types[name] and not (name == "integer" and self.types["number"])]
        if self.is_class():
            return {"enum": [*sorted(self.values or ()), *([None] if self.types["null"] else [])]}
        schema: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if self.items is not None and self.items.count:
            schema["items"] = self.items.schema()
        if self.types["object"] and self.keys:
            schema["properties"] = {key: seen.schema() for key, seen in self.keys.items()}
            schema["required"] = [key for key, seen in self.keys.items() if seen.count == self.types["object"]]
            schema["additionalProperties"] = False
        return schema


def json_type(value: Any) -> str:
    """The name that JSON Schema has for a value's type; of what JSON does not know, that of its text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, (list, tuple)):
        return "array"
    return "object" if isinstance(value, dict) else "string"


def plain(value: Any) -> Any:
    """A value of a raw row with what JSON does not know (dates, decimals, bytes) as text."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)


def json_object(value: Any) -> dict[str, Any] | None:
    """The JSON object that a value is, or that is written in it."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = strict_json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


@dataclass
class Profile:
    """The columns of rows."""

    rows: int = 0
    columns: dict[str, Seen] = field(default_factory=dict)
    objects: dict[str, Seen] = field(default_factory=dict)
    """Of columns in which JSON objects are written: the objects."""
    distinct: dict[str, set[str]] = field(default_factory=dict)
    """The different values of columns of text and numbers."""
    first: list[Row] = field(default_factory=list)
    """A few rows, as they were read."""

    def add(self, row: Row) -> None:
        self.rows += 1
        if len(self.first) < FIRST:
            self.first.append(row)
        for key, value in plain(row).items():
            self.columns.setdefault(key, Seen()).add(value)
            if isinstance(value, (str, int, float)):
                self.distinct.setdefault(key, set()).add(str(value))
            if (found := json_object(value)) is not None:
                self.objects.setdefault(key, Seen()).add(found)

    def grounded(self, name: str, prompt: str | None) -> bool:
        """Whether what the JSON objects in a column say recurs, or stands in the prompt, mostly."""
        leaves = [
            (key, str(value).lower(), str(row.get(prompt or "", "")).lower())
            for row in self.first
            for key, value in _leaves(json_object(row.get(name)))
            if value not in (None, "")
        ]
        met = Counter((key, value) for key, value, _ in leaves)
        good = sum(met[key, value] > 1 or value in text for key, value, text in leaves)
        return 2 * good >= len(leaves)

    def holds_objects(self, name: str) -> bool:
        """Whether a column has JSON objects, nearly always."""
        return name in self.objects and self.objects[name].count >= MOSTLY * max(1, self.columns[name].filled)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """What is no object or list in a value, by its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value


FIRST = 20
"""Rows that a profile keeps."""
MOSTLY = 0.9
PROMPTS = (
    *("prompt", "instruction", "question", "query", "input", "text", "full_text", "content", "body", "document"),
    *("article", "passage", "facts", "context", "sentence", "abstract", "description"),
    *("frage", "anweisung", "consigne", "pregunta", "pergunta", "domanda", "问题", "指令", "質問", "질문"),
)
ANSWERS = (
    *("answer", "output", "response", "completion", "target", "reply", "generation", "summary", "translation"),
    *("corrected", "correction", "fixed"),
    *("headline", "code", "sql", "masked", "label", "labels", "category", "class", "entities", "spans"),
    *("antwort", "réponse", "respuesta", "resposta", "risposta", "回答", "答案", "답변"),
)
LABELS = ("label", "category", "class", "kind", "type", "topic", "task", "lang", "language")
GROUPS = (
    *("group", "conversation_id", "thread_id", "session_id", "case_id", "case", "document_id", "doc_id", "template_id"),
    *("cluster", "user_id", "author"),
)
"""Names that columns commonly have, the most telling first."""
LAST_WORDS = frozenset(PROMPTS[:4] + ANSWERS[:9])
"""Those that tell as much as the last word of a name: `agent_reply`, `User Prompt`."""
UNLEARNABLE = frozenset(
    """id uuid guid hash checksum md5 sha sha1 sha256 sha512 digest crc crc32 etag signature path file filename folder
    mailbox maildir directory dir url uri href link split fold partition date time datetime timestamp created updated
    modified version revision commit index idx row line offset""".split()  # noqa: SIM905
)
"""Words of a name by which a column says where, when or under which number its row is, and not what it says."""
OFFERED = frozenset({"choices", "options", "endings", "distractors", "candidates", "incorrect", "wrong", "rejected"})
"""Words of a name, or keys of an object, by which a column offers answers, wrong ones too."""
WORD = re.compile(r"[^\W_]+")
REFERENCE = re.compile(
    r"[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d([T ]\d\d:.*)?|\d{9,}"
    r"|([a-z]:|~|\.{1,2})?[/\\]\S*|\w+://\S*|[\w.-]+([/\\][\w.-]+){2,}",
    re.IGNORECASE,
)
"""A checksum, a UUID, a date or a timestamp, a path or a URL."""
PROSE = 15
"""Characters that the texts of a column have on average, at least, if people wrote them."""


@dataclass(frozen=True)
class Guess:
    """Which columns look like what; a guess to be looked at, not a finding."""

    prompt: str | None
    answers: tuple[str, ...]
    """One, or where no column has an answer's name all classes together."""
    target: bool
    """Whether the answer is structured: an object, a list, a number or one of a few values."""
    label: str | None
    group: str | None
    id: str | None


def guess(profile: Profile, aside: frozenset[str] = frozenset()) -> Guess:
    """Guess by names first, then by what the columns hold; those `aside` are nothing."""
    named = {name: seen for name, seen in profile.columns.items() if name not in aside and not name.startswith("_")}
    distinct = {name: len(profile.distinct.get(name, ())) for name in named}
    group = _named(GROUPS, [name for name, seen in named.items() if distinct[name] < seen.filled])
    columns = {name: seen for name, seen in named.items() if name != group and 2 * seen.filled > profile.rows}
    telling = {name for name in columns if learnable(name, profile)}
    texts = {name: seen for name, seen in columns.items() if seen.is_text() and not profile.holds_objects(name)}
    free = {name: seen for name, seen in texts.items() if not seen.is_class()}
    written = [name for name in columns if profile.holds_objects(name)]
    mean = {name: seen.characters / seen.count for name, seen in free.items()}
    prompt = _named(PROMPTS, free) or max(
        (name for name in free if name in telling and _named(ANSWERS, [name]) is None),
        key=lambda name: (mean[name], name),
        default=None,
    )
    others = [name for name in columns if name != prompt]
    classes = {name: seen for name, seen in columns.items() if seen.is_class() and len(seen.values or ()) > 1}
    classes = {name: seen for name, seen in classes.items() if name in telling}
    said = next((name for name in written if name in telling and profile.grounded(name, prompt)), None)
    offering = {name for name in others if name not in telling and OFFERED & {*WORD.findall(name.lower())}}
    others = [name for name in others if name not in offering]
    answer = _named(ANSWERS, [name for name in written if name in others]) or said or _named(ANSWERS, others)
    prose = [name for name in free if name in telling and mean[name] >= PROSE]
    if answer is None and not classes and len(prose) == 2:
        prompt, answer = prose  # in the order in which people write them
    answers = (answer,) if answer is not None else tuple(classes)
    unique = [name for name in others if profile.rows > 1 and distinct[name] == profile.rows]
    return Guess(
        prompt,
        answers,
        bool(answers) and answers[0] not in free,
        _named(LABELS, classes) or next((name for name in answers if name in classes), None),
        group,
        next((name for name in unique if name.lower() in ("id", "uuid") or name.lower().endswith("_id")), None),
    )


def learnable(name: str, profile: Profile) -> bool:
    """Whether a column may be something to be said, or a class: it is no checksum, id, date, path or the like."""
    values = sorted(profile.distinct.get(name, ()))[:FIRST]
    words = WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    keys = profile.objects[name].keys if name in profile.objects else None
    offered = OFFERED & {*words, *(keys or ())}
    return (
        not offered
        and not (UNLEARNABLE & {*words})
        and not (values and all(REFERENCE.fullmatch(value) for value in values))
    )


def _named(names: Iterable[str], columns: Collection[str]) -> str | None:
    by_name: dict[str, str] = {}
    for column in columns:
        words = WORD.findall(column.lower())
        if words and words[-1] in LAST_WORDS and words[0] not in ASKED:
            by_name.setdefault(words[-1], column)
    by_name |= {column.lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def example(value: Any, width: int) -> str:
    """A value on one line of at most `width` characters."""
    text = value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"
