"""Days that a text names: `the 5th day of March, 2019`, `3/5/19`, `5. März 2019`, `2019年3月5日`.

A month's name is taken for a date where numbers that can be its day and its year stand beside it, in any of the orders
that are written, with a few words between them at most. Which of two numbers is the day is told by those that can only
be one; where a text holds none, both are read. A number that stands close behind another month's name is that one's; a
year of two digits stands close to what it follows. The names of months are those of dateparser (CLDR).
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

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
ISO = re.compile(
    r"(\d{4})-(\d\d)(?:-(\d\d)(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?\s?(?:Z|[+-]\d\d(?::?\d\d)?)?)?)?",
    re.IGNORECASE,
)
BETWEEN = r"[^\S\n]*[-–—./'’,]?[^\S\n]*['’]?"
CLOSE = re.compile(rf"(?:st|nd|rd|th)?{BETWEEN}")
"""What may stand between a number and the name of the month that it is of, where no words do."""
CLOSE_DAY = re.compile(rf"{BETWEEN}\d{{1,2}}(?:st|nd|rd|th)?{BETWEEN}")
"""The same with the day between the name and its year."""


@dataclass(frozen=True)
class Date:
    """A day, or a month of a year, and where a text names it."""

    year: int
    """Of one that is written with two digits, these."""
    month: int
    day: int | None
    begin: int
    end: int
    at: int = field(default=0, compare=False)
    """Where its month is named; what is read of one month's name is one date, read in several ways."""

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
    match = ISO.fullmatch(text.strip())
    if match is None:
        return None
    date = Date(int(match[1]), int(match[2]), int(match[3]) if match[3] else None, *match.span())
    return date if _possible(date) else None


def dates_said(value: str) -> list[list[Date]]:
    """The dates that a value says, one after the other, each in all the ways in which it can be read: to the day where
    it names one. Nothing where it says none, or more than dates: another number, or a month that is part of none.
    """
    if (iso := iso_date(value)) is not None:
        return [[iso]]
    text = Folded(value)
    found: dict[int, list[Date]] = {}
    for date in dates_in(text):
        found.setdefault(date.at, []).append(date)
    said = [[date for date in ways if date.day is not None] or ways for ways in found.values()]
    spans = [(date.begin, date.end) for ways in said for date in ways]
    names = month_names()
    words = (word for word in text.words if word.folded in names or any(map(str.isdigit, word.folded)))
    others = [*((word.begin, word.end) for word in words), *((each.begin, each.end) for each in _numbers(text))]
    held = all(any(begin <= first and last <= end for begin, end in spans) for first, last in others)
    return said if held else []


def dates_in(text: Folded) -> list[Date]:
    """All that can be read as a date in a text, in the order that they begin; one place may be read in several ways."""
    found = [date for date in (*_numeric(text.text), *_named(text)) if _possible(date)]
    return sorted(set(found), key=lambda date: (date.begin, -date.end, date.year, date.month, date.day or 0))


def _possible(date: Date) -> bool:
    return 1 <= date.month <= 12 and (date.day is None or 1 <= date.day <= 31)


def _numeric(text: str) -> Iterator[Date]:
    for pattern in (COMPACT, EAST_ASIAN):
        for match in pattern.finditer(text):
            yield Date(int(match[1]), int(match[2]), int(match[3]) if match[3] else None, *match.span(), match.start())
    short: list[tuple[int, int, int, int, int]] = []
    for match in NUMERIC.finditer(text):
        first, second, third = match[1], match[3], match[4]
        if len(first) == 4:
            yield Date(int(first), int(second), int(third), *match.span(), match.start())
        elif len(first) <= 2 and len(third) in (2, 4):
            short.append((int(first), int(second), int(third), *match.span()))
    month_first = any(second > 12 for _, second, *_ in short)
    day_first = any(first > 12 for first, *_ in short)
    for first, second, year, begin, end in short:
        if month_first or not day_first:
            yield Date(year, first, second, begin, end, begin)
        if day_first or not month_first:
            yield Date(year, second, first, begin, end, begin)


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
    months = [word for word in text.words if word.folded in names]
    if not months:
        return
    numbers = _numbers(text)
    for at, word in enumerate(months):
        beside = _Beside(
            text.text, months[at - 1] if at else None, word, months[at + 1] if at + 1 < len(months) else None
        )
        for month in names[word.folded]:
            yield from beside.dates(month, numbers)


class _Beside(NamedTuple):
    """A month's name in a text, and the ones before and after it."""

    text: str
    before: Word | None
    name: Word
    after: Word | None

    def dates(self, month: int, numbers: Sequence[_Number]) -> Iterator[Date]:
        """The dates that the name is part of."""
        name = self.name
        at = bisect_left(numbers, name.begin, key=attrgetter("begin"))  # no number holds a month's name
        left = self._joined([*reversed(numbers[max(0, at - 2) : at])], backwards=True)
        right = self._joined(numbers[at : at + 2])
        orders: list[tuple[_Number, _Number]] = []  # day, year
        if left and right:
            orders += [(left[0], right[0]), (right[0], left[0])]
        for two in (right, left):
            orders += [(two[0], two[1])] if len(two) == 2 else []
        for day, year in orders:
            if day.is_day and year.is_year and self._of_one(day, year, numbers):
                begin, end = min(day.begin, year.begin, name.begin), max(day.end, year.end, name.end)
                yield Date(year.value, month, day.value, begin, end, name.begin)
        years = [each for each in left[:1] if not self._is_anothers(each)]
        years += [
            each for each in numbers[at : at + 1] if _joins(self.text, name.end, each.begin)
        ]  # `March to May 2019`
        for year in years:
            if year.is_year and year.digits != 2:
                begin, end = min(year.begin, name.begin), max(year.end, name.end)
                yield Date(year.value, month, None, begin, end, name.begin)

    def _joined(self, numbers: Sequence[_Number], *, backwards: bool = False) -> list[_Number]:
        """The first numbers on one side that can be of one date with the name: no other month is between them."""
        found: list[_Number] = []
        other = self.before if backwards else self.after
        edge = self.name.begin if backwards else self.name.end
        for number in numbers:
            begin, end = (number.end, edge) if backwards else (edge, number.begin)
            if (other is not None and begin <= other.begin < end) or not _joins(self.text, begin, end):
                break
            found.append(number)
            edge = number.begin if backwards else number.end
        return found

    def _of_one(self, day: _Number, year: _Number, numbers: Sequence[_Number]) -> bool:
        """Whether day and year are not another month's, and a year of two digits not a day."""
        if self._is_anothers(day) or self._is_anothers(year):
            return False
        if year.digits != 2:
            return True
        parts = sorted((each.begin, each.end) for each in (day, year, self.name))
        at = parts.index((year.begin, year.end))
        gap = self.text[parts[at - 1][1] : year.begin] if at else self.text[year.end : parts[1][0]]
        following = numbers[bisect_left(numbers, year.end, key=attrgetter("begin")) :][:1]
        others = [each.begin for each in following if each.is_year and each.digits != 2]
        others += [self.after.begin] if self.after is not None and self.after.begin >= year.end else []
        return CLOSE.fullmatch(gap) is not None and not any(CLOSE.fullmatch(self.text, year.end, at) for at in others)

    def _is_anothers(self, number: _Number) -> bool:
        """Whether a number is the day or the year of the month named before: it stands close to that, or is a year
        behind the day that does."""
        if self.before is None or number.begin >= self.name.begin:
            return False
        gap = self.text[self.before.end : number.begin]
        return CLOSE.fullmatch(gap) is not None or (number.digits == 4 and CLOSE_DAY.fullmatch(gap) is not None)


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
