"""Files: which ones a recipe names, wherever they lie, and how they are written."""

import codecs
import errno
import glob
import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import Field, field_serializer, field_validator, model_validator

from curate.cache import cache_folder, keyed_folder, sound
from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.patterns import compile_start
from curate.reach import Below, installed_by, is_url, require_reachable, unreadable_kind
from curate.read.dataset_folder import dataset_files
from curate.read.sniff import format_by_name
from curate.stage import Settings
from curate.urls import masked, without_secrets


class Options(Settings):
    """How files are written, where their bytes cannot tell it or tell it wrongly."""

    encoding: str | None = Field(
        None, description="Python's name of the text's encoding; by default UTF-8, or what the bytes show."
    )
    fallback_encoding: str | None = Field(
        None,
        description="Encoding of files that are not UTF-8 and declare none, in place of a guess; Python's name of it.",
    )
    delimiter: str | None = Field(
        None, min_length=1, description="What is between a CSV's cells; by default told by its first rows."
    )
    quote: str | None = Field(
        None, max_length=1, description="Character around a CSV's cells, by default \"; empty where quotes are text."
    )
    escape: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Character in a CSV before a quote, a delimiter or itself that is text, and before the N of a null "
        "cell; by default none, or the backslash where the first rows show it.",
    )
    header: bool = Field(True, description="Whether a CSV's first row names its columns.")
    columns: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of a CSV's columns without `header`; by default column_1, column_2, ..."
    )
    rows: str | None = Field(
        None,
        min_length=1,
        description="Where a JSON object has its rows: a key's name, or several from the outside in, as data.items; * "
        "for the values of all keys, which become the column _key; . if the object is a row. By default told by its "
        "form.",
    )
    ocr: bool = Field(
        False, description="Whether pages of a PDF without text are recognised (`pip install 'assay-curation[ocr]'`)."
    )
    record_start: str | None = Field(
        None,
        min_length=1,
        description="Pattern of the lines with which the rows of a text file begin, matched at a line's beginning; its "
        "named groups become columns. By default a file is one row.",
    )
    record_separator: str | None = Field(
        None, description="Pattern of whole lines between the rows of a text file; empty for blank lines."
    )

    @field_validator("encoding", "fallback_encoding")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                known = codecs.decode(codecs.encode("a", name), name) == "a"
            except (LookupError, TypeError, ValueError):
                known = False
            if not known:
                raise ValueError(f"{name!r} is no encoding that Python knows")
        return name

    @field_validator("record_start", "record_separator")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        groups = compile_start(pattern or "").groupindex
        if taken := {"text", "name", "number"} & groups.keys():
            raise ValueError(f"a group named {min(taken)!r}, which every row of text has: give it another name")
        return pattern

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.columns and self.header:
            raise ValueError("`columns` name a table without a header line: state `header: false` beside them")
        if self.record_start is not None and self.record_separator is not None:
            raise ValueError("either `record_start` or `record_separator`")
        return self

    @property
    def cuts_text(self) -> bool:
        """Whether a file of text has several rows."""
        return self.record_start is not None or self.record_separator is not None


Format = Literal[
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "arrow",
    "front_matter",
    "text",
    "pdf",
    "docx",
    "odt",
    "rtf",
    "html",
    "eml",
    "mbox",
    "xlsx",
    "conll",
    "brat",
]
UNSTATED = Options()
LEAVES = "a link that leads out of the drop: what it leads to is not read"
NOWHERE = "a link that leads to no file"


class Files(Options):
    """Which files, and in what format."""

    files: list[str] = Field(
        default=[],
        description="Globs or folders relative to the drop, or to the package's root; or URLs (s3://, gs://, https://).",
    )
    package: str | None = Field(None, description="PyPI package that carries the files, found where it is installed.")
    format: Format | None = Field(
        None, description="Format of the files; by default told by their content, or else by their suffix."
    )
    dataset: str | None = Field(
        None, description="Hub id, or folder below the drop, by the names of its files or as `save_to_disk` left it."
    )
    config: str | None = Field(None, description="Configuration name of `dataset`.")
    split: str = Field("train", description="Split of `dataset`.")
    revision: str | None = Field(
        None, description="Commit or tag of a hub `dataset`; pin it: the cache is keyed by it."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> "Files":
        if bool(self.files) == (self.dataset is not None):
            raise ValueError("name either `files` (globs) or `dataset` (hub id or local folder)")
        if self.cuts_text and self.format not in (None, "text"):
            raise ValueError(f"`record_start` and `record_separator` cut text, and `format` is {self.format!r}")
        return self

    @field_serializer("files", when_used="json")
    def _without_secrets(self, files: list[str]) -> list[str]:
        """As JSON a recipe goes into manifests."""
        return [without_secrets(name) for name in files]

    def require_reachable(self) -> None:
        """See to it that a recipe may name them.

        Raises:
            AssayError: one leaves the drop or the package's root, or is of a storage that a recipe may not reach.
        """
        for name in self.files if self.dataset is None else [self.dataset]:
            require_reachable(name, "Source", "the drop", "Write it relative to the drop; name that with --drop.")

    def fetched(self, drop: str | Path) -> list[str]:
        """What it names, apart from the drop itself, that a network would have to give.

        Raises:
            AssayError: see `require_reachable`.
        """
        self.require_reachable()
        if self.dataset is not None:
            return [] if (Path(_local(drop)) / self.dataset).is_dir() else [self.dataset]
        return [name for name in self.files if is_url(name)]

    @property
    def options(self) -> Options:
        return Options(**self.model_dump(include=set(Options.model_fields)))


@dataclass(frozen=True)
class InputFile:
    """One file of a drop."""

    path: Path
    name: str
    """Relative to the drop's or the package's root, with forward slashes; of a remote file its URL. A byte that is no
    UTF-8 is written as its escape, `\\xff`."""
    sha256: str
    """Empty as long as it has only been listed."""
    size: int
    """Bytes."""
    format: str | None
    """As the recipe states it; None where a file's, or each member's, content and name tell it."""
    options: Options = UNSTATED
    unread: str = ""
    """Why it is not opened: it leads out of the drop or nowhere, or is no file."""
    columns: tuple[str, ...] = ()
    """Those that rows of it have, in order, once it is read; none where there are more than it is worth to tell."""
    always: tuple[str, ...] = ()
    """Those of them that every row has."""
    copied: bool = field(default=False, compare=False)
    """Whether it is a remote file's copy that has just been made, in an entry of the cache."""


def find_files(files: Files, drop: str | Path, cache: Path) -> list[InputFile]:
    """The files that a source names, sorted by name, each with its content hash.

    Args:
        files: a source or lookup of the recipe.
        drop: folder or URL that relative globs start from.
        cache: folder where remote files are kept, and a `dataset` of the hub as Parquet.

    Raises:
        AssayError: a glob matches nothing, or a package is not installed.
    """
    return [hashed(file) for file in list_files(files, drop, cache)]


def hashed(file: InputFile) -> InputFile:
    """The file with its content hash; one that is not opened is known by why."""
    if file.unread:
        return replace(file, sha256=digest(file.unread))
    try:
        return replace(file, sha256=file_digest(file.path))
    except OSError as error:
        raise unopened(file.path, error) from None


def list_files(files: Files, drop: str | Path, cache: Path) -> list[InputFile]:
    """What `find_files` finds, not hashed yet."""
    drop = _local(drop)
    files.require_reachable()
    listed = partial(InputFile, sha256="", format=files.format, options=files.options)
    if files.dataset is not None:
        local = Path(drop) / files.dataset
        if is_url(str(drop)) or not local.is_dir():
            path = _hub_dataset_as_parquet(files, cache)
            return [InputFile(path, f"{files.dataset}/{files.split}", "", path.stat().st_size, "parquet")]
        names = dataset_files(Path(drop), files.dataset, files.config, files.split)
        patterns = [glob.escape(name) for name in names]
    else:
        patterns = files.files
    found: dict[tuple[str, Path], InputFile] = {}
    for pattern in patterns:
        if files.package is not None:
            matches = _matches(_package_root(files.package), pattern, listed, links=True)
        elif is_url(pattern) or is_url(str(drop)):
            matches = _fetched(pattern if is_url(pattern) else _joined(str(drop), pattern), listed, cache)
        else:
            matches = _matches(Path(drop), pattern, listed)
        found |= {(file.name, file.path): file for file in matches}
    return [found[place] for place in sorted(found)]


def _joined(drop: str, pattern: str) -> str:
    """The URL of what a pattern names below a drop that is a URL."""
    if "::" in pattern:
        raise AssayError(f"Source {pattern!r} leaves the drop.", remedy="Name what is below the drop's URL.")
    return f"{drop.rstrip('/')}/{pattern}"


def _local(drop: str | Path) -> str | Path:
    """A drop; a folder of this machine as its path, so that its files have the same names however it is written."""
    parts = urlsplit(str(drop))
    return url2pathname(parts.path) if parts.scheme in ("file", "local") else drop


def place_of(drop: str | Path) -> str:
    """Where a drop lies: a folder's whole path, or a URL without secrets."""
    drop = _local(drop)
    return without_secrets(str(drop)) if is_url(str(drop)) else str(Path(drop).resolve())


def _matches(root: Path, pattern: str, listed: Callable[..., InputFile], links: bool = False) -> list[InputFile]:
    """What a glob or a folder's name below `root` names.

    Args:
        root: a folder.
        pattern: see `Files.files`.
        listed: makes a file of its path, name and size, as its source says it is written.
        links: whether links may lead out of the folder: those of an installed package are the user's.
    """
    below = Below(root)
    begin = len(root.as_posix().rstrip("/")) + 1 if root != Path() else 0
    found: list[InputFile] = []
    try:
        for path in _globbed(below, pattern):
            name = as_text(path.as_posix()[begin:])
            try:
                known = path.lstat()
                is_link = stat.S_ISLNK(known.st_mode)
                out = None if links else below.way_out(path, is_link)
                if out is None and is_link:
                    known = path.stat()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):
                    raise unopened(path, error) from None
                found.append(listed(path, name, size=0, unread=NOWHERE))
                continue
            if out is not None:
                found.append(listed(out, as_text(out.as_posix()[begin:]), size=0, unread=LEAVES))
            elif (kind := unreadable_kind(known.st_mode)) is not None:
                found.append(listed(path, name, size=0, unread=f"{kind}: not opened"))
            elif stat.S_ISREG(known.st_mode):
                found.append(listed(path, name, size=known.st_size))
    except ValueError as error:
        raise AssayError(f"Source {pattern!r} is no glob: {error}.", remedy="Mend it in the recipe.") from None
    _check_folders(root, pattern)
    if not found:
        raise AssayError(
            f"No file matches {pattern!r} below {root}.",
            remedy="Name the folder of the raw files with --drop, or mend `sources` in the recipe.",
        )
    return found


def as_text(name: str) -> str:
    """A file's name as the system gives it; what of it is no UTF-8 as escapes, as no text that is kept can hold it."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _globbed(below: Below, pattern: str) -> Iterable[Path]:
    """The paths that a pattern names; of a folder's name all in it, unless it is a link that leads out."""
    place = below.root / pattern
    if place.is_symlink() and not place.exists():  # which pathlib passes over where it is named
        return [place]
    if not pattern or glob.has_magic(pattern) or not place.is_dir():
        return below.root.glob(pattern)
    return below.root.glob(f"{pattern.rstrip('/')}/**/*") if below.way_out(place) is None else [place]


def _check_folders(root: Path, pattern: str) -> None:
    """Every folder that a glob looks into must be readable: pathlib passes over one that is not."""
    parts = PurePosixPath(pattern).parts
    for depth in range(len(parts)):
        for path in root.glob("/".join(parts[:depth])) if depth else [root]:
            if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
                raise AssayError(f"{path}: Permission denied.", remedy="Make the folder readable.")


def unopened(path: Path, error: OSError) -> AssayError:
    """What is said of a file that the system does not open."""
    return AssayError(f"{path}: {error.strerror}.", remedy="Make the file readable.")


def _package_root(package: str) -> Path:
    """The folder that a package's file names are relative to, found without importing it."""
    try:
        return Path(str(metadata.distribution(package).locate_file("")))
    except (metadata.PackageNotFoundError, ValueError):
        raise AssayError(f"Package {package!r} is not installed.", remedy=installed_by(package)) from None


def _told(error: Exception, url: str) -> str:
    """A storage's error; of a URL with secrets its kind alone, as its words may hold a part of them."""
    if without_secrets(url) == url:
        return f"{type(error).__name__}: {masked(str(error))}"
    status = getattr(error, "status", None)
    return type(error).__name__ + (f" ({status})" if isinstance(status, int) else "")


def _fetched(url: str, listed: Callable[..., InputFile], cache: Path) -> list[InputFile]:
    """Remote files, copied into the cache once for each content that the storage tells apart."""
    import fsspec

    shown = without_secrets(url)
    try:
        storage, path = fsspec.core.url_to_fs(url)
        storage.invalidate_cache()
        paths = [path] if not glob.has_magic(shown) else sorted(storage.glob(path))
        if len(paths) == 1 and storage.isdir(paths[0]):
            paths = sorted(storage.find(paths[0]))
        if not paths:
            raise FileNotFoundError("no file matches")
        if len(paths) == 1 and paths[0] == path:
            names = [shown]
        else:
            names = [without_secrets(storage.unstrip_protocol(each)) for each in paths]
        if len(set(names)) < len(names):
            raise ValueError("some URLs differ only in what follows the ?, which is not kept, as it may hold keys")
        with ThreadPoolExecutor(8) as threads:
            copies = list(threads.map(lambda path, name: _copy(storage, path, name, cache), paths, names))
    except ImportError as error:
        extra = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}.get(shown.partition("://")[0])
        remedy = f"pip install 'assay-curation[{extra}]'" if extra else "Install the package that it names."
        raise AssayError(f"{shown}: {_told(error, url)}", remedy=remedy) from None
    except Exception as error:  # each storage raises its own
        raise AssayError(
            f"{shown}: {_told(error, url)}", remedy="Check the URL, the storage's keys and the network."
        ) from None
    return [
        listed(path, name, size=path.stat().st_size, copied=made)
        for name, (path, made) in zip(names, copies, strict=True)
    ]


def _copy(storage: Any, path: str, name: str, cache: Path) -> tuple[Path, bool]:
    """A remote file's copy in the cache, made anew when the storage shows another state of it; and whether it was."""
    folder = keyed_folder(cache / "remote", digest([storage.unstrip_protocol(path), storage.ukey(path)]))
    name = PurePosixPath(name).name  # whose suffixes tell what its content may not
    made = not sound(folder)
    if made:
        cache_folder(folder, lambda draft: storage.get_file(path, str(draft / name)))
    return folder / name, made


def _hub_dataset_as_parquet(files: Files, cache: Path) -> Path:
    """A data set of the hub, of files in its own repository."""
    import datasets

    name = str(files.dataset)
    folder = keyed_folder(cache / "hub", digest([files.model_dump(), None]))
    if not sound(folder):
        if Path(name).exists():
            raise AssayError(
                f"Dataset {name!r} is not below the drop, and `datasets` would take for it what is called so where the "
                "command runs.",
                remedy="Name a folder below the drop, or run the command elsewhere.",
            )
        try:
            builder = datasets.load_dataset_builder(name, files.config, revision=files.revision)
            _require_own_files(name, [file for each in (builder.config.data_files or {}).values() for file in each])
            builder.download_and_prepare()
            loaded = builder.as_dataset(split=files.split)
        except AssayError:
            raise
        except Exception as error:  # the library raises its own, the hub's and the network's errors
            raise AssayError(
                f"datasets.load_dataset({name!r}, split={files.split!r}) failed: {error}",
                remedy="Check the name, the split and the network; or name a local folder.",
            ) from None
        cache_folder(folder, lambda draft: loaded.to_parquet(str(draft / "rows.parquet")))
    return folder / "rows.parquet"


def _require_own_files(name: str, files: list[str]) -> None:
    """See to it that a data set of the hub is of files in its own repository: its card may name any."""
    for file in files:
        if not file.startswith((f"hf://datasets/{name}@", f"hf://datasets/{name}/")) or "::" in file or "/../" in file:
            raise AssayError(
                f"The card of the data set {name} names {file!r}, which is not in its repository.",
                remedy="Download the data set, look at it, and name its files in `sources`.",
            )


def drop_digest(files: list[InputFile], named: bool) -> str:
    """Content hash of a drop (hex): its files' bytes and formats, in any order.

    Args:
        files: hashed.
        named: whether their names count too, since rows depend on them.
    """
    lines = sorted(
        f"{file.name if named else ''}\0{file.sha256}\0{file.format or format_by_name(file.name)}" for file in files
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def grouped(files: Iterable[InputFile], size: int, each: int) -> list[tuple[InputFile, ...]]:
    """Files in groups of about `size` bytes, in their order; a larger file is a group of its own.

    Args:
        files: of known size.
        size: of a group.
        each: bytes that a file costs besides its own.
    """
    groups: list[list[InputFile]] = []
    room = 0
    for file in files:
        cost = file.size + each
        if not groups or cost > room:
            groups.append([])
            room = size
        groups[-1].append(file)
        room -= cost
    return [tuple(group) for group in groups]
