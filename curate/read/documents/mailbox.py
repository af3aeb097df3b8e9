"""Mail folders (MBOX) -> a row a mail, in the memory of one."""

import re
from collections.abc import Iterator
from typing import IO

from curate.read.documents.reader import LARGEST, read_document
from curate.read.raw_row import Row, Unread, bounded_lines

ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
"""A mail's line that would begin another one, as it is written."""


def mailbox_rows(stream: IO[bytes], name: str) -> Iterator[Row | Unread]:
    """What `documents.mail.eml` gives of each mail, and its `number`, from 1.

    A mail begins with a line `From ...` at the file's beginning or behind a blank line.
    """
    for number, mail in enumerate(_mails(stream), 1):
        for row in read_document(ESCAPED.sub(rb"\1", mail), "eml", name):
            yield row | {"number": number} if isinstance(row, dict) else row


def _mails(stream: IO[bytes]) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    blank, begun = True, False
    for line in bounded_lines(stream):
        if blank and line.startswith(b"From "):
            if begun:
                yield b"".join(lines)
            lines, size, begun = [], 0, True
        else:
            begun = True
            size += len(line)
            if size <= LARGEST + len(line):  # the reader says that it is too long
                lines.append(line)
        blank = not line.strip()
    if begun:
        yield b"".join(lines)
