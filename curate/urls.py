"""URLs as they may be written down: without what gives access to what they name.

A URL may be one that no library opens: a password with a slash, a quote or a space, which ends the host for every
parser, is a secret all the same. What may be one is taken for one.
"""

import re

SCHEME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-._")
END = re.compile(r"[\s'\"<>`]|\Z")
"""Where a URL ends that stands among words."""
NEVER = re.compile(r"\Z")
HOST = re.compile(r"(?P<name>\[[\dA-Fa-f:.%]*\]|[^:@\[\]]*)(?P<port>:\d*)?")
KNOWN_HOST = re.compile(r".*\..*|\[.*|localhost", re.IGNORECASE)
"""What is no user's name, most likely: `user:12/34@host` looks like a host with a port up to its slash."""
CONTAINER = re.compile(r"(abfss?|wasbs?|az|adl)://[^:@]+@[^:@]+", re.IGNORECASE)
"""Azure's URLs, which have a container where others have a user."""
HIDDEN = "..."
"""In place of a URL of which nothing is surely no secret."""


def without_secrets(url: str) -> str:
    """A URL, chained or not, without user, password, query and fragment, which may be keys; other names as they are."""
    return _told(url, NEVER)


def masked(words: str) -> str:
    """Words, such as a library's error, with every URL among them as `without_secrets` tells it."""
    return _told(words, END)


def _told(text: str, ends: re.Pattern[str]) -> str:
    """`text` with each of its URLs told; one that stands alone has no end but that of the text."""
    told: list[str] = []
    done = stop = line = -1
    last = text.rfind("@")
    for begin, after in _urls(text):
        if begin < done:
            continue  # part of what has been left out
        if stop < after:
            stop = _search(ends, text, after)
        if line < after:
            line = text.find("\n", after) if ends is END else -1
            line = len(text) if line < 0 else line
        following = _next(text, after, stop)
        body = text[after:following] if following == stop else _unchained(text[after:following])
        told.append(text[max(done, 0) : after])
        done = after + len(body)
        at = text.rfind("@", after, line) if after < last else -1
        if _has_secret(text[begin:after], body, whole=following == stop, may=at >= 0):
            cut = text.rfind("@", after, done)
            if cut < 0:  # a password goes on behind a space, a quote, or what looks like another scheme
                cut = at
                done = stop if cut < stop else _search(ends, text, cut)
            body = text[cut + 1 : done] if cut >= 0 else HIDDEN
        elif following < stop and not text.startswith("::", done) and re.search("[?#]", body):
            done = stop  # a URL in a URL's query
        told.append(re.split("[?#]", body, maxsplit=1)[0])
    return "".join([*told, text[max(done, 0) :]])


def _search(ends: re.Pattern[str], text: str, begin: int) -> int:
    found = ends.search(text, begin)
    return found.start() if found else len(text)


def _urls(text: str) -> list[tuple[int, int]]:
    """Where each URL begins, and where its scheme ends."""
    found: list[tuple[int, int]] = []
    last = 0
    for match in re.finditer("://", text):
        begin = match.start()
        while begin > last and text[begin - 1] in SCHEME:
            begin -= 1
        last = match.end()
        if begin < match.start():
            found.append((begin, last))
    return found


def _next(text: str, after: int, stop: int) -> int:
    """Where the next URL begins before `stop`; that if there is none."""
    at = text.find("://", after, stop)
    while at >= 0:
        begin = at
        while begin > after and text[begin - 1] in SCHEME:
            begin -= 1
        if begin < at or at == after:
            return begin
        at = text.find("://", at + 1, stop)
    return stop


def _unchained(body: str) -> str:
    """A URL's rest without what chains it to the next one, `::` or `::simplecache::`."""
    if not body.endswith("::"):
        return body
    body = body.removesuffix("::")
    while (cut := body.rfind("::")) >= 0 and SCHEME.issuperset(body[cut + 2 :]):
        body = body[:cut]
    return body


def _has_secret(scheme: str, body: str, whole: bool, may: bool) -> bool:
    """Whether something stands before the host, or what stands where the host should cannot be one.

    Args:
        scheme: with its `://`.
        body: what follows.
        whole: whether nothing stands behind it.
        may: whether there is an @ behind the scheme, on its line.
    """
    authority = re.split(r"[/?#\\]", body, maxsplit=1)[0]
    punctuation = whole and authority == body
    host = HOST.fullmatch(authority) or (HOST.fullmatch(authority.rstrip(".,:;)")) if punctuation else None)
    if host is None:
        return CONTAINER.fullmatch(f"{scheme}{authority}") is None
    if not whole and (not body or host["port"] == ":"):
        return True
    return ":" in authority and may and KNOWN_HOST.fullmatch(host["name"]) is None
