"""Inputs: real texts cut from the sources of the packages installed here; deterministic for one environment."""

import hashlib
import random
import shutil
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

Given = dict[str, Callable[[], str]]
"""Sources of texts: by name what gives the text."""
SITE = Path(sysconfig.get_path("purelib"))
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
CUT = 2_000
PIECE = 300, 950
"""Characters of a piece of `mutated`: the fewest, and the most."""
NEAR_DUPLICATES = 0.3
"""Share of rows of `mutated` that are altered copies of an earlier row."""
RECENT = 100_000
"""Copies are made of one of that many rows before."""


@cache
def sources() -> tuple[Path, ...]:
    """Python files of the installed packages, sorted by path."""
    return tuple(sorted(path for path in SITE.rglob("*.py") if path.is_file()))


@cache
def _code() -> Given:
    """The same, by their paths as the packages have them."""
    return {
        str(path.relative_to(SITE)): partial(path.read_text, encoding="utf-8", errors="replace") for path in sources()
    }


def prose(data: Path) -> Given:
    """Prose: the English contracts of CUAD, by name.

    Args:
        data: holds `legal_cuad`.
    """
    with tarfile.open(data / "legal_cuad" / "full_contract_txt.tar.xz") as packed:
        files = [member for member in packed if member.isfile()]
        read = [packed.extractfile(member) for member in files]
        texts = [file.read().decode(errors="replace") for file in read if file]
    return {member.name: partial(str, text) for member, text in zip(files, texts, strict=True)}


def cuts() -> Iterator[str]:
    """Every source, in order, in pieces of 2,000 characters."""
    for path in sources():
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from (text[at : at + CUT] for at in range(0, len(text), CUT))


def mutated(
    seed: int = 0, given: Given | None = None, pieces: int = 2, piece: tuple[int, int] = PIECE
) -> Iterator[str]:
    """Texts without end, of some pieces each, of which a known share are near-duplicates.

    A fresh text is pieces from as many walks over the sources, each in an order of its own, so two of them hardly ever
    share more than one; the others are earlier rows with words edited, inserted or dropped, cut, re-ordered or
    re-cased.

    Args:
        given: what the sources are called and what gives each one's text; by default the code of the packages.
        piece: the fewest characters of one, and the most.
    """
    draw = random.Random(seed)
    texts = _code() if given is None else given
    walks = [_walk(f"{seed}/{number}", draw, texts, piece) for number in range(pieces)]
    recent: list[str] = []
    while True:
        if recent and draw.random() < NEAR_DUPLICATES:
            text = mutate(draw.choice(recent), draw)
        else:
            text = "\n".join(map(next, walks))
        if len(recent) < RECENT:
            recent.append(text)
        else:
            recent[draw.randrange(RECENT)] = text
        yield text


def _walk(name: str, draw: random.Random, given: Given, piece: tuple[int, int]) -> Iterator[str]:
    """Pieces of all sources in a hashed order; another order each time round."""
    for number in count():
        named = {f"{name}/{number}/{place}": read for place, read in given.items()}
        for key in sorted(named, key=lambda key: xxhash.xxh3_64_digest(key.encode())):
            text = named[key]()
            at = 0
            while (end := at + draw.randint(*piece)) <= len(text):
                yield text[at:end]
                at = end


def mutate(text: str, draw: random.Random) -> str:
    """One of seven alterations, from hardly visible to about a third of the words."""
    words = text.split(" ")
    places = draw.sample(range(len(words)), k=max(1, int(len(words) * draw.choice([0.01, 0.03, 0.08]))))
    kind = draw.randrange(7)
    if kind == 0:
        return text
    if kind == 1:
        for place in places:
            words[place] = draw.choice(words)
    elif kind == 2:
        for place in sorted(places, reverse=True):
            words.insert(place, draw.choice(words))
    elif kind == 3:
        for place in sorted(places, reverse=True):
            del words[place]
    elif kind == 4:
        return text[: int(len(text) * draw.uniform(0.7, 0.98))]
    elif kind == 5:
        lines = text.split("\n")
        at = draw.randrange(len(lines))
        return "\n".join(lines[at:] + lines[:at])
    else:
        return text.upper() if draw.random() < 0.5 else text.title()
    return " ".join(words)


def write(texts: Iterable[str], rows: int, folder: Path, first: int = 0, rows_of_file: int = 10_000) -> Path:
    """Write that many of the texts, with their row numbers, as a folder of Parquet files, unless it is there.

    Raises:
        SystemExit: there are not as many texts.
    """
    if folder.is_dir():
        return folder
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    wanted, begin = islice(texts, rows), first
    while some := list(islice(wanted, rows_of_file)):
        table = pa.table([range(begin, begin + len(some)), some], schema=SCHEMA)
        pq.write_table(table, draft / f"{begin:09}.parquet")
        begin += len(some)
    if begin - first < rows:
        sys.exit(f"The packages installed here give {begin - first:,} texts, not {rows:,}: ask for fewer.")
    return draft.rename(folder)


def write_instructions(texts: Iterable[str], rows: int, folder: Path, rows_of_file: int = 20_000) -> Path:
    """Write that many of the texts, each cut in two at a space, as instructions in Alpaca's shape: a folder of files of
    JSON lines, unless it is there."""
    if folder.is_dir():
        return folder
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    wanted, begin = islice(texts, rows), 0
    while some := list(islice(wanted, rows_of_file)):
        with (draft / f"{begin:09}.jsonl").open("wb") as lines:
            for text in some:
                at = max(text.find(" ", len(text) // 3), 1)
                row = {"instruction": text[:at], "input": "", "output": text[at:]}
                lines.write(orjson.dumps(row) + b"\n")
        begin += len(some)
    return draft.rename(folder)


def describe(folder: Path) -> dict[str, Any]:
    """Rows, bytes of UTF-8 and SHA-256 of a folder of texts."""
    rows, size, sha256 = 0, 0, hashlib.sha256()
    for file in sorted(folder.iterdir()):
        text = pq.read_table(file, columns=["text"])["text"]
        rows += len(text)
        size += pc.sum(pc.binary_length(text)).as_py()
        sha256.update(file.read_bytes())
    return {"rows": rows, "bytes": size, "sha256": sha256.hexdigest()}
