"""Personal data and secrets in text: what counts as which kind, and where it stands.

Every finder is two tests. `SUSPECT` holds RE2 patterns, wider than the finders, that Arrow runs over whole columns;
only the texts they mark are looked at in Python, and there no regular expression goes on for more than a few hundred
characters from where it begins, so that the time is linear. A finder reads a text as `plain` gives it and yields spans;
those that are told are of the text as it is.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Literal, NamedTuple

from curate.text.addresses import emails, ips
from curate.text.credentials import secrets, url_credentials
from curate.text.id_numbers import cards, ibans, rrns, ssns
from curate.text.phone_numbers import phones
from curate.text.plain_text import plain

Kind = Literal["secret", "credentials", "email", "iban", "credit_card", "ssn", "rrn", "ip", "phone"]


class Found(NamedTuple):
    """One piece of personal data."""

    kind: str
    begin: int
    end: int
    """Span in the text, in characters."""
    value: str
    """What it says, however it is written: two spans of the same kind and value are the same data."""


FINDERS: dict[Kind, Callable[[str], Iterator[tuple[int, int]]]] = {
    "secret": secrets,
    "credentials": url_credentials,
    "email": emails,
    "iban": ibans,
    "credit_card": cards,
    "ssn": ssns,
    "rrn": rrns,
    "ip": ips,
    "phone": phones,
}
"""In the order of precedence: where two spans overlap, that of the earlier kind counts."""

BEGINS = r"(?:^|[^A-Za-z0-9.:_]|\\[bfnrt])"
"""RE2: what may stand before a word, in JSON an escape too."""
SUSPECT: dict[Kind, str] = {
    "secret": r"PRIVATE KEY|AKIA|ASIA|ABIA|ACCA|gh[pousr]_|github_pat_|sk-|xox[abeoprs]-|xapp-|hooks\.slack|AIza|GOCSPX"
    r"|ya29\.|[srp]k_(?:live|test)_|whsec_|hf_|glpat-|npm_|pypi-Ag|SG\.|eyJ[A-Za-z0-9_-]{8}"
    r"|(?i:key|secret|token|passw|pwd|bearer)[\s\S]{0,40}[A-Za-z0-9_+/=.~-]{16}",
    "credentials": r":\\?/\\?/[^\s@]+:[^\s]+@",
    "email": r"[^\s@]@[^\s@]",
    "iban": rf"(?:{BEGINS}|[.:_])(?i:[a-z]{{2}}[0-9]{{2}}(?:[ -]?[a-z0-9]{{4}}){{2}})",
    "credit_card": r"[1-6](?:[ -]?[0-9]){11}",
    "ssn": r"[0-9]{3}-[0-9]{2}-[0-9]{4}|(?i:ssn|social security)[^0-9\n]{0,24}[0-9]{3}",
    "rrn": r"[0-9]{6}-?[1-8][0-9]{6}",
    "ip": rf"[0-9]\.[0-9]{{1,3}}\.[0-9]{{1,3}}\.[0-9]|{BEGINS}[0-9A-Fa-f]{{0,4}}:[0-9A-Fa-f]{{0,4}}:",
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
                    found.insert(at, Found(kind, begin, end, value(kind, read[begin:end])))
    if places is None:
        return [each._replace(begin=each.begin - len(lead), end=each.end - len(lead)) for each in found]
    place = [*([0] * len(lead)), *places]
    return [each._replace(begin=place[each.begin], end=place[each.end - 1] + 1) for each in found]


def value(kind: str, text: str) -> str:
    """What a piece of personal data says, however it is written."""
    if kind == "email":
        return text.lower()
    if kind == "ip":
        with suppress(ValueError):
            return str(ip_address(text))
    if kind in ("secret", "credentials"):
        return text
    return "".join(filter(str.isalnum, text)).upper()


def masked(text: str) -> str:
    """The shape of a text and none of its content, at most 40 characters: letters become x, digits 0."""
    shape = "".join("0" if char.isdigit() else "x" if char.isalnum() else char for char in text[:40])
    return shape + "…" * (len(text) > 40)
