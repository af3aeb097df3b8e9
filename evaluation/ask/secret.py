"""An endpoint's key: read from the environment, and taken out of whatever comes back."""

import base64
import html
import json
import os
from string import ascii_lowercase, ascii_uppercase
from urllib.parse import quote

from curate.errors import AssayError
from evaluation.settings import Endpoint

PIECE = 12
"""Characters of a key that are never told in one piece: servers repeat keys cut, too."""
WORD = 8
"""A key of fewer characters, or of letters alone, may be a word of an answer: `EMPTY` is what servers are given that
want none."""
MASK = "(the key)"
LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""As `str.lower`, which makes some texts longer."""


class Secret:
    """A key, and what it looks like in a server's words: as it is, percent-encoded, in JSON, in HTML, in hexadecimal
    or in Base64, whole or cut."""

    def __init__(self, value: str) -> None:
        self.value = value
        raw = value.encode()
        forms = {value, quote(value, safe=""), json.dumps(value)[1:-1], html.escape(value), raw.hex()}
        for before in range(3):  # Base64 of whatever stands before the key, to its third byte
            encoded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
            whole = encoded[(before * 4 + 2) // 3 :][: len(raw) * 4 // 3 - 1]
            forms |= {whole, whole.replace("+", "-").replace("/", "_")}
        self._size = min(PIECE, len(value))
        self._pieces = {
            form[at : at + self._size].translate(LOWER)
            for form in forms
            for at in range(max(len(form) - self._size + 1, 0))
        }

    @property
    def may_be_a_word(self) -> bool:
        return len(self.value) < WORD or self.value.isalpha()

    def masked(self, text: str) -> str:
        """A text with every piece of the key replaced by MASK; in time linear in the text."""
        size, pieces, lowered = self._size, self._pieces, text.translate(LOWER)
        parts: list[str] = []
        end = 0
        for at in range(len(text) - size + 1):
            if lowered[at : at + size] in pieces:
                if at > end or not parts:
                    parts += [text[end:at], MASK]
                end = at + size
        return "".join([*parts, text[end:]])


def secret_of(endpoint: Endpoint) -> Secret | None:
    """The key from the environment.

    Raises:
        AssayError: the variable is not set, or holds what no header can.
    """
    if endpoint.key is None:
        return None
    value = os.environ.get(endpoint.key, "").strip()
    if not value or not value.isascii() or not value.isprintable():
        wrong = "holds characters that no key has" if value else "is not set"
        raise AssayError(
            f"{endpoint.url}, model {endpoint.model!r}: the environment variable {endpoint.key} {wrong}.",
            remedy=f"export {endpoint.key}=...; the recipe names the variable, never the key.",
        )
    return Secret(value)
