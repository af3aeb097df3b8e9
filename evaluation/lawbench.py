"""Real replies of models to LawBench's tasks 3-1 (articles), 3-3 (charges) and 3-4 (prison term), from its files.

The tasks ask for `[法条]刑法第128条、刑法第341条<eoa>`, `[罪名]盗窃;诈骗<eoa>` and `[刑期]12月<eoa>`. A reply is held
to the form that was asked for, as if to JSON; LawBench (Fei et al. 2023) takes whatever numbers or names of charges it
finds anywhere in a reply. `official` holds its score, by its rules, so that the two stand side by side.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import AssayError
from evaluation.judge.answer import Generated
from evaluation.judge.form import ABSENT, Class, Flag, Form, short, signs
from evaluation.replies import Replies, require_size
from evaluation.settings import FieldRule

NUMERAL = "零〇一二两三四五六七八九十百千"
NUMBER = rf"(?:\d+|[{NUMERAL}]+)"
BEGINS = rf"(?:(?<!\d)(?=\d)|(?<![{NUMERAL}])(?=[{NUMERAL}]))"
"""Where a number begins, so that none is looked at from each of its digits."""
DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
UNITS = {"十": 10, "百": 100, "千": 1000}
PENALTY = math.log(216)
"""LawBench's log-distance of a reply that names no term."""

Values = list[Any]


@dataclass(frozen=True)
class Task:
    """One task of LawBench."""

    key: str
    """What stands in the brackets of a reply and before the right answer."""
    name: str
    field: str
    schema: dict[str, Any]
    rules: dict[str, FieldRule]
    read: Callable[[str], Any]
    """The value of what stands between the marks; ABSENT where it is not what was asked for."""
    find: Callable[[str], Any]
    """The value that a reader who is not strict finds in a text; ABSENT where there is none."""
    official: Callable[[Sequence[str], Sequence[Any]], dict[str, Any]]

    def form_of(self, output: str, cut_off: bool = False) -> Form:
        """The form of a reply, by the classes of `evaluation.judge.form`; `[key]...<eoa>` takes the place of JSON.

        `wrong_value`: the marks are right, what stands between them is not what was asked for; `truncated`: there is no
        end mark; `no_answer`: there is no mark at all.
        """
        text = output.strip()
        cut: set[Flag] = {"truncated"} if cut_off else set()
        if not text:
            return Form("empty", "nothing but white space", frozenset[Flag]({"empty", *cut}))
        marked = re.search(rf"\[{self.key}\](.*?)(<eoa>|\Z)", text, re.DOTALL)
        between = marked[1] if marked else text
        value = self.read(between.strip()) if marked else ABSENT
        found = self.find(between) if value is ABSENT else value
        extracted = ABSENT if found is ABSENT else {self.field: found}
        if marked and marked.span() == (0, len(text)) and marked[2]:
            if value is not ABSENT:
                return Form("valid", "", frozenset(cut), extracted, extracted, True)
            detail = short(f"between the marks stands {between.strip()!r}")
            raw = {self.field: between.strip()}
            return Form("wrong_value", detail, frozenset[Flag]({"wrong_value", *cut}), raw, extracted)
        flags = cut | signs(text)
        kind: Class
        if marked and marked[2]:
            before, after = text[: marked.start()].strip(), text[marked.end() :].strip()
            kind = "text_around" if before and after else "text_before" if before else "text_after"
        elif "refusal" in flags:
            kind = "refusal"
        elif "repetition" in flags:
            kind = "repetition"
        else:
            kind = "truncated" if marked else "no_answer"
            if marked:
                flags.add("truncated")
        return Form(
            kind, f"not [{self.key}]...<eoa> and nothing else", frozenset(flags), ABSENT, extracted, found is not ABSENT
        )


def number_of(text: str) -> int:
    """The number that digits or Chinese numerals write, by the first 15 of them."""
    text = text[:15]
    if text.isdecimal():
        return int(text)
    total, digit = 0, 0
    for char in text:
        if char in UNITS:
            total += (digit or 1) * UNITS[char]
            digit = 0
        else:
            digit = digit * 10 + DIGITS[char] if digit else DIGITS[char]
    return total + digit


ARTICLE = re.compile(
    rf"(?:《?(?:中华人民共和国)?刑法》?)?(第?)({NUMBER})(条?)(?:之[{NUMERAL}])?(?:第?{NUMBER}款)?(?:第?{NUMBER}项)?"
)


def read_articles(text: str) -> Any:
    """`刑法第266、159条` -> [159, 266]."""
    pieces = [
        ARTICLE.fullmatch(piece) if len(piece) <= LONGEST_ARTICLE else None
        for piece in re.split(r"[、，,;；\s]+|(?<=条)[和及与]", text)
        if piece
    ]
    if (
        not pieces
        or any(piece is None for piece in pieces)
        or not any(piece and (piece[1] or piece[3]) for piece in pieces)
    ):
        return ABSENT
    return sorted({number_of(piece[2]) for piece in pieces if piece})


LONGEST_ARTICLE = 60
"""Characters of an article's name, with its paragraph and item; what is longer is prose."""


def find_articles(text: str) -> Any:
    return sorted({number_of(each) for each in re.findall(rf"第\s*({NUMBER})\s*条", text)}) or ABSENT


def read_charges(text: str) -> Any:
    """`盗窃罪;诈骗` -> ["盗窃", "诈骗"]: the word for crime at the end of a charge says nothing."""
    names = [re.sub(r"(?<=.)罪$", "", name.strip()) for name in re.split(r"[;；]", text) if name.strip()]
    return sorted(set(names)) if names and all(len(name) <= LONGEST_CHARGE for name in names) else ABSENT


LONGEST_CHARGE = 40
"""Characters of a charge's name; what is longer is prose."""


def find_charges(text: str) -> Any:
    """The charges of a reply that is nothing but them, but for marks."""
    bare = re.sub(r"^\s*\[?罪名\]?[:：]?|<eoa>|[。.]\s*$", "", text).strip()
    return read_charges(bare) if len(bare) <= LONGEST_CHARGE and "\n" not in bare else ABSENT


FOR_LIFE = ("无期", "死刑")


def read_months(text: str) -> Any:
    if life := next((word for word in FOR_LIFE if text.startswith(word)), None):
        return life
    months = re.fullmatch(rf"({NUMBER})\s*个?月", text)
    return number_of(months[1]) if months else ABSENT


def find_months(text: str) -> Any:
    """The first term that a text names, years among them."""
    term = re.search(rf"{BEGINS}(?:({NUMBER})\s*年(?:零|又)?(?:({NUMBER})\s*个月)?|({NUMBER})\s*个?月)", text)
    if term is None:
        return next((word for word in FOR_LIFE if word in text), ABSENT)
    return number_of(term[3]) if term[3] else 12 * number_of(term[1]) + (number_of(term[2]) if term[2] else 0)


def in_digits(text: str) -> str:
    """A text with its Chinese numerals as digits."""
    return re.sub(f"[{NUMERAL}]+", lambda match: str(number_of(match[0])), text)


def within_marks(text: str, end: str, said: Callable[[str], str]) -> str:
    """`re.sub(f"第(.*?){end}", ...)` in linear time: what stands within each 第 and the next `end` of its line, as
    `said` gives it."""
    lines = []
    for line in text.split("\n"):
        *parts, rest = line.split(end)
        made = []
        for part in parts:
            before, mark, name = part.partition("第")
            made.append(before + said(name) if mark else part + end)
        lines.append("".join([*made, rest]))
    return "\n".join(lines)


def _mean_f1(given: Sequence[set[Any]], expected: Sequence[set[Any]]) -> dict[str, Any]:
    scores = [2 * len(one & other) / (len(one) + len(other)) for one, other in zip(given, expected, strict=True)]
    return {
        "score": round(sum(scores) / len(scores), 6),
        "abstained": round(sum(not one for one in given) / len(given), 6),
    }


def official_articles(outputs: Sequence[str], expected: Sequence[Any]) -> dict[str, Any]:
    """Mean F1 of the first number of each piece between `、`, whatever it numbers; `第...款` is dropped before."""
    given = []
    for output in outputs:
        pieces = (within_marks(piece.replace("万元", "元"), "款", lambda _: "") for piece in output.split("、"))
        numbers = (re.search(r"\d+", in_digits(within_marks(piece, "条", lambda name: name))) for piece in pieces)
        given.append({int(number[0][:15]) for number in numbers if number})
    return _mean_f1(given, [set(right["articles"]) for right in expected])


def official_charges(outputs: Sequence[str], expected: Sequence[Any]) -> dict[str, Any]:
    """Mean F1 of the charges whose names occur in a reply. LawBench looks for its list of 189; we look for those that
    are expected of some row, so a charge that none has is no mistake here."""
    names = {name for right in expected for name in right["charges"]}
    return _mean_f1(
        [{name for name in names if name in output} for output in outputs],
        [set(right["charges"]) for right in expected],
    )


def official_months(outputs: Sequence[str], expected: Sequence[Any]) -> dict[str, Any]:
    """Mean distance of logarithms over the rows that are not for life, and 1 less its share of PENALTY as the score:
    the first `N个月` of a reply, else the first `N月` (a date's month too), else the first `N年`."""
    distances, silent = [], 0
    for output, right in zip(outputs, expected, strict=True):
        if right["months"] in FOR_LIFE:
            continue
        text = in_digits(output)
        months = re.search(r"(?<!\d)(\d+)个月", text) or re.search(r"(?<!\d)(\d+)月", text)
        years = re.search(r"(?<!\d)(\d+)年", text)
        if months or years:
            named = int(months[1][:15]) if months else 12 * int(years[1][:15]) if years else 0
            distances.append(abs(math.log(right["months"] + 1) - math.log(named + 1)))
        else:
            silent += 1
            distances.append(PENALTY)
    distance = sum(distances) / max(len(distances), 1)
    return {
        "score": round(1 - distance / PENALTY, 6),
        "log_distance": round(distance, 6),
        "abstained": round(silent / max(len(outputs), 1), 6),
    }


def _object(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {field: schema}, "required": [field], "additionalProperties": False}


ARTICLES = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True}
CHARGES = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
MONTHS = {"anyOf": [{"type": "integer", "minimum": 0}, {"enum": list(FOR_LIFE)}]}
TASKS = [
    Task(
        *("法条", "lawbench-articles", "articles", _object("articles", ARTICLES), {}),
        *(read_articles, find_articles, official_articles),
    ),
    Task(
        *("罪名", "lawbench-charges", "charges", _object("charges", CHARGES), {}),
        *(read_charges, find_charges, official_charges),
    ),
    Task(
        *("刑期", "lawbench-term", "months", _object("months", MONTHS)),
        {"months": FieldRule.model_validate({"as": "number", "relative": 0.25})},
        *(read_months, find_months, official_months),
    ),
]


def load(path: Path) -> dict[str, dict[str, Any]] | None:
    """The rows of a file in LawBench's format, by number; None of any other file.

    Raises:
        AssayError: it is too large.
    """
    if path.suffix != ".json":
        return None
    require_size(path)
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return rows if isinstance(rows, dict) and rows and all(map(_is_row, rows.values())) else None


def _is_row(row: Any) -> bool:
    match row:
        case {"origin_prompt": str() | [{"prompt": str()}, *_], "prediction": str(), "refr": str()}:
            return True
    return False


def read(files: dict[Path, dict[str, dict[str, Any]]]) -> list[tuple[Task, Replies, list[Path]]]:
    """Replies by task: each file is one model's, named by its folder.

    Raises:
        AssayError: a file is of another task, or models were not asked the same.
    """
    by_task: dict[str, dict[Path, dict[str, dict[str, Any]]]] = {}
    for path, rows in files.items():
        by_task.setdefault(next(iter(rows.values()))["refr"].partition(":")[0], {})[path] = rows
    tasks = {task.key: task for task in TASKS}
    if unknown := sorted(by_task.keys() - tasks.keys()):
        path = next(iter(by_task[unknown[0]]))
        raise AssayError(f"{path}: no task that can be scored.", remedy="Tasks 3-1, 3-3 and 3-4 of LawBench can.")
    return [(task, _replies(task, by_task[task.key]), list(by_task[task.key])) for task in TASKS if task.key in by_task]


def _replies(task: Task, files: dict[Path, dict[str, dict[str, Any]]]) -> Replies:
    first = next(iter(files.values()))
    asked = {key: row["origin_prompt"] for key, row in first.items()}
    questions = {key: text if isinstance(text, str) else text[0]["prompt"] for key, text in asked.items()}
    for path, rows in files.items():
        if {key: row["refr"] for key, row in rows.items()} != {key: row["refr"] for key, row in first.items()}:
            raise AssayError(f"{path}: other questions than in {next(iter(files))}.", remedy="Score it by itself.")
    return Replies(
        name=task.name,
        ids=list(first),
        expected=[{task.field: _gold(task, row["refr"])} for row in first.values()],
        systems={
            path.parent.name: [Generated(rows[key]["prediction"]) for key in first] for path, rows in files.items()
        },
        prompts=list(questions.values()),
        groups=["".join(question.split()) for question in questions.values()],
        form_of=task.form_of,
        official=task.official,
    )


def _gold(task: Task, text: str) -> Any:
    value = task.read(text.partition(":")[2].strip())
    if value is ABSENT:
        raise AssayError(f"{text!r} is no right answer of the task {task.key}.", remedy="Mend the file.")
    return value
