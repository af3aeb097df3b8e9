"""Numbers of accounts, cards and persons in text: those that have a checksum must pass it."""

import re
from collections.abc import Iterator
from datetime import date

_IBAN = re.compile(
    r"[A-Z](?<![A-Z0-9][A-Z])[A-Z][0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?(?![A-Z0-9])", re.I | re.ASCII
)


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """International bank account numbers (ISO 13616), in groups or not."""
    from stdnum import iban

    for match in _IBAN.finditer(text):
        number = match[0]
        while number and not iban.is_valid(number):  # what follows may be a word
            number = number[: max(number.rfind(" "), number.rfind("-"), 0)]
        if number:
            yield match.start(), match.start() + len(number)


_CARD = re.compile(
    r"[1-6](?<![A-Za-z0-9_.+/-][0-9])(?<![0-9][ ][0-9])(?:[ -]?[0-9]){11,18}(?![A-Za-z0-9_]|[-.,/:][0-9])"
)
_BRAND = re.compile(
    r"""4[0-9]{15}(?:[0-9]{3})?                                                 # Visa
    | 5[1-5][0-9]{14} | 2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}  # Mastercard
    | 3[47][0-9]{13}                                                            # American Express
    | 3(?:0[0-5]|[689][0-9])[0-9]{11}                                           # Diners Club
    | (?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}                                 # Discover
    | 35(?:2[89]|[3-8][0-9])[0-9]{12} | (?:1800|2131)[0-9]{11}                  # JCB
    | 62[0-9]{14,17}                                                            # UnionPay
    | (?:50|5[6-9]|6[0-9])[0-9]{14}                                             # Maestro
    | 220[0-4][0-9]{12}                                                         # Mir""",
    re.VERBOSE,
)
_CALLED_CARD = re.compile(
    r"card|\bcc\b|visa|maestro|credit|debit|amex|discover|kreditkarte|carte|tarjeta|카드|卡", re.IGNORECASE
)


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Numbers of payment cards (ISO/IEC 7812): those of a known brand and length, and any of 12 to 19 digits where a
    word within 60 characters before says so: a tenth of all numbers passes the checksum."""
    for match in _CARD.finditer(text):
        number = match[0]
        while not _is_card(number, text, match.start()):  # what follows may be a date or a security code
            number = number[: max(number.rfind(" "), number.rfind("-"), 0)]
            if not number:
                break
        else:
            yield match.start(), match.start() + len(number)


def _is_card(number: str, text: str, begin: int) -> bool:
    from stdnum import luhn

    groups = re.split("[ -]", number)
    digits = "".join(groups)
    sizes = [len(group) for group in groups]
    regular = len(groups) == 1 or (
        sizes[0] == 4
        and len(set(re.sub("[0-9]", "", number))) == 1
        and ((set(sizes[:-1]) == {4} and sizes[-1] <= 4) or sizes[1:] in ([6, 4], [6, 5]))
    )
    if not (regular and 12 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn.is_valid(digits)):
        return False
    return bool(_BRAND.fullmatch(digits)) or bool(_CALLED_CARD.search(text, max(0, begin - 60), begin))


_SSN = re.compile(r"[0-9](?<![\w.+-][0-9])(?<![0-9][ ][0-9])[0-9]{2}-[0-9]{2}-[0-9]{4}(?![\w-]|\.[0-9])", re.ASCII)
_SSN_CALLED = re.compile(
    r"\b(?:ssn|social security)\b[^0-9\n]{0,24}([0-9]{3}[ ]?[0-9]{2}[ ]?[0-9]{4})(?![\w-]|\.[0-9])", re.I | re.ASCII
)


def ssns(text: str) -> Iterator[tuple[int, int]]:
    """US social security numbers with dashes, or where they are called so; never those that cannot be issued."""
    from stdnum.us import ssn

    for match in _SSN.finditer(text):
        if ssn.is_valid(match[0]):
            yield match.span()
    for match in _SSN_CALLED.finditer(text):
        if ssn.is_valid(match[1].replace(" ", "")):
            yield match.span(1)


_RRN = re.compile(r"[0-9](?<![\w.+-][0-9])[0-9]{5}(-?)[1-8][0-9]{6}(?![\w-]|\.[0-9])", re.ASCII)
_CALLED_RRN = re.compile(
    r"주민\s?(?:등록)?\s?번호|외국인\s?등록\s?번호|\brrn\b|resident (?:registration|number)", re.IGNORECASE
)
_NO_CHECKSUM = date(2020, 10, 5)
"""From this day on, new numbers end in six random digits (resident registration act, enforcement rule, article 2)."""


def rrns(text: str) -> Iterator[tuple[int, int]]:
    """Korean resident registration numbers, and those of foreigners: a date of birth, a digit for century and sex, and
    a checksum. Numbers given since October 2020 have none: it is not asked of those born since, nor where a word calls
    the number so. Thirteen digits without a dash count only there: as many are milliseconds since 1970."""
    from stdnum.exceptions import ValidationError
    from stdnum.kr import rrn

    for match in _RRN.finditer(text):
        digits = match[0].replace("-", "")
        try:
            born = rrn.get_birth_date(digits)
        except ValidationError:
            continue
        called = _CALLED_RRN.search(text, max(0, match.start() - 40), match.start()) is not None
        check = int(rrn.calc_check_digit(digits))
        if digits[6] in "5678":
            check = (check + 2) % 10
        if called or (match[1] and (born >= _NO_CHECKSUM or check == int(digits[12]))):
            yield match.span()
