"""Addresses: what lies below a mirror is called by its place in the bucket, by which its user knows the store."""

import re
from pathlib import Path

NAME = r"[^\s:,;'\"()]*[^\s:,;'\"().]"
"""Names as a store gives them, among words: a full stop at their end is the sentence's."""

_urls: dict[str, str] = {}


def known(root: Path, url: str) -> None:
    """Call what lies below a folder by what lies below a URL."""
    _urls[str(root)] = url


def addressed(words: str) -> str:
    """Words in which each path below a mirror is the address of what it is a copy of, and the path."""
    for root, url in _urls.items():
        if root in words:
            path = re.compile(rf"(?<!its copy ){re.escape(root)}(/{NAME})?(?!{NAME})")
            address = url.replace("\\", r"\\")
            words = path.sub(rf"{address}\1 (its copy \g<0>)", words)
    return words
