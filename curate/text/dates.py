"""Days that a text names: `the 5th day of March, 2019`, `3/5/19`, `5. März 2019`, `2019年3月5日`.

A month's name is taken for a date where numbers that can be its day and its year stand beside it, in any of the orders
that are written, with a few words between them at most. Which of two numbers is the day is told by those that can only
be one; where a text holds none, both are read. The names of months are those of dateparser (CLDR).
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from operator import attrgetter

from curate.text.folded import Folded, Word, folded
from curate.text.spoken_numbers import spoken

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "da", "sv", "nb", "fi", "is", "pl", "cs", "sk", "sl", "hr", "sr", "hu"),
    *("ro", "bg", "el", "et", "lv", "lt", "mt", "ga", "ru", "uk", "tr", "id", "ms", "ca", "eu", "sq", "mk"),
)
"""Languages whose months are known."""
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
SHORTEST = 3
"""Letters of a month's name, at least: shorter ones are words of other languages."""
MOST_BETWEEN, MOST_WORDS_BETWEEN = 40, 6
"""Characters and words between the parts of a date, at most."""
SENTENCE = re.compile(r"[.;:!?]\s.*\w\w|\w\w.*[.;:!?]\s|\n\s*\n|\d", re.DOTALL)
"""What two parts of a date never have between them: the end of a sentence, a blank line, another number."""
NUMERIC = re.compile(r"(?<![\d./-])(\d{1,4})(\s?[./–-]\s?)(\d{1,2})\2(\d{1,4})(?![\d/-]|\.\d)")
COMPACT = re.compile(r"(?<!\d)((?:19|20)\d\d)(\d\d)(\d\d)(?!\d)")
EAST_ASIAN = re.compile(r"(\d{4})\s?[年년]\s?(\d{1,2})\s?[月월]\s?(?:(\d{1,2})\s?[日号號일])?")
ISO = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?(?!\d)")


@dataclass(frozen=True)
class Date:
    """A day, or a month of a year, and where a text names it."""

    year: int
    """Of one that is written with two digits, these."""
    month: int
    day: int | None
    begin: int
    end: int

    def is_same(self, other: "Date") -> bool:
        """Whether both can be one date, or the other is the month of this one's day."""
        return self.equal_parts(other) == 3 or (other.day is None and self.equal_parts(other) == 2)

    def equal_parts(self, other: "Date") -> int:
        """How many of year, month and day are equal."""
        century = 100 if min(self.year, other.year) < 100 else 10_000
        years = self.year % century == other.year % century
        return years + (self.month == other.month) + (self.day == other.day and self.day is not None)


def iso_date(text: str) -> Date | None:
    """The date that a value in ISO 8601 says, to the day or to the month; its time, if it has one, is passed over."""
    match = ISO.match(text.strip())
    if match is None:
        return None
    date = Date(int(match[1]), int(match[2]), int(match[3]) if match[3] else None, *match.span())
    return date if _possible(date) else None


def dates_in(text: Folded) -> list[Date]:
    """All that can be read as a date in a text, in the order that they begin; one place may be read in several ways."""
    found = [date for date in (*_numeric(text.text), *_named(text)) if _possible(date)]
    return sorted(set(found), key=lambda date: (date.begin, -date.end, date.year, date.month, date.day or 0))


def _possible(date: Date) -> bool:
    return 1 <= date.month <= 12 and (date.day is None or 1 <= date.day <= 31)


def _numeric(text: str) -> Iterator[Date]:
    for pattern in (COMPACT, EAST_ASIAN):
        for match in pattern.finditer(text):
            yield Date(int(match[1]), int(match[2]), int(match[3]) if match[3] else None, *match.span())
    short: list[tuple[int, int, int, int, int]] = []
    for match in NUMERIC.finditer(text):
        first, second, third = match[1], match[3], match[4]
        if len(first) == 4:
            yield Date(int(first), int(second), int(third), *match.span())
        elif len(first) <= 2 and len(third) in (2, 4):
            short.append((int(first), int(second), int(third), *match.span()))
    month_first = any(second > 12 for _, second, *_ in short)
    day_first = any(first > 12 for first, *_ in short)
    for first, second, year, begin, end in short:
        if month_first or not day_first:
            yield Date(year, first, second, begin, end)
        if day_first or not month_first:
            yield Date(year, second, first, begin, end)


@dataclass(frozen=True)
class _Number:
    """A number that may be a day or a year."""

    value: int
    begin: int
    end: int
    digits: int
    """How many it is written with; 0 where it is written in words."""

    @property
    def is_day(self) -> bool:
        return 1 <= self.value <= 31 and self.digits <= 2

    @property
    def is_year(self) -> bool:
        return self.digits == 2 or (1000 <= self.value <= 2999 and self.digits in (0, 4))


def _named(text: Folded) -> Iterator[Date]:
    names = month_names()
    places = [at for at, word in enumerate(text.words) if word.folded in names]
    if not places:
        return
    numbers = _numbers(text)
    for at in places:
        word = text.words[at]
        for month in names[word.folded]:
            yield from _beside(text, word, month, numbers)


def _beside(text: Folded, name: Word, month: int, numbers: Sequence[_Number]) -> Iterator[Date]:
    """The dates that a month's name is part of."""
    at = bisect_left(numbers, name.begin, key=attrgetter("begin"))  # no number holds a month's name
    before, after = numbers[max(0, at - 2) : at], numbers[at : at + 2]
    left = before[-1:] if before and _joins(text.text, before[-1].end, name.begin) else []
    left = [before[0], *left] if len(before) == 2 and left and _joins(text.text, before[0].end, left[0].begin) else left
    right = after[:1] if after and _joins(text.text, name.end, after[0].begin) else []
    right = (
        [*right, after[1]] if len(after) == 2 and right and _joins(text.text, right[0].end, after[1].begin) else right
    )
    orders: list[tuple[_Number, _Number]] = []  # day, year
    if left and right:
        orders += [(left[-1], right[0]), (right[0], left[-1])]
    if len(right) == 2:
        orders += [(right[0], right[1])]
    if len(left) == 2:
        orders += [(left[1], left[0])]
    for day, year in orders:
        if day.is_day and year.is_year:
            begin, end = min(day.begin, year.begin, name.begin), max(day.end, year.end, name.end)
            yield Date(year.value, month, day.value, begin, end)
    for year in (*left[-1:], *right[:1]):
        if year.is_year and year.digits != 2:
            yield Date(year.value, month, None, min(year.begin, name.begin), max(year.end, name.end))


def _joins(text: str, begin: int, end: int) -> bool:
    """Whether what is between two parts lets them be of one date."""
    between = text[begin:end]
    return (
        len(between) <= MOST_BETWEEN and len(between.split()) <= MOST_WORDS_BETWEEN and SENTENCE.search(between) is None
    )


def _numbers(text: Folded) -> list[_Number]:
    """The numbers of a text, those in words too; `nineteen ninety-nine` is one."""
    found = [
        _Number(int(word.folded), word.begin, word.end, len(word.folded))
        for word in text.words
        if word.folded.isdecimal() and len(word.folded) <= 4
    ]
    words = [
        _Number(int(each.value), each.begin, each.end, 0) for each in spoken(text.words, "en") if each.value < 3000
    ]
    for number, following in pairwise(words):
        if number.value in (18, 19, 20) and 10 <= following.value <= 99 and following.begin - number.end <= 2:
            found.append(_Number(100 * number.value + following.value, number.begin, following.end, 0))
    return sorted([*found, *words], key=lambda number: (number.begin, -number.end))


@cache
def month_names() -> dict[str, tuple[int, ...]]:
    """The months that each name can be, by the folded name."""
    names: dict[str, set[int]] = {}
    for language in LANGUAGES:
        known = import_module(f"dateparser.data.date_translation_data.{language}").info
        for month, key in enumerate(MONTHS, start=1):
            for name in known.get(key, ()):
                words = Folded(name).words
                if len(words) == 1 and len(name.rstrip(".")) >= SHORTEST:
                    names.setdefault(folded(name), set()).add(month)
    return {name: tuple(sorted(months)) for name, months in names.items()}
