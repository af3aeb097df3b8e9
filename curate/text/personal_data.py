"""Personal data and secrets in text: what counts as which kind, and where it stands.

Every finder is two tests. `SUSPECT` holds RE2 patterns, wider than the finders, that Arrow runs over whole columns;
only the texts they mark are looked at in Python, and there no regular expression goes on for more than a few hundred
characters from where it begins, so that the time is linear. Numbers that have a checksum must pass it.

Digits of other scripts, full-width forms, typographic dashes and spaces count as their ASCII equivalents, and invisible
characters as nothing; the spans are those of the text as it is.
"""

import base64
import binascii
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import date
from functools import cache
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Literal, NamedTuple

Kind = Literal["secret", "credentials", "email", "iban", "credit_card", "ssn", "rrn", "ip", "phone"]


class Found(NamedTuple):
    """One piece of personal data."""

    kind: str
    begin: int
    end: int
    """Span in the text, in characters."""
    value: str
    """What it says, however it is written: two spans of the same kind and value are the same data."""


# --- How text is read ---

INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
DASHES, SPACES = "\u2010-\u2015\u2212", "\u00a0\u2000-\u200a\u202f\u3000"
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_NO_SPACES = (
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af]"
)
"""Scripts in which a word may stand beside an address without a space: Thai to Khmer, Chinese, Japanese, Korean."""

ODD = (
    rf"[{INVISIBLE}]|[^0-9\P{{Nd}}]|[\x{{ff0b}}\x{{ff0e}}\x{{ff1d}}\x{{ff20}}-\x{{ff3a}}\x{{ff3f}}\x{{ff41}}-\x{{ff5a}}]"
    rf"|[0-9)][{DASHES}{SPACES}\x{{ff08}}\x{{ff09}}\x{{ff0d}}]+[ ]?[0-9(]|\x{{ff08}}[ ]?[0-9]|[A-Za-z]\x{{ff1a}}"
)
"""RE2: texts that `plain` changes in a way that matters."""


@cache
def _equivalents() -> dict[int, str]:
    """Characters that are read as an ASCII character (not the digits of scripts past U+FFFF that nobody types)."""
    codes = [*range(0x660, 0xFF10), *range(0x1D7CE, 0x1D800)]
    digits = {code: str(int(chr(code))) for code in codes if chr(code).isdecimal()}
    wide = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    dashes = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-")
    return digits | wide | dashes | dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x3000], " ")


def plain(text: str) -> tuple[str, list[int] | None]:
    """The text as the finders read it, and where each of its characters stands in `text` (None: at the same place)."""
    if text.isascii():
        return text, None
    read = text.translate(_equivalents())
    if not _INVISIBLE.search(read):
        return read, None
    places = [place for place, char in enumerate(read) if not _INVISIBLE.match(char)]
    return "".join(read[place] for place in places), places


# --- Secrets ---

_HEADER = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_FOOTER = re.compile(r"-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:(?:\s|\\[nr]|[\"'+,])*+[A-Za-z0-9+/=]{16,}+)++")
_LONGEST_KEY = 20_000
"""Characters; an RSA key of 16384 bits has 12,700."""
_TOKEN = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:
        (?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}                                                # AWS access key id
      | gh[pousr]_[A-Za-z0-9]{36,255} | github_pat_[A-Za-z0-9_]{22,255}                    # GitHub
      | sk-[A-Za-z0-9_-]{20,255}                                                           # OpenAI, Anthropic
      | xox[abeoprs]-[A-Za-z0-9-]{10,255} | xapp-[0-9]-[A-Za-z0-9-]{10,255}                # Slack
      | AIza[A-Za-z0-9_-]{35} | GOCSPX-[A-Za-z0-9_-]{28} | ya29\.[A-Za-z0-9_-]{20,255}     # Google
      | [srp]k_(?:live|test)_[A-Za-z0-9]{10,255} | whsec_[A-Za-z0-9]{32,64}                # Stripe
      | hf_[A-Za-z0-9]{34,40} | glpat-[A-Za-z0-9_-]{20,64} | npm_[A-Za-z0-9]{36}           # Hugging Face, GitLab, npm
      | pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,255} | SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}  # PyPI, SendGrid
      | eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{2,8000}\.[A-Za-z0-9_-]{0,2000}          # JSON Web Token (RFC 7519)
    )(?![A-Za-z0-9_-])""",
    re.VERBOSE,
)
_SLACK_HOOK = re.compile(r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/_-]{20,100})")
_ASSIGNED = re.compile(
    r"""(?:key|secret|token|passwo?r?d|passwd|pwd|bearer)[A-Za-z0-9_-]{0,24}["'`]?\s{0,3}(?::=|=>|[:=]|\s)\s{0,3}["'`]?
    (?:(?:bearer|token|basic)\s)?(?<![A-Za-z0-9_+/=.~-])([A-Za-z0-9_+/=.~-]{16,200})(?![A-Za-z0-9_+/=.~(\[-])""",
    re.VERBOSE | re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]+", re.IGNORECASE)


def _entropy(text: str) -> float:
    """Shannon entropy of the characters, in bits each."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _is_random(text: str) -> bool:
    """Whether a stretch of letters and digits looks drawn by lot: no word, name or path, and no `xxxx`.

    At least 16 characters of the longest part between separators, with a digit and a letter, and an entropy of 3.5 bits
    a character (3 where all are hexadecimal): the bounds of the detectors of secrets are 3 to 4.5.
    """
    if _UUID.fullmatch(text):
        return True
    part = max(re.split(r"[._~/+=-]", text), key=len)
    if len(part) < 16 or not any(map(str.isdigit, part)) or not any(map(str.isalpha, part)):
        return False
    return _entropy(part) >= (3 if _HEX.fullmatch(part) else 3.5)


def _is_web_token(text: str) -> bool:
    try:
        head = base64.urlsafe_b64decode((part := text.partition(".")[0]) + "=" * (-len(part) % 4))
    except binascii.Error:
        return False
    return b'"alg"' in head or b'"enc"' in head


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    for match in _HEADER.finditer(text):
        body = _KEY_BODY.match(text, match.end(), match.end() + _LONGEST_KEY)
        foot = _FOOTER.search(text, match.end(), match.end() + _LONGEST_KEY)
        if foot and len(foot.string[match.end() : foot.start()].strip()) >= 16:
            yield match.start(), foot.end()
        elif body:
            yield match.start(), body.end()
    for match in _TOKEN.finditer(text):
        if _is_web_token(match[0]) if match[0].startswith("eyJ") else _has_variety(match[0]):
            yield match.span()
    for match in _SLACK_HOOK.finditer(text):
        yield match.span(1)
    for match in _ASSIGNED.finditer(text):
        if _is_random(match[1]):
            yield match.span(1)


def _has_variety(token: str) -> bool:
    """Whether what follows a token's prefix is no placeholder such as xxxx or your-key-here."""
    rest = re.sub(r"^[A-Za-z0-9]{2,8}?[-_.](?:proj-|ant-|live_|test_)?|^[A-Z]{4}", "", token)
    return len(set(rest)) >= 6 and (any(map(str.isdigit, rest)) or (_entropy(rest) >= 3.5 and rest.isupper()))


_CREDENTIALS = re.compile(r"://([^\s/?#@:\"'`<>\[\]]{0,128}:([^\s/?#\"'`<>]{1,256}))@(?=[\w\[])")
_NO_PASSWORD = re.compile(
    r"<.*|\$.*|\{.*|%[({].*|x+|\*+|\.+|_+|\[.*|(?:(?:your|my|the|db|user)[_-]?)?(?:pass(?:word|wd)?|pwd|secret|token)",
    re.IGNORECASE,
)


def _url_credentials(text: str) -> Iterator[tuple[int, int]]:
    for match in _CREDENTIALS.finditer(text):
        if not _NO_PASSWORD.fullmatch(match[2]):
            yield match.span(1)


# --- Addresses ---

_LOCAL = re.compile(r"[\w.+%'-]{1,65}")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24})(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
_DOMAIN_OF_ANY_SCRIPT = re.compile(r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_TAIL_OF_NO_SPACES = re.compile(rf".*{_NO_SPACES}(?=[\x21-\x7e]+$)", re.DOTALL)
_USERINFO = re.compile(r"://[^\s/@]{0,128}[:/]?\Z|//\Z")
_FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp")


def _emails(text: str) -> Iterator[tuple[int, int]]:
    at = text.find("@")
    while at >= 0:
        if span := _email_at(text, at):
            yield span
        at = text.find("@", at + 1)


def _email_at(text: str, at: int) -> tuple[int, int] | None:
    """The e-mail address around the @ at `at`."""
    local = _LOCAL.match(text[max(0, at - 66) : at][::-1])
    if not local or len(local[0]) > 64:
        return None
    window = text[at + 1 : at + 256]
    domain = _DOMAIN.match(window)
    if not domain or ((after := window[domain.end() : domain.end() + 1]).isalpha() and not re.match(_NO_SPACES, after)):
        domain = _DOMAIN_OF_ANY_SCRIPT.match(window)
    if not domain or domain[0].rpartition(".")[2].lower() in _FILES or ".." in local[0] or local[0][0] == ".":
        return None
    begin, end = at - local.end(), at + 1 + domain.end()
    if tail := _TAIL_OF_NO_SPACES.match(text, begin, at):
        begin = tail.end()
    if text[end : end + 1] == "'" and (quote := text.rfind("'", begin, at)) >= 0:
        begin = quote + 1
    while begin < at and text[begin] in ".%'-+":
        begin += 1
    name = text[begin:at]
    if not name or name == "git" or _USERINFO.search(text[max(0, begin - 140) : begin]):
        return None  # git@github.com is everybody's; joe@ and joe:secret@ in a URL are no mail box
    return begin, end


_IPV4 = re.compile(
    r"[0-9](?<![\w.][0-9])(?<![A-Za-z][/-][0-9])[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?!\w|\.[0-9]|-[A-Za-z])",
    re.ASCII,
)
_IPV6 = re.compile(
    r"(?<![\w.:])(?<![A-Za-z][/-])(?:[0-9A-Fa-f]{0,4}:){2,7}"
    r"(?:[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|[0-9A-Fa-f]{0,4})(?![\w:]|\.[0-9])",
    re.ASCII,
)
_NUMBERED = re.compile(
    r"(?:\b(?:version|versions|ver|v|release|rel|build|section|sections|sec|clause|article|chapter|paragraph|rule|step"
    r"|table|figure|fig|item|upgrade|update|revision|rev|firmware|driver)\b\.?|§|==|>=|<=|~=|\^)[ ]?[v(\"']?\Z",
    re.IGNORECASE,
)
"""What stands before the number of a version or a section, which may look like an IPv4 address."""
_CALLED_ADDRESS = re.compile(
    r"\b(?:ip|ipv4|address|addr|host|server|gateway|dns|ping|nameserver)\b[^\w\n]{0,12}\Z", re.I
)


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for match in _IPV6.finditer(text):
        if _is_host6(match[0]):
            yield match.span()
    for match in _IPV4.finditer(text):
        before = text[max(0, match.start() - 24) : match.start()]
        if not _NUMBERED.search(before) and _is_host(match[0], bool(_CALLED_ADDRESS.search(before))):
            yield match.span()


def _is_host(text: str, called: bool) -> bool:
    """Whether an IPv4 address is that of one host.

    Where no word calls it an address, one that begins with a number below 10 is taken for a version number, as 2.0.0.1
    mostly is (of the networks thus passed over only a few are in common use), and so is one of four numbers below 30
    outside of the private networks, as the number of a section mostly is: 12.3.1.4.
    """
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    first = address.packed[0]
    if first == 0 or first >= 224 or address.is_loopback or text.endswith(".0.0"):
        return False
    return called or (first >= 10 and (address in _PRIVATE or max(address.packed) >= 30))


_PRIVATE = IPv4Network("10.0.0.0/8")


def _is_host6(text: str) -> bool:
    """Whether an IPv6 address is that of one host; groups without a digit and a group of three are rather words."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    has_group = re.search("[0-9A-Fa-f]{3}", text) is not None
    return has_group and any(char.isdigit() for char in text) and not address.is_loopback


# --- Numbers with a checksum or a fixed form ---

_IBAN = re.compile(
    r"[A-Z](?<![A-Z0-9][A-Z])[A-Z][0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?(?![A-Z0-9])", re.I | re.ASCII
)


def _ibans(text: str) -> Iterator[tuple[int, int]]:
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


def _cards(text: str) -> Iterator[tuple[int, int]]:
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


def _ssns(text: str) -> Iterator[tuple[int, int]]:
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


def _rrns(text: str) -> Iterator[tuple[int, int]]:
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


# --- Telephone numbers ---

_RUN = re.compile(r"[0-9+(](?:[ ().+/-]{0,3}[0-9]){5,}+")
_PHONE = re.compile(
    r"""(?<![\w.+/=#-])(?<![0-9][ .-])(?:
        \+(?!(?:19|20)[0-9]{2}-)[1-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-]?[0-9]{2,4}){1,4}
                                                                                        # +41 (0)85 806 98 67
      | 00[1-9][0-9]{0,2}([ .-])[0-9]{2,4}(?:\1[0-9]{2,4}){1,3}                         # 001-253-366-9781
      | (?:1[ .-])?\((?:0[0-9]{1,4}|[1-9][0-9]{1,2})\)[ ]?(?!(?:19|20)[0-9]{2}-)[0-9]{3,4}[ .-][0-9]{3,4}
                                                                                        # (212) 555-0100
      | (?:1[ .-])?[0-9]{3}([.-])[0-9]{3}\2[0-9]{4}                                     # 212-555-0100
      | (?![0-9]{3}-[0-9]{2}-)0[1-9][0-9]{0,3}([ .-])[0-9]{2,4}(?:\3[0-9]{2,4}){1,3}    # 0496 46 46 70; no SSN
      | 0[1-9][0-9]{0,3}[ /-][0-9]{6,8}                                                 # 06-24312407
      | 01[016789][0-9]{7,8}                                                            # 01012345678
    )(?:[ ]?(?:x|ext\.?[ ]?)[0-9]{1,5})?(?!\w|[ .-][0-9])""",
    re.VERBOSE | re.ASCII,
)
_EXTENSION = re.compile(r"[ ]?(?:x|ext\.?[ ]?)[0-9]{1,5}(?![0-9A-Za-z])")
_CALLED_PHONE = re.compile(
    r"(?:\b(?:tel|telephone|telefono|teléfono|téléphone|telefon|phone|handy|mobile?|móvil|cell|cellphone|call(?:ing)?"
    r"|contact|fax|facsimile|telefax|dial|text|sms|whatsapp|hotline|desk:|office:|reach|answering|messages?)(?<=[\w:])(?!\w)"
    r"[^0-9+(\n]{0,20}\n?[ ]{0,8}|(?:전화|연락처|휴대폰|핸드폰|팩스|电话|電話|手机|手機|携帯|传真)[^0-9+(\n]{0,12})\Z",
    re.IGNORECASE,
)
_CALLED_AFTER = re.compile(
    r"[ -]{0,2}\(?(?:office|fax|mobile|cell|phone|home|work|tel)\b[ ]?(?:$|[)\\,;\n])", re.IGNORECASE
)
_BOOK = re.compile(
    r"(?:isbn|issn|ismn|doi|ean|upc|gtin|pmid|oclc|lccn|asin)(?:-?1[03])?\b[^0-9\n]{0,8}\Z", re.IGNORECASE
)
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[ ]?[./ -][ ]?(?:[0-9]{1,2}\b|(?:19|20)[0-9]{2}\b)"
    r"|[0-9]{1,2}[ ]?[./ -][ ]?[0-9]{1,2}[ ]?[./ -][ ]?(?:19|20)[0-9]{2}\b|(?:19|20)[0-9]{6}\b"
)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    """Numbers written as telephone numbers are, and any run of digits that a word beside it calls one."""
    for run in _RUN.finditer(text):
        begin, end = run.span()
        before = text[max(0, begin - 48) : begin]
        if _DATE.match(text, begin, end) or _BOOK.search(before):
            continue
        written = [match.span() for match in _PHONE.finditer(text, begin, end + 9) if _is_phone(match[0])]
        if written:
            yield from written
        elif not re.search(r"[\w.$€£¥=#&%/]\Z", before) and not re.match(r"[\w%€]|[.,][0-9]", text[end : end + 2]):
            number = run[0]
            if number.startswith("(") and number.count("(") > number.count(")"):
                number, begin = number[1:], begin + 1
            called_after = _CALLED_AFTER.match(text, end, end + 24) is not None
            least = 6 if called_after else 7
            called = called_after or _CALLED_PHONE.search(before)
            if called and not _DATE.match(number) and least <= sum(map(str.isdigit, number)) <= 15:
                extension = _EXTENSION.match(text, end)
                yield begin, extension.end() if extension else end


def _is_phone(text: str) -> bool:
    """Whether `text` has as many digits as its country's numbers have, or, without a country, 9 to 11 after a trunk
    prefix and 7 to 15 else (E.164)."""
    number: str = re.split("x|ext", text)[0]
    if number.startswith("+"):
        import phonenumbers

        try:
            return phonenumbers.is_possible_number(phonenumbers.parse(number))
        except phonenumbers.NumberParseException:
            return False
    digits = sum(map(str.isdigit, number))
    return 9 <= digits <= 11 if re.match("0[1-9]", text) else 7 <= digits <= 15


# --- All together ---

FINDERS: dict[Kind, Callable[[str], Iterator[tuple[int, int]]]] = {
    "secret": _secrets,
    "credentials": _url_credentials,
    "email": _emails,
    "iban": _ibans,
    "credit_card": _cards,
    "ssn": _ssns,
    "rrn": _rrns,
    "ip": _ips,
    "phone": _phones,
}
"""In the order of precedence: where two spans overlap, that of the earlier kind counts."""

SUSPECT: dict[Kind, str] = {
    "secret": r"PRIVATE KEY|AKIA|ASIA|ABIA|ACCA|gh[pousr]_|github_pat_|sk-|xox[abeoprs]-|xapp-|hooks\.slack|AIza|GOCSPX"
    r"|ya29\.|[srp]k_(?:live|test)_|whsec_|hf_|glpat-|npm_|pypi-Ag|SG\.|eyJ[A-Za-z0-9_-]{8}"
    r"|(?i:key|secret|token|passw|pwd|bearer)[\s\S]{0,40}[A-Za-z0-9_+/=.~-]{16}",
    "credentials": r":\\?/\\?/[^\s@]+:[^\s]+@",
    "email": r"[^\s@]@[^\s@]",
    "iban": r"(?i:[a-z]{2}[0-9]{2}(?:[ -]?[a-z0-9]{4}){2})",
    "credit_card": r"[1-6](?:[ -]?[0-9]){11}",
    "ssn": r"[0-9]{3}-[0-9]{2}-[0-9]{4}|(?i:ssn|social security)[^0-9\n]{0,24}[0-9]{3}",
    "rrn": r"[0-9]{6}-?[1-8][0-9]{6}",
    "ip": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|:[0-9A-Fa-f]{0,4}:",
    "phone": r"[0-9](?:[ ().+/\\-]{0,6}[0-9]){5}",
}
"""RE2 patterns, wider than the finders: whatever a finder finds in a text read by `plain`, written bare or within JSON,
its pattern matches."""


def find(text: str, kinds: Collection[str], called: str = "") -> list[Found]:
    """Personal data in a text, in its order, without overlaps.

    Args:
        text: any text.
        kinds: which of `FINDERS` to ask.
        called: what a value is called where it comes from, such as its key in a JSON object: "phone".
    """
    read, places = plain(text)
    lead = f"{called}: " if called else ""
    read = lead + read
    found: list[Found] = []
    for kind, finder in FINDERS.items():
        if kind in kinds:
            for begin, end in finder(read):
                at = bisect_left(found, begin, key=lambda each: each.begin)
                before_next = at == len(found) or end <= found[at].begin
                if begin >= len(lead) and before_next and (not at or begin >= found[at - 1].end):
                    found.insert(at, Found(kind, begin, end, _value(kind, read[begin:end])))
    if places is None:
        return [each._replace(begin=each.begin - len(lead), end=each.end - len(lead)) for each in found]
    place = [*([0] * len(lead)), *places]
    return [each._replace(begin=place[each.begin], end=place[each.end - 1] + 1) for each in found]


def _value(kind: Kind, text: str) -> str:
    if kind == "email":
        return text.lower()
    if kind == "ip":
        return str(ip_address(text))
    if kind in ("secret", "credentials"):
        return text
    return "".join(filter(str.isalnum, text)).upper()


def masked(text: str) -> str:
    """The shape of a text and none of its content, at most 40 characters: letters become x, digits 0."""
    shape = "".join("0" if char.isdigit() else "x" if char.isalnum() else char for char in text[:40])
    return shape + "…" * (len(text) > 40)
