"""Files of a store that change, as a bucket has them: a folder of the file's name, of objects that are numbered.

Of a file of lines (`.jsonl`) each object holds some, in turn: together they are the file. Of any other each object is
the whole file, and the last one counts. Who creates the next number has changed the file; who comes second reads again.
So no two writers undo what the other did, whatever becomes of their locks. Each object begins with a line that no other
has, by which a writer knows its own.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from curate.bucket import Bucket
from curate.drafts import locked, replace_file
from curate.errors import AssayError

KEPT = 8
"""Older states of a file that are kept."""
ANEW = b"anew"
"""In an object's first line: the lines of those before it were put anew."""


class Changing:
    """A file that changes, and its copy here.

    Args:
        bucket: where it lies.
        name: of the file there.
        path: of the copy.
        notes: where it is noted which number the copy is of.
    """

    def __init__(self, bucket: Bucket, name: str, path: Path, notes: Path) -> None:
        self.bucket, self.name, self.path = bucket, name, path
        self._note = notes / f"{name.replace('/', '%')}.json"
        self._lines = path.suffix == ".jsonl"

    def fresh(self) -> None:
        """Have the copy be what the bucket holds."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._note.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._note.parent):
            self._pull()

    def replace(self, content: bytes, before: Callable[[], None]) -> None:
        """Replace the file, of which the copy has been read while nobody else was to change it.

        Args:
            content: of the file; none of a file that is removed.
            before: asked at last, raises what keeps it from being replaced.

        Raises:
            AssayError: it has been changed meanwhile.
        """
        self._note.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._note.parent):
            number = self._known() + 1
            before()
            if not self._put(number, content):
                raise AssayError(
                    f"{self.bucket.url}/{self.name}: another process has changed it meanwhile.",
                    remedy="Run the same command again.",
                )
            self._keep(number, content)
            old = [name for name in self.bucket.listed(self.name) if int(name.rpartition("/")[2]) <= number - KEPT]
            if old:
                self.bucket.remove(old)

    def add(self, lines: bytes) -> None:
        """Add lines to the file, at its end."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._note.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._note.parent):
            while True:
                self._pull()
                number = self._known() + 1
                if self._put(number, lines):
                    self._keep(number, self._copy() + lines)
                    return

    def reword(self, words: Callable[[bytes], bytes]) -> None:
        """Write some of the lines anew; every copy, wherever it is, is made again.

        Args:
            words: of a line; none, and it goes.
        """
        names = self.bucket.listed(self.name)
        for name in names:
            head, _, old = (self.bucket.get(name) or b"").partition(b"\n")
            new = b"".join(said + b"\n" for line in old.split(b"\n") if line and (said := words(line)))
            if new != old:
                self.bucket.put(name, head + b"\n" + new)
        if names:  # whether these were written anew now, or by a process that was killed before it said so
            self.fresh()
            while not self._put(self._known() + 1, b"", ANEW):
                self.fresh()
            self.fresh()

    def _put(self, number: int, content: bytes, kind: bytes = b"") -> bool:
        head = uuid4().hex.encode() + b" " + kind
        if not self.bucket.create(self._object(number), head + b"\n" + content):
            return False
        return self._lines or max(self._numbers()) == number  # else its number had been removed, as old

    def _pull(self) -> None:
        known = self._known()
        if self._lines:
            if known and self.bucket.get(self._object(known + 1)) is None:
                return
            numbers = self._numbers()
            self._pull_lines(known, numbers)
        elif (last := max(self._numbers(), default=0)) != known:
            self._keep(last, self._of(last)[1] if last else b"")

    def _pull_lines(self, known: int, numbers: list[int]) -> None:
        new = self.bucket.each(self._of, [number for number in numbers if number > known])
        if known and any(ANEW in head for head, _ in new):
            self._pull_lines(0, numbers)
        elif new:
            before = self._copy() if known else b""
            self._keep(max(numbers), before + b"".join(lines for _, lines in new))

    def _of(self, number: int) -> tuple[bytes, bytes]:
        """The first line of an object, and the rest."""
        content = self.bucket.get(self._object(number))
        if content is None:
            raise AssayError(
                f"{self.bucket.url}/{self._object(number)}: not there, though there are others of the file.",
                remedy="Restore it from a copy of the bucket.",
            )
        head, _, rest = content.partition(b"\n")
        return head, rest

    def _known(self) -> int:
        """The number that the copy is of; 0 if there is none that is whole."""
        try:
            number, size = json.loads(self._note.read_bytes())
            return int(number) if size == len(self._copy()) else 0
        except (FileNotFoundError, ValueError, TypeError):
            return 0

    def _keep(self, number: int, content: bytes) -> None:
        if content or self._lines:
            replace_file(self.path, content)
        else:
            self.path.unlink(missing_ok=True)
        replace_file(self._note, json.dumps([number, len(content)]).encode())

    def _copy(self) -> bytes:
        return self.path.read_bytes() if self.path.is_file() else b""

    def _object(self, number: int) -> str:
        return f"{self.name}/{number:010d}"

    def _numbers(self) -> list[int]:
        return [int(name.rpartition("/")[2]) for name in self.bucket.listed(self.name)]


def is_state(name: str) -> bool:
    """Whether an object is one of those of a file that changes."""
    return re.fullmatch(r".*/\d{10}", name) is not None
