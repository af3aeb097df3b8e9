"""Buckets: objects below a URL of an object storage, by fsspec.

Beside get, put, list, copy and remove one thing is asked of a storage: to create an object only where there is none
(`If-None-Match` of S3, `ifGenerationMatch=0` of Google's, `overwrite=False` of Azure's). All that must not be done
twice is done by it.
"""

import errno
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from secrets import token_bytes
from typing import Any, NamedTuple, TypeVar

from curate.errors import AssayError
from curate.urls import masked

Item = TypeVar("Item")
Result = TypeVar("Result")

S3, GOOGLE, AZURE = (f"'assay-curation[{extra}]'" for extra in ("s3", "gs", "abfs"))
PACKAGES = {"s3": S3, "s3a": S3, "gs": GOOGLE, "gcs": GOOGLE, "abfs": AZURE, "abfss": AZURE, "az": AZURE}
"""Storages that a store may lie on, by scheme, and what is installed for each."""
CONDITIONAL = "assay-conditional-put"
"""The object by which a storage shows that it creates none where there is one."""
THREADS = 16
"""Requests at a time."""
MOST_REMOVED = 1000
"""Objects that are removed by a request."""
PATIENT: dict[str, Any] = {"config_kwargs": {"connect_timeout": 30, "read_timeout": 60}}
"""Seconds. s3fs gives up after 5 and 15, which a machine at work with all its cores may need by itself."""
EXISTS = ("preconditionfailed", "precondition failed", "pre conditions", "preconditions")
"""Words by which a storage says that it was not to put an object in the place of one ..."""
EXISTS_CODE = "412"
"""... and the code of one that says no more."""
CONFLICT = "ConditionalRequestConflict"
"""By which S3 says that another has just put the object, or is about to."""
TRIES = 3
"""Of what a connection cut short; the libraries try again by themselves too."""
PAUSE = 0.1
"""Seconds before it is tried again."""


class Found(NamedTuple):
    """An object, as a listing tells of it."""

    size: int
    """Bytes."""
    modified: float
    """When it was put, by the storage's clock: seconds since the epoch."""


class Bucket:
    """What lies below a URL.

    Args:
        url: of the storage, without keys: each machine has them from its own environment.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._lock = threading.Lock()
        self._creates = False

    def get(self, name: str) -> bytes | None:
        """The bytes of an object; None where there is none."""
        with tempfile.TemporaryDirectory() as folder:  # by one request; `cat_file` asks for the size first
            path = Path(folder) / "object"
            return path.read_bytes() if self.get_file(name, path) else None

    def get_file(self, name: str, path: Path) -> bool:
        """Write an object's bytes to a file; False where there is none."""
        return bool(self._absent_is(False, f"get {name}", lambda: self._got(name, path)))

    def _got(self, name: str, path: Path) -> bool:
        self._storage.get_file(self._path(name), str(path))
        return True

    def put(self, name: str, content: bytes) -> None:
        """Put an object, also in the place of one."""
        with self._explained(f"put {name}"):
            _again(lambda: self._storage.pipe_file(self._path(name), content))

    def put_file(self, name: str, path: Path) -> None:
        """Put a file's bytes."""
        with self._explained(f"put {name}"):
            _again(lambda: self._storage.put_file(str(path), self._path(name)))

    def create(self, name: str, content: bytes) -> bool:
        """Put an object where there is none; False where there is one, which stays.

        An answer may get lost on its way: then the object is there, and this says whether it has this very content,
        which is to be no other writer's.
        """
        self._require_conditional()
        return self._created(name, content)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; one that is not there is none that has to be removed."""
        paths = [self._path(name) for name in names]
        for begin in range(0, len(paths), MOST_REMOVED):
            some = paths[begin : begin + MOST_REMOVED]
            self._absent_is(None, "remove objects", lambda some=some: self._storage.rm(some))  # type: ignore[misc]

    def copy(self, name: str, to: str) -> None:
        """Copy an object within the storage."""
        with self._explained(f"copy {name}"):
            _again(lambda: self._storage.cp_file(self._path(name), self._path(to)))

    def listed(self, below: str) -> dict[str, Found]:
        """All objects below a name, by their whole names, in order."""
        folder, _, last = self._path(below).rpartition("/")
        # With a prefix it is one request; without, s3fs asks twice more where there are none.
        found = self._absent_is({}, f"list {below}", lambda: self._storage.find(folder, detail=True, prefix=f"{last}/"))
        begin = len(self._root) + 1
        return {
            path[begin:]: Found(int(info["size"] or 0), _modified(info))
            for path, info in sorted(found.items())
            if info["type"] == "file" and path.startswith(f"{folder}/{last}/")
        }

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`function` of each item, some at a time."""
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(function, items))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    @property
    def _root(self) -> str:
        root: str = self._opened[1]
        return root

    @property
    def _storage(self) -> Any:
        return self._opened[0]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The storage, and the path of the URL there."""
        with self._explained("open"):
            import fsspec

            options = PATIENT if self.url.startswith("s3") else {}
            storage, root = fsspec.core.url_to_fs(
                self.url, use_listings_cache=False, skip_instance_cache=True, **options
            )
            return storage, str(root).rstrip("/")

    def _absent_is(self, otherwise: Any, what: str, request: Callable[[], Any]) -> Any:
        """What a request gives, or something else where an object is not there."""
        try:
            with self._explained(what):
                return _again(request)
        except FileNotFoundError as error:
            if "bucket" in str(error) and "not exist" in str(error):
                raise AssayError(
                    f"{self.url}: the bucket does not exist.", remedy="Make it, or name another."
                ) from None
            return otherwise

    def _created(self, name: str, content: bytes) -> bool:
        path = self._path(name)
        with self._explained(f"create {name}"):
            try:
                _again(lambda: self._storage.pipe_file(path, content, mode="create"))
            except Exception as error:
                if not _says_exists(error):
                    raise
                return bool(self.get(name) == content)
        return True

    def _require_conditional(self) -> None:
        """See to it that the storage keeps an object that is there.

        Raises:
            AssayError: it puts another in its place.
        """
        with self._lock:
            if self._creates:
                return
            if self._created(CONDITIONAL, token_bytes(16)) and self._created(CONDITIONAL, token_bytes(16)):
                raise AssayError(
                    f"{self.url}: the storage puts an object in the place of one that it was to keep, so that of two "
                    "writers one would undo what the other did.",
                    remedy="Use a storage with conditional puts: S3 itself, Google's, Azure's, or a later release.",
                )
            self._creates = True

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Errors of whichever storage, told without secrets."""
        try:
            yield
        except (AssayError, FileNotFoundError):  # of what is put, it is the bucket that is not there
            raise
        except ImportError as error:
            raise AssayError(
                f"{self.url}: {error}", remedy=f"pip install {PACKAGES[self.url.partition('://')[0]]}"
            ) from None
        except OSError as error:
            if error.errno == errno.ENOSPC:  # of the disk here
                raise
            raise self._failed(what, error) from None
        except Exception as error:  # each storage raises its own
            raise self._failed(what, error) from None

    def _failed(self, what: str, error: Exception) -> AssayError:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return AssayError(
            f"{self.url}: could not {what}: {masked(words)}",
            remedy="Check the storage's keys, its rights and the network, and run the same command again: what was "
            "done is kept.",
        )


def _again(request: Callable[[], Result]) -> Result:
    """What a request gives; it is made again where a connection broke."""
    for left in reversed(range(TRIES)):
        try:
            return request()
        except Exception as error:
            if not (left and (_broke(error) or CONFLICT in f"{error} {_code(error)}")):
                raise
            time.sleep(PAUSE)
    raise AssertionError


def _broke(error: Exception) -> bool:
    """Whether it was the connection, or the server for a moment, and not what was asked for."""
    if isinstance(error, FileNotFoundError | FileExistsError | PermissionError):
        return False
    return isinstance(error, ConnectionError | TimeoutError) or getattr(error, "errno", None) in (
        errno.EIO,
        errno.EREMOTEIO,
        errno.EBUSY,
        errno.EPIPE,
    )


def _code(error: Exception) -> str:
    """What S3's answer calls an error that s3fs may have put into words; "" of any other storage's."""
    answer = getattr(error.__cause__ or error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, Mapping) else ""


def _says_exists(error: Exception) -> bool:
    """Whether a storage refuses to create an object that is there: those of Google and Azure by this error, S3 by words
    of its own."""
    code = _code(error)
    told = " ".join(re.findall("[a-z]+", f"{type(error).__name__} {error} {code}".lower()))
    return isinstance(error, FileExistsError) or code == EXISTS_CODE or any(words in told for words in EXISTS)


def _modified(info: Mapping[str, Any]) -> float:
    """When an object was put, by whichever name a storage tells it."""
    for key in ("LastModified", "mtime", "updated", "last_modified"):
        if (told := info.get(key)) is not None:
            if hasattr(told, "timestamp"):
                return float(told.timestamp())
            from datetime import datetime

            return datetime.fromisoformat(str(told)).timestamp()
    return 0.0
