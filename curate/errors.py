"""The one exception that reaches the user as a message rather than a traceback."""

from pathlib import Path

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


def no_memory(error: BaseException) -> bool:
    """Whether an error, of whichever library, says that there is no more memory."""
    torch_s = type(error).__name__ == "OutOfMemoryError"  # of a GPU
    named = isinstance(error, MemoryError | ShortOfMemory) or torch_s
    return named or any(words in str(error) for words in NO_MEMORY)


class AssayError(Exception):
    """Something the user can mend: says what is wrong, where, and what to do about it, and no secret of a URL.

    Args:
        message: what is wrong and where (file, row, key), and what was expected.
        remedy: what to do about it; printed on a line of its own.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = masked(message)
        self.remedy = masked(remedy)

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


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
