"""Checks of grounding: what published answers say stands in their published prompts, or is listed, or the contract says
why it does not (law 10). Looked for a second time, in another way, which lets through no less than the stage does."""

import calendar
import json
import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from curate.manifest import DatasetManifest
from curate.publish.check_result import Check
from curate.publish.check_text import asked_turns
from curate.publish.published import read_rows, row_name, split_rows

LISTED = "ungrounded.parquet"
DECISIONS = "decisions.parquet"
LONGEST = 300
"""Characters of a value in the list."""
NEAR = 16
"""Words between the parts of a date, at most."""
DAY = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?")
TOKEN = re.compile(r"\d+|[^\W\d_]+")
NUMBER = re.compile(r"\d[\d.,'’ \u00a0\u2009\u202f]*")
SPELLED = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth thirtieth one two three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty thousand hundred"
)
"""Words of days and years."""


def check_grounded(folder: Path, manifest: DatasetManifest) -> list[Check]:
    """One check of the values, where the recipe grounds them; none where it does not.

    The rows are those that are published, as later stages have left them.
    """
    policy = manifest.recipe.get("ground", {}).get("policy", "keep")
    if policy == "keep":
        return []
    listed: set[tuple[str, str, str]] = set()
    if policy == "flag":
        listed = {(row["id"], row["field"], row["value"]) for row in read_rows(folder / LISTED)}
    claim = "every value of an answer stands in its prompt" + (" or is listed" if policy == "flag" else "")
    check = Check("grounded", f"{claim}, but for fields of which the contract says why", "10", what="values")
    kept = _kept(folder)
    for name, row in split_rows(folder, ["id", "turns", "target", "source"]):
        if row["target"] is None or row["id"] in kept:
            continue
        prompts = [turn["content"] for turn in asked_turns(row)]
        for path, how, value in _values(json.loads(row["target"]), "", "", manifest.grounding):
            check.compared += 1
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            known = (row["id"], path, text[:LONGEST]) in listed
            if not known and not any(_holds(prompt, value, how) for prompt in prompts):
                check.fail(f"{row_name(name, row)}: {path}: {text[:80]!r} is not in its prompt")
    return [check]


def _kept(folder: Path) -> set[str]:
    """The rows that stay though `ground` would take them out, as somebody has decided."""
    if not (folder / DECISIONS).is_file():
        return set()
    return {row["id"] for row in read_rows(folder / DECISIONS) if "ground/" in (row["because"] or "")}


def _values(value: Any, path: str, above: str, hows: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    """The values that a prompt has to hold: the path of each, how it is held, and it."""
    how = hows.get(path, above if above in ("enum", "none") else "")
    if how in ("enum", "none") and not isinstance(value, dict | list):
        return
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _values(each, f"{path}.{key}" if path else key, how, hows)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each, f"{path}[]", how, hows)
    elif value not in (None, "") and not isinstance(value, bool):
        yield path, how, value


def _holds(prompt: str, value: Any, how: str) -> bool:
    if not isinstance(value, str):
        return _names_number(prompt, Decimal(str(value))) or _squeezed(str(value)) in _squeezed(prompt)
    if value in prompt if how == "verbatim" or not _squeezed(value) else _squeezed(value) in _squeezed(prompt):
        return True
    if how == "number":
        return all(_names_number(prompt, Decimal(each)) for each in re.findall(r"\d+(?:\.\d+)?", _in_figures(value)))
    match = DAY.match(value)
    if match is not None:
        return _names_day(prompt, *(int(part) if part else None for part in match.groups()))
    return how == "date" and all(_squeezed(part) in _squeezed(prompt) for part in re.findall(r"\d+", value))


@cache
def _squeezed(text: str) -> str:
    """Letters, marks, digits and the few signs that say something, folded, with a point between numbers."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.replace("&", "and")).casefold())
    folded = re.sub(r"(?<=\d)[\W_]+(?=\d)", "\x00", folded)
    return "".join(char for char in folded if char in "\x00+#%$€£¥" or unicodedata.category(char)[0] in "LMN")


def _names_day(prompt: str, year: Any, month: Any, day: Any) -> bool:
    """Whether year, month and day stand near one another."""
    words = [word.casefold() for word in TOKEN.findall(prompt)]
    joined = re.findall(r"(?<!\d)(\d{4})(\d\d)(\d\d)(?!\d)", prompt)
    if (f"{year:04}", f"{month:02}", f"{day or 0:02}") in joined:
        return True

    def is_number(word: str, *wanted: int) -> bool:
        return (word.isdecimal() and int(word) in wanted) or word in _spelled()

    months = _months()[month]
    for at, word in enumerate(words):
        near = words[max(0, at - NEAR) : at + NEAR]
        is_month = unicodedata.normalize("NFC", word) in months or is_number(word, month)
        has_year = is_month and any(is_number(each, year, year % 100) for each in near)
        if has_year and (day is None or any(is_number(each, day) for each in near)):
            return True
    return False


@cache
def _spelled() -> frozenset[str]:
    return frozenset(SPELLED.split())


@cache
def _months() -> dict[int, frozenset[str]]:
    """The words for each month, in all languages that dateparser knows."""
    order: list[str] = import_module("dateparser.data.languages_info").language_order
    names = [calendar.month_name[month].lower() for month in range(1, 13)]
    found: dict[int, set[str]] = {month: set() for month in range(1, 13)}
    for language in order:
        info = import_module(f"dateparser.data.date_translation_data.{language}").info
        for month, name in enumerate(names, start=1):
            found[month] |= {unicodedata.normalize("NFC", each.rstrip(".").casefold()) for each in info.get(name, ())}
    return {month: frozenset(words) for month, words in found.items()}


def _names_number(prompt: str, value: Decimal) -> bool:
    """Whether the digits of a number stand in a text, whatever their separators and scale."""
    wanted = _significant(f"{abs(value):f}")
    return any(
        wanted in (_significant(run), *map(_significant, re.split("[ '’\u00a0\u2009\u202f]", run)))
        for run in NUMBER.findall(_in_figures(prompt))
    )


def _significant(digits: str) -> str:
    return re.sub(r"\D", "", digits).strip("0")


@cache
def _in_figures(text: str) -> str:
    """A text with numbers in words as figures too."""
    from text_to_num import alpha2digit

    languages = ("en", "fr", "es", "pt", "de", "nl", "da", "it")
    return "\n".join([text, *(alpha2digit(text.lower().replace("-", " "), language) for language in languages)])
