"""The folder of a data set: which of its files a split has.

What `Dataset.save_to_disk` left says so itself, in state.json. Of any other folder the names of its files decide, as
they do for `datasets` (its data_files.py) where there is no card. Cards and loading scripts are not looked at: what
they name may lie anywhere.
"""

import re
from collections import Counter
from pathlib import Path, PurePosixPath

import orjson

from curate.errors import AssayError
from curate.reach import Below
from curate.read.sniff import format_by_name

FORMATS = ("parquet", "arrow", "jsonl", "json", "csv", "tsv")
"""A data set is of the files of one format: that of most; of as many, the first of these."""
WORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "dev", "val"},
    "test": {"test", "testing", "eval", "evaluation"},
}
"""What folders or files of a split are called, among other words."""
BETWEEN_WORDS = re.compile("[-._ 0-9/]+")
SHARD = re.compile(r"data/([^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*")
"""A file of any split, as the hub names them."""
ABOUT = {"config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
"""Files that tell of a data set."""


def dataset_files(drop: Path, name: str, config: str | None, split: str) -> list[str]:
    """Names of a split's files, relative to the drop; that of the folder itself if it is a link that leads out.

    Args:
        drop: a folder.
        name: of a folder in it.
        config: of its folders the one that is meant, where there is one of that name.
        split: "train", or what else the data set has; a `Dataset` that was saved alone is of any.

    Raises:
        AssayError: there is no such split, or state.json is not as `save_to_disk` leaves it.
    """
    folder, below = drop / name, Below(drop)
    if below.way_out(folder) is not None:
        return [name]
    if config is not None and "/" not in config and config != ".." and (folder / config).is_dir():
        return dataset_files(drop, f"{name}/{config}", None, split)
    saved = folder / split if (folder / "dataset_dict.json").is_file() else folder
    if "/" not in split and split != ".." and (saved / "state.json").is_file():
        files = [(saved / file).relative_to(drop).as_posix() for file in _saved_files(saved / "state.json", below)]
    else:
        splits = _by_name(folder)
        files = [(folder / file).relative_to(drop).as_posix() for file in splits.get(split, [])]
    if not files:
        raise AssayError(
            f"{name}: no files of a split {split!r}.",
            remedy=f"State another `split`, or name the files in `files`; a data set's are {', '.join(FORMATS)}.",
        )
    return files


def _saved_files(state: Path, below: Below) -> list[str]:
    """The files that a state.json names, which lie beside it."""
    wrong = AssayError(
        f"{state}: not as `save_to_disk` leaves it: expected `_data_files` with the names of files beside it.",
        remedy="Name the files in `files`.",
    )
    if below.way_out(state) is not None:
        raise wrong
    try:
        names = [file["filename"] for file in orjson.loads(state.read_bytes())["_data_files"]]
    except (ValueError, TypeError, LookupError):
        raise wrong from None
    if not all(isinstance(name, str) and PurePosixPath(name).name == name not in ("", "..") for name in names):
        raise wrong
    return names


def _by_name(folder: Path) -> dict[str, list[str]]:
    """By split, the files in a folder that are called like those of a data set; a file's name alone is a split too."""
    found = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if not path.is_dir()]
    names = [
        name.as_posix()
        for name in found
        if name.name not in ABOUT and not any(part.startswith((".", "__")) for part in name.parts)
    ]
    formats = Counter(format for name in names if (format := format_by_name(name)) in FORMATS)
    most = min(formats, key=lambda format: (-formats[format], FORMATS.index(format)), default=None)
    names = [name for name in names if format_by_name(name) == most]
    shards = {name: shard[1] for name in names if (shard := SHARD.fullmatch(name))}
    if shards:
        return {split: [name for name in shards if shards[name] == split] for split in shards.values()}
    alone = {name.partition(".")[0]: [name] for name in names if "/" not in name}
    paths = {name: PurePosixPath(name) for name in names}
    for parts in ({name: str(path.parent) for name, path in paths.items()}, {n: p.name for n, p in paths.items()}):
        words = {name: {*BETWEEN_WORDS.split(part)} for name, part in parts.items()}
        splits = {split: [name for name in names if words[name] & WORDS[split]] for split in WORDS}
        if any(splits.values()):
            return alone | splits
    return alone | {"train": names}
