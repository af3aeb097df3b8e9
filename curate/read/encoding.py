"""Encoding: text in any encoding -> UTF-8, what cannot be decoded marked so that no reader takes it for text."""

import codecs
import io
import re
from contextlib import suppress
from typing import IO, Any, NamedTuple

from curate.read.western import is_in_place, is_western

SAMPLE = 1 << 20
"""Bytes of a file's beginning by which its encoding is told."""
ENOUGH = 16
"""Bytes beyond ASCII below which a guess is not worth a line read wrongly."""
LEGACY = """cp1252 cp1251 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp1250 iso8859_2 iso8859_16 koi8_r koi8_u cp866
cp850 mac_roman cp874 cp932 euc_jp gb18030 big5 cp949""".split()  # noqa: SIM905
"""What a guess chooses among: the usual ones of the languages of the web, by Python's names."""
UNSURE = "cp1250"
"""A guess that is wrong 4 times in 10, where all others together are wrong 2 times in 100 (docs/reading.md)."""
BOMS = [
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
ALPHABETS, MOSTLY = 0x10, 0.7
"""The upper half of the characters of alphabets in UTF-16, at most; and the share of a text that is in them."""
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c\x1d\x1f]")
"""Control characters that text does not have."""
BROKEN = "\udcff".encode("utf-8", "surrogatepass")
"""What stands, after recoding, for bytes that the encoding does not know: no UTF-8, so that the line is refused."""


class Encoding(NamedTuple):
    """How text is encoded."""

    name: str
    """Python's."""
    guessed: bool = False
    sure: bool = True


UTF8 = Encoding("utf-8")
DECLARED = re.compile(
    rb"""\A\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([\w.:-]+)  # XML
    |<meta\b[^>]*?\bcharset\s*=\s*["']?([\w.:-]+)  # HTML
    |^["]?Content-Type:[^\n]*(?:\n[ \t][^\n]*)*?\bcharset\s*=\s*["']?([\w.:-]+)  # mail, gettext
    |\A(?:[^\n]*\n)?[ \t]*(?:[#;%]|//|/\*|<!--)[^\n]*?\bcoding[:=][ \t]*([\w.-]+)  # source code
    |\A@charset\s+"([\w.:-]+)"  # style sheets""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
"""How a text says in its beginning what it is encoded in."""
DECLARATION = 1 << 12
"""Bytes in which it says so."""
WEB = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "tis-620": "cp874",
}
"""What browsers read under the names of narrower encodings (WHATWG's Encoding Standard), by Python's names."""
MULTIBYTE = ("gb18030", "cp949", "cp932", "big5hkscs", "euc_jp", "iso2022_jp", "iso2022_kr", "hz")
"""Encodings of which a text may look like ASCII, or like UTF-8 of two bytes a character."""


def encoding_of(sample: bytes) -> str | None:
    """The encoding of a table or of JSON by its beginning; None where it is not UTF-8 and no other is likely."""
    found = told(sample, None, False)
    return found and found.name


def unmarked(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, of alphabets: the upper half of each character is small, that of a
    space is none, no lower half is, and what they spell has no control characters that text does not have."""
    head = head[:DECLARATION]
    if 0 not in head:
        return None
    head = head[: len(head) & -4] if len(head) > 4 else head
    for name, width, first in (("utf-32-le", 4, 0), ("utf-32-be", 4, 3), ("utf-16-le", 2, 0), ("utf-16-be", 2, 1)):
        lowest = head[first::width]
        high = head[width - 1 - first :: width]
        if 0 in high and 0 not in lowest and sum(byte <= ALPHABETS for byte in high) >= MOSTLY * len(high):
            with suppress(UnicodeDecodeError):
                return None if CONTROL.search(codecs.getincrementaldecoder(name)().decode(head).encode()) else name
    return None


def told(data: bytes, fallback: str | None, declares: bool) -> Encoding | None:
    """The encoding of a file by its beginning.

    What is trusted, in this order: a byte order mark; the bytes that are none in UTF-16 and UTF-32; what the text
    declares, where that decodes it, unless it is all UTF-8 beside the declaration of an encoding of single bytes;
    UTF-8; the recipe's `fallback_encoding`; windows-1252 where the text makes sense in it; what charset-normalizer says
    of enough text. A file most of whose bytes beyond ASCII are UTF-8 is UTF-8 with broken lines.

    Args:
        data: the file's beginning.
        fallback: the recipe's.
        declares: whether the file is a text that may declare its encoding, not one in which texts are cells.
    """
    for bom, name in BOMS:
        if data.startswith(bom):
            return Encoding(name)
    if (wide := unmarked(data)) is not None:
        return Encoding(wide, guessed=True)
    whole = data[:SAMPLE]
    if len(whole) == SAMPLE:  # it may end within a character
        whole = whole[: max(whole.rfind(b"\n"), SAMPLE - 3)]
    if whole.isascii() and b"\x1b" not in whole and b"~{" not in whole:  # nor ISO 2022 or HZ, which are ASCII too
        return UTF8
    text = whole.decode(errors="replace")
    broken = text.count("\ufffd") - whole.count("\ufffd".encode())
    said = _declared(whole) if declares else None
    if said and (broken or (said in MULTIBYTE and max(text) < "\u0800")):
        return Encoding(said)
    if not broken or sum(not char.isascii() for char in text) - broken > broken:
        return UTF8
    if fallback is not None:
        return Encoding(fallback)
    lines = b"\n".join(line for line in whole.split(b"\n") if not line.isascii())[: 1 << 16]
    enough = len(re.findall(rb"[\x80-\xff]", lines)) >= ENOUGH
    if is_western(lines):  # whose currency sign nobody writes: it is the euro's in ISO 8859-15
        return Encoding("iso8859-15" if b"\xa4" in lines else "cp1252", guessed=True, sure=enough)
    if not enough:
        return None
    import charset_normalizer

    best = charset_normalizer.from_bytes(lines, cp_isolation=LEGACY).best()
    if best is None or best.encoding == UNSURE or (best.encoding == "cp1252" and not is_in_place(lines)):
        return None
    return Encoding(best.encoding, guessed=True, sure=best.encoding != "cp1252")


def _declared(text: bytes) -> str | None:
    """The encoding that a text declares, if it can be read in it."""
    match = DECLARED.search(text[:DECLARATION])
    if match is None:
        return None
    try:
        name = codecs.lookup(next(filter(None, match.groups())).decode()).name
        name = WEB.get(name, name)
        codecs.getincrementaldecoder(name)("assay_web" if name == "cp1252" else "strict").decode(text)
    except (LookupError, UnicodeError, AttributeError, TypeError):  # unknown, not so encoded, or no encoding of text
        return None
    return None if name in ("ascii", "utf-8") else name


def decoded(data: bytes, encoding: str) -> str:
    """Bytes as text; of windows-1252 the five bytes that it does not know as the control characters of browsers."""
    return data.decode(encoding, "assay_web" if codecs.lookup(encoding).name == "cp1252" else "strict")


def _as_browsers(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - it is only given to decoders
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("assay_web", _as_browsers)


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - it is only given to decoders
    return "\udcff", error.end


codecs.register_error("assay_broken", _marked)


class Recoded(io.RawIOBase):
    """A stream of text in any encoding, as one in UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        unknown = "assay_web" if codecs.lookup(encoding).name == "cp1252" else "assay_broken"
        self._decoder = codecs.getincrementaldecoder(encoding)(unknown)
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            data = at_once(self._stream, 1 << 16)
            self._ended = not data
            self._ready = self._decoder.decode(data, self._ended).encode("utf-8", "surrogatepass")
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


class Rejoined(io.RawIOBase):
    """A stream whose beginning has been read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head.read(len(buffer)) or at_once(self._rest, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def at_once(stream: IO[bytes], size: int) -> bytes:
    """Up to `size` bytes, those that can be had at once: of a stream that breaks, all that come before it does."""
    return stream.read1(size)  # type: ignore[attr-defined, no-any-return]  # all of ours have it


def head_of(stream: IO[bytes], size: int) -> bytes:
    """The first `size` bytes of a stream, or all there are; of one that breaks before, what comes before that.

    Whoever reads on meets the error.
    """
    head = bytearray()
    with suppress(Exception):
        while len(head) < size and (data := at_once(stream, size - len(head))):
            head += data
    return bytes(head)


def in_utf8(stream: IO[bytes], stated: str | None, fallback: str | None) -> tuple[IO[bytes], Encoding | None]:
    """A stream in UTF-8, and what the encoding was: None where no line that is not UTF-8 can be read."""
    encoding = None if stated is None else Encoding(stated)
    if encoding is None:
        head = head_of(stream, SAMPLE)
        encoding = told(head, fallback, False)
        stream = io.BufferedReader(Rejoined(head, stream), 1 << 16)
    if encoding is None or is_utf8(encoding.name):
        return stream, encoding
    return io.BufferedReader(Recoded(stream, encoding.name), 1 << 16), encoding


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
