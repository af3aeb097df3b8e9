"""Check: read a published version again and prove from its files that the laws hold.

Written a second time, in plain Python, so that a mistake in the stages is not made here as well: it shares with them
the store's manifest and hash, and otherwise only definitions, of the record and of a shingle. What is compared with
what, and whether every pair was or a sample of them, is part of each result.
"""

import json
import math
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.progress import Progress, silent
from curate.store import read_manifest

SPLITS = ("train", "validation", "test")
NAMED = 20
"""How many offending rows a check names; all are counted."""
SAMPLE = 10_000
"""Rows of validation and test that are compared with all others; of more, a sample of this size (seed 0)."""
ALL = "all"

Row = dict[str, Any]


LATER = ("semantic", "balance", "select", "split")
"""Stages after `duplicates`: a row that one of these turns away had stayed until then."""


@dataclass
class Check:
    """One thing that was checked."""

    name: str
    claim: str
    """What holds unless there are failures."""
    law: str
    """Number of the law it proves; "" where it is of what the other checks rest on."""
    compared: int = 0
    what: str = "rows"
    """What `compared` counts."""
    how: str = ALL
    """ "all", or which sample."""
    failures: int = 0
    offences: list[str] = field(default_factory=list)
    """The first NAMED failures: which row, and what is wrong with it."""

    def fail(self, offence: str) -> None:
        self.failures += 1
        if len(self.offences) < NAMED:
            self.offences.append(offence)

    def told(self) -> list[str]:
        """The failures, one a line, as far as they are named."""
        more = self.failures - len(self.offences)
        return [f"  {offence}" for offence in self.offences] + ([f"  and {more:,} more"] if more else [])


def check_version(folder: Path, progress: Progress = silent, sample: int = SAMPLE) -> list[Check]:
    """Check a published data set version.

    Args:
        folder: the version. Earlier versions that it was compared with are looked for beside it.
        progress: told how far the comparison of all rows is.
        sample: rows of the smaller splits that are compared with all others, at most.

    Returns:
        Every check made; where a file cannot be read, only those of the files.

    Raises:
        AssayError: the folder holds no data set version.
    """
    manifest = _manifest(folder)
    files = [_check_files(folder, manifest), _check_version_id(manifest)]
    if files[0].failures and any("not readable" in offence for offence in files[0].offences):
        return files
    checks = [*files, _check_stages(folder, manifest), _check_sources(folder, manifest), _check_json_lines(folder)]
    earlier = _Earlier(folder, manifest)
    checks += _check_shared(folder, earlier)
    if earlier.standing:
        checks.append(_check_splits_stand(folder, earlier))
    checks.append(_check_near_duplicates(folder, manifest, earlier, progress, sample))
    checks += [_check_lengths(folder, manifest), _check_texts(folder), _check_duplicates(folder, manifest, earlier)]
    return checks


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        raise AssayError(f"{folder}/manifest.json: not readable: {error}.", remedy="Curate the drop again.") from None
    if not {"counts", "stages", "recipe", "files"} <= manifest.keys():
        raise AssayError(f"{folder}: not a data set version.", remedy="Name a folder below the store's datasets/.")
    return manifest


def _rows(path: Path, columns: list[str] | None = None) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(2048, columns=columns):
            yield from batch.to_pylist()


def _split_rows(folder: Path, columns: list[str]) -> Iterator[tuple[str, Row]]:
    """Every published row with its split."""
    for name in SPLITS:
        yield from ((name, row) for row in _rows(folder / f"{name}.parquet", columns))


def _count(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _named(where: str, row: Row) -> str:
    """How an offence names a row."""
    return f"{where}: {row['source']['file']}, row {row['source']['row']}"


# What everything rests on: the files are those that were published.


def _check_files(folder: Path, manifest: dict[str, Any]) -> Check:
    check = Check(
        "files", "files are as the manifest says (SHA-256), and readable", "", len(manifest["files"]), "files"
    )
    for name, sha256 in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            check.fail(f"{name}: not readable: it is not there")
            continue
        if file_digest(path) != sha256:
            check.fail(f"{name}: changed since it was published")
        if path.suffix == ".parquet":
            try:
                with pq.ParquetFile(path) as file:
                    for _ in file.iter_batches():
                        pass
            except (pa.ArrowException, OSError) as error:
                check.fail(f"{name}: not readable: {str(error).splitlines()[0]}")
    present = {path.name for path in folder.iterdir() if path.suffix in (".parquet", ".jsonl")}
    for name in sorted(present - manifest["files"].keys()):
        check.fail(f"{name}: not in the manifest")
    return check


def _check_version_id(manifest: dict[str, Any]) -> Check:
    check = Check("version", "the version is the manifest's hash", "", 1, "manifest")
    found = digest({key: value for key, value in manifest.items() if key != "version"})[:16]
    if found != manifest["version"]:
        check.fail(f"manifest.json: says version {manifest['version']}, its content is {found}")
    return check


# Law 1: rows are conserved.


def _check_stages(folder: Path, manifest: dict[str, Any]) -> Check:
    """Stage by stage and in all, against the rows that the files hold."""
    counts, stages = manifest["counts"], manifest["stages"]
    claim = "rows in (and made of others) = rows kept + rows quarantined, at every stage and in all"
    check = Check("stages", claim, "1", counts["in"])
    rows = counts["in"]
    for stage in stages:
        made = stage.get("made", 0)
        if not stage["rows_in"] == rows == stage["kept"] + stage["rejected"] - made:
            check.fail(
                f"stage {stage['name']}: {rows} rows come, {stage['kept']} kept + {stage['rejected']} rejected"
                + (f", {made} made" if made else "")
            )
        if sum(stage["reasons"].values()) != stage["rejected"]:
            check.fail(f"stage {stage['name']}: {stage['rejected']} rejected, for reasons {stage['reasons']}")
        rows = stage["kept"]
    held = {name: _count(folder / f"{name}.parquet") for name in SPLITS}
    for name, count in held.items():
        if count != counts["splits"][name]:
            check.fail(f"{name}.parquet: {count} rows, {counts['splits'][name]} by the manifest")
    if not sum(held.values()) == counts["kept"] == rows:
        check.fail(f"{sum(held.values())} rows in the splits, {counts['kept']} kept, {rows} left by the last stage")
    quarantined = _count(folder / "quarantine.parquet")
    total = counts["in"] + sum(stage.get("made", 0) for stage in stages)
    if quarantined != counts["quarantined"] or quarantined + sum(held.values()) != total:
        check.fail(f"{sum(held.values())} rows in the splits and {quarantined} in quarantine, of {total}")
    found = Counter((row["stage"], row["reason"]) for row in _rows(folder / "quarantine.parquet", ["stage", "reason"]))
    told = Counter({(stage["name"], reason): n for stage in stages for reason, n in stage["reasons"].items()})
    for stage, reason in sorted(found.keys() | told.keys()):
        if found[stage, reason] != told[stage, reason]:
            check.fail(
                f"quarantine.parquet: {found[stage, reason]} rows {stage}/{reason}, {told[stage, reason]} by the stage"
            )
    return check


def _check_sources(folder: Path, manifest: dict[str, Any]) -> Check:
    """Rows of a file are numbered from 0, so a number that is missing is a row that was lost.

    Of rows that are made of others, as many are there more than once as the stages say they made.
    """
    check = Check("sources", "each row of each file is published or quarantined, once", "1")
    made = sum(stage.get("made", 0) for stage in manifest["stages"])
    numbers: dict[str, list[int]] = {}
    for name in (*SPLITS, "quarantine"):
        for row in _rows(folder / f"{name}.parquet", ["source"]):
            check.compared += 1
            numbers.setdefault(row["source"]["file"], []).append(row["source"]["row"])
    more = sum(len(found) - len(set(found)) for found in numbers.values())
    if made and more != made:
        check.fail(f"{more} rows are there again, {made} were made of others")
    for file, found in sorted(numbers.items()):
        if sorted(set(found) if made else found) == list(range(len(set(found)))):
            continue
        twice = sorted(number for number, times in Counter(found).items() if times > 1)
        lost = sorted(set(range(max(found) + 1)) - set(found))
        check.fail(f"{file}: rows there twice {twice[:NAMED]}, rows lost {lost[:NAMED]}")
    return check


def _check_json_lines(folder: Path) -> Check:
    check = Check("json_lines", "the JSON lines hold the same rows as the Parquet files, but for `signals`", "1")
    for name in SPLITS:
        with (folder / f"{name}.jsonl").open("rb") as lines:
            for number, row in enumerate(_rows(folder / f"{name}.parquet")):
                check.compared += 1
                row["meta"] = {entry["key"]: entry["value"] for entry in row["meta"]}
                row.pop("signals", None)
                try:
                    same = orjson.loads(next(lines, b"null")) == row
                except orjson.JSONDecodeError:
                    same = False
                if not same:
                    check.fail(_named(f"{name}.jsonl, line {number + 1}", row))
            if more := sum(1 for _ in lines):
                check.fail(f"{name}.jsonl: {more} more lines than rows")
    return check


# Law 4: no leak.


class _Earlier:
    """The versions that a version was compared with when it was made, and with those of the same drop the ones whose
    splits stand; as far as they lie beside it."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        names = manifest.get("index", {}).get("compared_with", [])
        self.folders, self.standing = (
            [folder.parent / name for name in each if (folder.parent / name / "manifest.json").is_file()]
            for each in (names, [*names, *manifest.get("splits_of", [])])
        )
        self.absent = len(names) - len(self.folders)
        self._own = self._hashes(folder)

    @staticmethod
    def _hashes(folder: Path) -> dict[str, str]:
        path = folder / "sources.parquet"
        return {row["file"]: row["sha256"] for row in _rows(path, ["file", "sha256"])} if path.is_file() else {}

    def rows(self, columns: list[str]) -> Iterator[tuple[Path, str, Row]]:
        """Published rows that count: none of a file (by its hash) that the version itself or one in between holds."""
        seen = set(self._own.values())
        for folder in reversed(self.folders):
            hashes = self._hashes(folder)
            for name, row in _split_rows(folder, columns):
                if hashes.get(row["source"]["file"]) not in seen:
                    yield folder, name, row
            seen |= set(hashes.values())

    def how(self) -> str:
        """What to add to how a check was made."""
        found = f", and {len(self.folders)} earlier versions" if self.folders else ""
        return found + (f" ({self.absent} more are not at hand)" if self.absent else "")


def _check_shared(folder: Path, earlier: _Earlier) -> list[Check]:
    """Group, cluster and prompt of every row: no two splits may share one."""
    groups, clusters, prompts = (
        Check(f"{what}s", f"no two splits share a {what}", "4", how=ALL + earlier.how())
        for what in ("group", "cluster", "prompt")
    )
    first: dict[tuple[str, str], tuple[str, str]] = {}
    columns = ["turns", "target", "group", "cluster", "source"]

    def keys(row: Row) -> Iterator[tuple[Check, str]]:
        yield clusters, row["cluster"]
        yield prompts, _prompt(row)
        if row["group"] is not None:
            yield groups, row["group"]

    for name, row in _split_rows(folder, columns):
        for check, key in keys(row):
            check.compared += 1
            where, there = first.setdefault((check.name, key), (name, _named(name, row)))
            if where != name:
                check.fail(f"{_named(name, row)} and {there} share {_short(key)}")
    for version, name, row in earlier.rows(columns):
        for check, key in keys(row):
            check.compared += 1
            where, there = first.get((check.name, key), (name, ""))
            if where != name:
                check.fail(f"{there} and {version.name}, {_named(name, row)} share {_short(key)}")
    return [groups, clusters, prompts]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _check_splits_stand(folder: Path, earlier: _Earlier) -> Check:
    check = Check("standing", "rows of earlier versions keep their split", "4", how=ALL + earlier.how())
    now = {row["id"]: (name, _named(name, row)) for name, row in _split_rows(folder, ["id", "source"])}
    for version in earlier.standing:
        for name, row in _split_rows(version, ["id"]):
            if row["id"] in now:
                check.compared += 1
                where, named = now[row["id"]]
                if where != name:
                    check.fail(f"{named} was in {name} of {version.name}")
    return check


class _Member(NamedTuple):
    """A row of a split that is compared."""

    split: str
    name: str
    shingles: frozenset[str]


def _check_near_duplicates(
    folder: Path, manifest: dict[str, Any], earlier: _Earlier, progress: Progress, sample: int
) -> Check:
    """Rows of validation and test against every row of the other splits, by their true similarity."""
    settings = manifest["recipe"]["duplicates"]
    columns = ["turns", "target", "source"]

    def member(split: str, row: Row, version: str = "") -> _Member:
        return _Member(split, version + _named(split, row), _shingles_of(row, settings))

    held = sum(_count(folder / f"{name}.parquet") for name in SPLITS[1:])
    chosen = set(random.Random(0).sample(range(held), min(held, sample)))  # noqa: S311  a sample, no secret
    small = ((name, row) for name in SPLITS[1:] for row in _rows(folder / f"{name}.parquet", columns))
    inner = _Inner([member(*each) for at, each in enumerate(small) if at in chosen], settings["threshold"])
    total = sum(_count(folder / f"{name}.parquet") for name in SPLITS)
    check = Check(
        "near_duplicates",
        f"no two rows in two splits have a similarity of {settings['threshold']} or more",
        "4",
        what="pairs",
    )
    if len(chosen) < held:
        check.how = f"{len(chosen):,} of {held:,} rows of validation and test (seed 0) against all"
    check.how += earlier.how()

    def others() -> Iterator[_Member]:
        for at, (name, row) in enumerate(_split_rows(folder, columns)):
            if at % 1000 == 0:
                progress("compare", at, total, "rows")
            yield member(name, row)
        progress("compare", total, total, "rows")
        for version, name, row in earlier.rows(columns):
            yield member(name, row, f"{version.name}, ")

    _compare(check, inner, others())
    # The rows of train meet the smaller splits of this version above; here, those of earlier ones.
    seen = [each for each in earlier.rows(columns) if each[1] != "train"] if earlier.folders else []
    if len(seen) > sample:
        check.how += f", of their validation and test {sample:,} of {len(seen):,} rows (seed 0)"
        seen = random.Random(0).sample(seen, sample)  # noqa: S311
    before = [member(name, row, f"{version.name}, ") for version, name, row in seen]
    if before:
        train = (member("train", row) for row in _rows(folder / "train.parquet", columns))
        _compare(check, _Inner(before, settings["threshold"]), train)
    return check


def _compare(check: Check, inner: "_Inner", others: Iterable[_Member]) -> None:
    """Two members of `inner` meet twice; the pair is counted when the second one by its split is the other."""
    by_split = Counter(each.split for each in inner.members)
    named = {each.name for each in inner.members}
    for other in others:
        apart = {
            split for split in by_split if split != other.split and (other.name not in named or split < other.split)
        }
        check.compared += sum(by_split[split] for split in apart)
        for found, similarity in inner.similar(other):
            if found.split in apart:
                check.fail(f"{found.name} and {other.name}: similarity {similarity:.6f}")


class _Inner:
    """Rows in which those similar to another are found, all of them.

    Prefix filtering (Chaudhuri et al., 2006; Bayardo et al., 2007): two sets of similarity t have at least t|x| and at
    least t|y| elements in common; so whatever the order of all elements, the first |x| - t|x| + 1 of x and the first
    |y| - t|y| + 1 of y share one. With the rarest first there is little to look up, and what is found is exactly what
    comparing every pair finds.
    """

    def __init__(self, members: list[_Member], threshold: float) -> None:
        self.members = members
        self.threshold = threshold
        self._times = Counter(shingle for member in members for shingle in member.shingles)
        self._having: dict[str, list[int]] = {}
        for number, member in enumerate(members):
            ordered = sorted(member.shingles, key=self._rank)
            for shingle in ordered[: self._prefix(len(ordered))]:
                self._having.setdefault(shingle, []).append(number)

    def _rank(self, shingle: str) -> tuple[int, str]:
        return self._times[shingle], shingle

    def _prefix(self, size: int) -> int:
        return size - math.ceil(self.threshold * size - 1e-9) + 1

    def similar(self, other: _Member) -> Iterator[tuple[_Member, float]]:
        """Members of at least the threshold's similarity, with it."""
        theirs = other.shingles
        known = [shingle for shingle in theirs if shingle in self._times]
        prefix = self._prefix(len(theirs)) - (len(theirs) - len(known))  # those that no member has come first
        if prefix <= 0:
            return
        known.sort(key=self._rank)
        for number in {number for shingle in known[:prefix] for number in self._having.get(shingle, ())}:
            member = self.members[number]
            similarity = _jaccard(member.shingles, theirs)
            if similarity >= self.threshold:
                yield member, similarity


# Law 5: no silent truncation.


def _check_lengths(folder: Path, manifest: dict[str, Any]) -> Check:
    longest = manifest["recipe"]["fit"]["max_tokens"]
    check = Check("lengths", f"no published row has more than {longest} tokens, every one quarantined for it has", "5")
    for name, row in _split_rows(folder, ["source", "tokens"]):
        check.compared += 1
        if not 0 < row["tokens"] <= longest:
            check.fail(f"{_named(name, row)}: {row['tokens']} tokens")
    for row in _rows(folder / "quarantine.parquet", ["source", "reason", "evidence"]):
        if row["reason"] == "too_many_tokens":
            check.compared += 1
            if json.loads(row["evidence"])["tokens"] <= longest:
                check.fail(f"{_named('quarantine', row)}: not too long, by its evidence {row['evidence']}")
    return check


def _check_texts(folder: Path) -> Check:
    """Nothing is cut on the way from the record to the text; a chat template may strip what is around a message."""
    check = Check("texts", "the answer stands whole in the messages, and every message whole in the text", "5")
    for name, row in _split_rows(folder, ["turns", "target", "source", "messages", "text"]):
        check.compared += 1
        if not row["messages"] or _answer(row).strip() not in row["messages"][-1]["content"]:
            check.fail(f"{_named(name, row)}: the last message does not hold the answer")
        at = 0
        for number, message in enumerate(row["messages"]):
            content = message["content"].strip()
            found = row["text"].find(content, at)
            if found < 0:
                check.fail(f"{_named(name, row)}: the text does not hold message {number} ({message['role']})")
                break
            at = found + len(content)
    return check


# What was removed as a duplicate is one.


def _check_duplicates(folder: Path, manifest: dict[str, Any], earlier: _Earlier) -> Check:
    """Every quarantined duplicate names a row that stayed, with its true similarity and, where asked for, its answer.

    A row that stayed is a published one, of this version or of the earlier one that the evidence names; or one that
    only a later stage turned away.
    """
    settings = manifest["recipe"]["duplicates"]
    check = Check(
        "duplicates",
        "every duplicate removed is one, of a row that stayed and with the similarity told",
        "",
        what="pairs",
    )
    columns = ["id", "turns", "target", "source"]
    removed = [
        (row, json.loads(row["evidence"]))
        for row in _rows(folder / "quarantine.parquet", [*columns, "stage", "reason", "evidence"])
        if row["stage"] == "duplicates" and row["reason"] in ("exact_duplicate", "near_duplicate")
    ]

    def place(seen: dict[str, Any]) -> tuple[str | None, str, str, int]:
        return seen.get("version"), seen["kept"], seen["file"], seen["row"]

    wanted = {place(seen) for _, seen in removed}
    stayed: dict[tuple[str | None, str, str, int], Row] = {}
    versions = [(None, folder), *((version.name, version) for version in earlier.folders)]
    for version, where in versions:
        turned_away = (row for row in _rows(where / "quarantine.parquet", [*columns, "stage"]) if row["stage"] in LATER)
        for row in (*(row for _, row in _split_rows(where, columns)), *turned_away):
            key = version, row["id"], row["source"]["file"], row["source"]["row"]
            if key in wanted:
                stayed[key] = row
    for row, seen in removed:
        check.compared += 1
        kept = stayed.get(place(seen))
        if kept is None:
            if seen.get("version") is not None and seen["version"] not in {version for version, _ in versions}:
                check.compared -= 1
                check.how = f"those of versions at hand{earlier.how()}"
                continue
            check.fail(f"{_named('quarantine', row)}: the row it names did not stay: {row['evidence']}")
            continue
        exact = row["reason"] == "exact_duplicate"
        equal = exact and _asked(row) == _asked(kept)
        similarity = 1.0 if equal else _jaccard(_shingles_of(row, settings), _shingles_of(kept, settings))
        if abs(similarity - seen["similarity"]) > 1e-6:
            check.fail(
                f"{_named('quarantine', row)}: similarity {similarity:.6f}, the evidence says {seen['similarity']}"
            )
        elif similarity < settings["threshold"]:
            check.fail(f"{_named('quarantine', row)}: similarity {similarity:.6f}, below the threshold")
        elif exact and not equal:
            check.fail(f"{_named('quarantine', row)}: not equal to the row it names")
        elif (settings["same_target"] or exact) and not _same_answer(row, kept):
            check.fail(f"{_named('quarantine', row)}: another answer than the row it names")
    return check


# The definitions, in plain Python.


def _answers_last(row: Row) -> bool:
    return row["target"] is None and bool(row["turns"]) and row["turns"][-1]["role"] == "assistant"


def _asked(row: Row) -> list[dict[str, str]]:
    """The turns that make the prompt: all but an answer that is the last one."""
    turns: list[dict[str, str]] = row["turns"]
    return turns[:-1] if _answers_last(row) else turns


def _prompt(row: Row) -> str:
    """The text of these turns."""
    return "\n\n".join(turn["content"] for turn in _asked(row))


def _answer(row: Row) -> str:
    """The target, or the last turn where the assistant speaks last, or else ""."""
    answer = row["turns"][-1]["content"] if _answers_last(row) else row["target"]
    return answer or ""


def _same_answer(first: Row, second: Row) -> bool:
    """Whether two answers are equal; JSON objects, in whatever order and spacing."""

    def canonical(text: str) -> str:
        try:
            return json.dumps(json.loads(text), sort_keys=True) if text.startswith("{") else text
        except ValueError:
            return text

    return canonical(_answer(first)) == canonical(_answer(second))


def _shingles_of(row: Row, settings: dict[str, Any]) -> frozenset[str]:
    """The shingles of what a row is compared by: what is said besides system turns, the answer, or both."""
    asked = _asked(row)
    said = "\n\n".join(turn["content"] for turn in [turn for turn in asked if turn["role"] != "system"] or asked)
    text = {"prompt": said, "answer": _answer(row), "both": f"{said}\n\n{_answer(row)}"}[settings["scope"]]
    for boilerplate in settings.get("boilerplate", []):
        text = text.replace(boilerplate, "")
    return shingles(text, settings["shingle_words"])


def shingles(text: str, size: int) -> frozenset[str]:
    """The runs of `size` words in a text, see `curate.text.words`: of all its words if it has fewer, and if it has
    none, its characters without spaces."""
    found = words(text)
    if not found:
        return frozenset(["".join(text.split())])
    size = min(size, len(found))
    return frozenset(" ".join(found[at : at + size]) for at in range(len(found) - size + 1))


def words(text: str) -> list[str]:
    """The words of a text, case folded: runs of letters, digits, underscores and the marks on them; single characters
    in scripts without spaces."""
    if text.isascii():
        return re.findall(r"\w+", text.lower())
    found: list[str] = []
    within = False
    for char in text.casefold():
        part = char.isalnum() or char == "_"
        mark = not part and unicodedata.category(char)[0] == "M"
        if _spaceless(ord(char)) and (part or mark or ord(char) >= 0x20000):
            found.append(char)
            within = False
        elif part or (mark and within and ord(char) < 0x20000):
            if within:
                found[-1] += char
            else:
                found.append(char)
            within = True
        else:
            within = False
    return found


def _spaceless(code: int) -> bool:
    """Thai and Lao, Burmese, Khmer, kana, Han with its extensions A, compatibility and supplementary planes."""
    return code >= 0x0E00 and (
        code <= 0x0EFF
        or 0x1000 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    common = len(first & second)
    return common / (len(first) + len(second) - common)
