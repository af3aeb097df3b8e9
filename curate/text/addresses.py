"""Addresses in text: e-mail and IP."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address

from curate.text.plain_text import NO_SPACES

_LOCAL = re.compile(r"[\w.+%'-]{1,65}")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24})(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
_DOMAIN_OF_ANY_SCRIPT = re.compile(r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_TAIL_OF_NO_SPACES = re.compile(rf".*{NO_SPACES}(?=[\x21-\x7e]+$)", re.DOTALL)
_USERINFO = re.compile(r"://[^\s/@]{0,128}[:/]?\Z|//\Z")
_FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp")


def emails(text: str) -> Iterator[tuple[int, int]]:
    """E-mail addresses, of any script."""
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
    if not domain or ((after := window[domain.end() : domain.end() + 1]).isalpha() and not re.match(NO_SPACES, after)):
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
_COLONS = re.compile(":[0-9A-Fa-f]{0,4}:")
"""What every IPv6 address holds."""
_NUMBERED = re.compile(
    r"(?:\b(?:version|versions|ver|v|release|rel|build|section|sections|sec|clause|article|chapter|paragraph|rule|step"
    r"|table|figure|fig|item|upgrade|update|revision|rev|firmware|driver)\b\.?|§|==|>=|<=|~=|\^)[ ]?[v(\"']?\Z",
    re.IGNORECASE,
)
"""What stands before the number of a version or a section, which may look like an IPv4 address."""
_CALLED_ADDRESS = re.compile(
    r"\b(?:ip|ipv4|address|addr|host|server|gateway|dns|ping|nameserver)\b[^\w\n]{0,12}\Z", re.I
)


def ips(text: str) -> Iterator[tuple[int, int]]:
    """Addresses of single hosts, IPv6 and IPv4, not numbers of versions and sections."""
    if colons := _COLONS.search(text):
        for match in _IPV6.finditer(text, max(0, colons.start() - 4)):
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
