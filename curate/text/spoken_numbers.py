"""Numbers that a text names: `1,234.50`, `1.234,50`, `$5 million`, `five hundred thousand`, `12 %`.

A number whose separators can be read in two ways (1.234) is read in both. Numbers in words are text2num's.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from curate.text.folded import Folded, Word

LANGUAGES = ("en", "fr", "es", "pt", "de", "nl", "da", "it")
"""Languages whose numbers in words are read."""
GROUPED = "[ '’\u00a0\u2009\u202f]"
WRITTEN = re.compile(rf"(?<!\d)(?:\d{{1,3}}(?:{GROUPED}\d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*|(?<![\w.])\.\d+)")
SCALES = {
    **dict.fromkeys(("hundred",), 2),
    **dict.fromkeys(("k", "thousand", "tsd", "tausend", "mille", "mil", "duizend", "tusind"), 3),
    **dict.fromkeys(("万", "萬", "만"), 4),
    **dict.fromkeys(("lakh", "lakhs"), 5),
    **dict.fromkeys(("m", "mm", "mn", "mio", "mln", "million", "millions", "millionen", "millón", "millones"), 6),
    **dict.fromkeys(("milioni", "milione", "milhão", "milhões", "miljoen", "millioner"), 6),
    **dict.fromkeys(("crore", "crores"), 7),
    **dict.fromkeys(("亿", "億", "억"), 8),
    **dict.fromkeys(("b", "bn", "billion", "billions", "mrd", "milliarde", "milliarden", "milliard", "milliards"), 9),
    **dict.fromkeys(("miliardi", "miljard", "milliarder"), 9),
    **dict.fromkeys(("tn", "trillion", "trillions"), 12),
}
"""Powers of ten that a word behind a number makes of it."""
SCALE = re.compile(
    rf"[\s-]?({'|'.join(sorted(SCALES, key=lambda word: (-len(word), word)))})(?:(?<=[^\x00-\u3000])|(?![^\W\d_]))",
    re.IGNORECASE,
)
"""A word of them; what is no letter follows, but for scripts without spaces."""
PERCENT = re.compile(
    r"\)?\s?(?:%|％|per\s?cent|pct|prozent|pour\s?cent|por\s?ci?ento|per cento|procent)", re.IGNORECASE
)
NEGATIVE = re.compile(r"(?:[-−–]|\()\s?[^\w\s]?\s?$")
"""What comes before a negative number; a currency's sign may be between."""

LONGEST = 60
"""Characters of a number in digits; what is longer counts nothing that anybody asks for."""
MOST_POWER = 24
"""Power of ten from which no further word makes a number larger."""


@dataclass(frozen=True)
class Number:
    """A number that a text names."""

    value: Decimal
    begin: int
    end: int
    scaled: bool
    """Whether it is all that is said; of `5 million` the 5 is not."""


class _Token:
    """A word, as text2num takes it."""

    def __init__(self, word: Word) -> None:
        self._word = word

    def text(self) -> str:
        return self._word.folded

    def nt_separated(self, previous: "_Token") -> bool:
        return False

    def not_a_number_part(self) -> bool:
        return self._word.folded[:1].isdigit()


def spoken(words: Sequence[Word], language: str) -> list[Number]:
    """The numbers that are written in words, ordinal ones too.

    Args:
        words: of the text, see `Folded`.
        language: one of LANGUAGES.
    """
    from text_to_num import find_numbers

    return [
        Number(Decimal(str(each.value)).normalize(), words[each.start].begin, words[each.end - 1].end, True)
        for each in find_numbers(list(map(_Token, words)), language, 0.0)
        if not words[each.start].folded[:1].isdigit()
    ]


def numbers_in(text: Folded, language: str = "en") -> list[Number]:
    """All that can be read as a number in a text, in the order that they begin.

    Args:
        text: any.
        language: of numbers in words; English where it is none of LANGUAGES.
    """
    found: list[Number] = []
    for match in WRITTEN.finditer(text.text):
        if match.end() - match.start() <= LONGEST:
            found += _readings(text.text, match)
    scaled = {number.end for number in found}
    for number in spoken(text.words, language if language in LANGUAGES else "en"):
        if number.end not in scaled:  # `million` in `5 million` is no number of its own
            found += _followed(text.text, [number.value], number.begin, number.end)
    return sorted(found, key=lambda number: (number.begin, -number.end))


def _readings(text: str, match: re.Match[str]) -> list[Number]:
    found = _followed(text, _values(match[0]), *match.span())
    if re.search(GROUPED, match[0]):  # they may as well be several
        for part in re.finditer(r"\d+(?:[.,]\d+)*", match[0]):
            begin, end = match.start() + part.start(), match.start() + part.end()
            found += [Number(value, begin, end, False) for value in _values(part[0])]
    if NEGATIVE.search(text, max(0, match.start() - 4), match.start()):
        found += [Number(-each.value, each.begin, each.end, each.scaled) for each in found]
    return found


def _followed(text: str, values: Iterable[Decimal], begin: int, end: int) -> list[Number]:
    """What values are with the words behind them: `5 million`, `5%`."""
    plain, power, last = list(values), 0, end
    while power < MOST_POWER and (scale := SCALE.match(text, last)) is not None:
        power, last = power + SCALES[scale[1].lower()], scale.end()
    found = [Number(value, begin, end, not power) for value in plain]
    if power:
        found += [Number(value.scaleb(power), begin, last, True) for value in plain]
    if (percent := PERCENT.match(text, last)) is not None:
        found += [Number(each.value.scaleb(-2), begin, percent.end(), True) for each in found]
    return found


def _values(written: str) -> set[Decimal]:
    """What digits with separators can be: 1.234 is one thousand and so on, or one and a little."""
    plain = re.sub(GROUPED, "", written)
    plain = "".join(str(int(char)) if char.isdigit() else char for char in plain)
    signs = re.findall("[.,]", plain)
    if not signs:
        return {Decimal(plain)}
    found = set()
    groups = re.split("[.,]", plain)
    if len(set(signs)) == 1 and _are_groups(groups):
        found.add(Decimal("".join(groups)))
    if (len(signs) == 1) or (signs.count(signs[-1]) == 1 and len(set(signs)) == 2 and _are_groups(groups[:-1])):
        found.add(Decimal("".join(groups[:-1]) + "." + groups[-1]))
    return found


def _are_groups(groups: Sequence[str]) -> bool:
    """Whether digits are parted as thousands are, or as lakhs: 1,234,567 or 12,34,567."""
    first, *others, last = groups if len(groups) > 1 else [*groups, "000"]
    sizes = {len(each) for each in others}
    return 1 <= len(first) <= 3 and len(last) == 3 and (sizes <= {3} or (sizes == {2} and len(first) <= 2))
