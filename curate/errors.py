"""The one exception that reaches the user as a message rather than a traceback."""

import errno
import os
import re
from pathlib import Path
from typing import ClassVar

from curate.addresses import addressed
from curate.urls import masked

NO_MEMORY = (
    "Cannot allocate memory",
    "failed to map segment",
    "Failed to launch worker thread",
    "can't start new thread",
    "can't allocate memory",
    "CUDA out of memory",
)
"""Words of the system, of its loader, of Arrow, of Python and of torch where there is no more memory."""


NO_SPACE = re.compile(
    r"No space left on device|\(os error 28\)|inline_container\.cc:\d+\] \. (unexpected pos|PytorchStreamWriter)"
    r"|\d+ requested and \d+ written"
)
"""Words of the system, of libraries in Rust, of torch and of numpy where a disk is full: not all pass the errno on."""


def no_memory(error: BaseException) -> bool:
    """Whether an error, of whichever library, says that there is no more memory."""
    torch_s = type(error).__name__ == "OutOfMemoryError"  # of a GPU
    named = isinstance(error, MemoryError | ShortOfMemory) or torch_s
    return named or any(words in str(error) for words in NO_MEMORY)


class AssayError(Exception):
    """Something the user can mend: says what is wrong, where, and what to do about it, and no secret of a URL; of a
    store in a bucket the bucket's address.

    Args:
        message: what is wrong and where (file, row, key), and what was expected.
        remedy: what to do about it; printed on a line of its own.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = addressed(masked(message))
        self.remedy = masked(remedy)
        super().__init__(self.message, self.remedy)

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class SetAsideError(AssayError):
    """Nothing is published of a drop because of what it holds, and the ledger tells of it: it is not tried again."""

    why: ClassVar[str]
    """In a word, for programs."""


class ShortOfMemory(AssayError):
    """There is less memory than the work takes, by a forecast or as it was found."""


class ShortOfDisk(AssayError):
    """There is less room on a disk than the work takes, by a forecast."""


class RotError(AssayError):
    """An entry of the cache is not as it was written; `curate.cache.mended` makes it anew.

    Args:
        folder: the entry.
        problem: which of its files is concerned, and how.
    """

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(
            f"{folder}: damaged, {problem}.", remedy="Remove the folder: it is part of the cache and is made anew."
        )
        self.args = (folder, problem)  # by which it is pickled
        self.folder = folder
        self.problem = problem


def explained(error: Exception) -> AssayError | None:
    """What is told of an error that users can mend, also where a library or the system raised it; None of a defect."""
    if isinstance(error, AssayError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return AssayError(f"The package {error.name!r} is not installed.", "pip install 'assay-curation[train,demo]'")
    if getattr(error, "errno", None) == errno.ENOSPC or NO_SPACE.search(str(error)):
        where = f"{name}: " if (name := getattr(error, "filename", None)) else ""
        return AssayError(
            f"{where}{os.strerror(errno.ENOSPC)}. Nothing half-made was published.",
            "Make room on the disk of the store (`assay gc` tells what may go) and run the same command again.",
        )
    if type(error).__name__ == "OutOfMemoryError":  # torch's
        return AssayError(
            f"The GPU has no more memory ({' '.join(str(error).split())[:200]}). Nothing half-made was published.",
            "Lower training.batch_size, with as much more training.gradient_accumulation_steps (`assay forecast` tells "
            "what training takes), or evaluation.batch_size, and run the same command again: what was done is kept.",
        )
    if no_memory(error):
        return AssayError(
            f"This process gets no more memory ({error}). Nothing half-made was published.",
            "Allow it more (`ulimit -v unlimited`, the container's limit), or use a machine that has more, and run the "
            "same command again: what was finished is kept.",
        )
    if isinstance(error, OSError) and error.strerror:
        return AssayError(
            f"{error.filename or 'The system'}: {error.strerror}.", "Mend that and run the same command again."
        )
    return None
