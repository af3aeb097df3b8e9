"""Secrets in text: private keys, tokens of known services, values that look drawn by lot, passwords in URLs."""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator

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


def secrets(text: str) -> Iterator[tuple[int, int]]:
    """Private keys, tokens and whatever random text stands where a key, token or password is assigned."""
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


def url_credentials(text: str) -> Iterator[tuple[int, int]]:
    """Name and password before the host of a URL, unless the password is a placeholder."""
    for match in _CREDENTIALS.finditer(text):
        if not _NO_PASSWORD.fullmatch(match[2]):
            yield match.span(1)
