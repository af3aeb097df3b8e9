"""Encoding: text in any encoding -> UTF-8, what cannot be decoded marked so that no reader takes it for text."""

import codecs
import io
import re
from contextlib import suppress
from typing import IO, Any

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
BROKEN = "\udcff".encode("utf-8", "surrogatepass")
"""What stands, after recoding, for bytes that the encoding does not know: no UTF-8, so that the line is refused."""


def encoding_of(sample: bytes) -> str | None:
    """The encoding of a file by its beginning; None where it is not UTF-8 and no other is sure.

    A file most of whose bytes beyond ASCII are UTF-8 is UTF-8 with broken lines.
    """
    for bom, name in BOMS:
        if sample.startswith(bom):
            return name
    whole = sample[:SAMPLE]
    if len(whole) == SAMPLE:  # it may end within a character
        whole = whole[: max(whole.rfind(b"\n"), SAMPLE - 3)]
    try:
        whole.decode()
        return "utf-8"
    except UnicodeDecodeError:
        text = whole.decode(errors="replace")
    broken = text.count("\ufffd") - whole.count("\ufffd".encode())
    if sum(not char.isascii() for char in text) - broken > broken:
        return "utf-8"
    lines = b"\n".join(line for line in whole.split(b"\n") if not line.isascii())[: 1 << 16]
    if len(re.findall(rb"[\x80-\xff]", lines)) < ENOUGH:
        return None
    import charset_normalizer

    best = charset_normalizer.from_bytes(lines, cp_isolation=LEGACY).best()
    return None if best is None or best.encoding == UNSURE else best.encoding


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - it is only given to decoders
    return "\udcff", error.end


codecs.register_error("assay_broken", _marked)


class Recoded(io.RawIOBase):
    """A stream of text in any encoding, as one in UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("assay_broken")
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


def in_utf8(stream: IO[bytes], stated: str | None) -> tuple[IO[bytes], str | None]:
    """A stream in UTF-8, and what the encoding was: None where no line that is not UTF-8 can be read."""
    encoding = stated
    if stated is None:
        head = head_of(stream, SAMPLE)
        encoding = encoding_of(head)
        stream = io.BufferedReader(Rejoined(head, stream), 1 << 16)
    if encoding is None or is_utf8(encoding):
        return stream, encoding
    return io.BufferedReader(Recoded(stream, encoding), 1 << 16), encoding


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
