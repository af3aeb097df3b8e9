"""Replies that were given elsewhere, from files: read, judged like any others, and their scorecard published.

A file is JSON Lines, a JSON array or Parquet, a row for each reply: `output` (the text) and `expected` (the right
answer, an object or its JSON text); if known, `accepted` and `optional` (what is right beside it, see
`judge.accepted`), `id`, `system` (else the file's name), `prompt`, `group`, `language`, `source`, `label`, `confidence`
(0 to 1), `truncated`, `tokens` and `seconds`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.json_schema import deeper
from curate.read.budget import Budget, UnpackedSizeError
from curate.read.columnar import parquet_rows
from curate.read.raw_row import LONGEST_ROW, Row, Unread, bounded_lines, too_long
from curate.store import Store
from curate.text import strict_json
from evaluation.card import gate
from evaluation.card.format import CARD, SCHEMA_VERSION
from evaluation.card.manifest import RepliesInputs, ScorecardManifest
from evaluation.card.predictions import predictions, writable
from evaluation.card.report import write_report
from evaluation.card.scorecard import TUNED, FormOf, TestRows, judged, scorecard
from evaluation.card.side_by_side import Questions
from evaluation.card.slices import Names, slices_of
from evaluation.card.statistics import Floats, Rows
from evaluation.judge import ljp_criminal
from evaluation.judge.accepted import Accepted
from evaluation.judge.answer import Answer, Generated
from evaluation.judge.form import DEEPEST, short, value_of
from evaluation.judge.structured import Judge
from evaluation.settings import EvaluationSettings

VERSION = 6
"""Of the way that replies from files are scored."""
MANY = 4
"""Systems of which each is still compared with each."""
SLICED = ("language", "source", "label")
MOST_SYSTEMS = 100
"""Systems that are compared at most: the work grows with the square of their number, and more."""
BESIDE = ("accepted", "optional")
UNPACKED = 1 << 30
"""Bytes of a file of replies, unpacked, at most."""
MOST = 1 << 31
"""More tokens, or seconds, than a reply can have."""


@dataclass(frozen=True)
class Replies:
    """What several systems replied to the same questions."""

    name: str
    """Of the series that the scorecard is published in."""
    ids: Sequence[str]
    expected: Sequence[Any]
    """The right answers as Python values."""
    systems: Mapping[str, Sequence[Generated]]
    prompts: Sequence[str]
    groups: Sequence[str]
    columns: Mapping[str, Names] = field(default_factory=dict)
    """Of the questions, by which they are sliced."""
    confidence: Mapping[str, Floats] = field(default_factory=dict)
    """Of each system's replies; NaN where there is none."""
    form_of: FormOf | None = None
    """Judges the form where it is not JSON that was asked for: (output, whether it was cut off) -> form."""
    accepted: Sequence[tuple[Any, Any]] | None = None
    """What is right beside each right answer, as the file says it: values by path, and what may be left out."""
    official: Callable[[Sequence[str], Sequence[Any]], dict[str, Any]] | None = None
    """The reference's own scorer: (outputs, expected) -> what it says."""


def score(
    replies: Replies, schema: Mapping[str, Any], settings: EvaluationSettings, files: Sequence[Path], store: Store
) -> Path:
    """Judge replies and publish their scorecard, or find that of the same files.

    Args:
        replies: what was read.
        schema: JSON Schema of the answer.
        settings: how fields are compared, resamples, gate.
        files: what it was read from.
        store: where the scorecard is published.

    Returns:
        The scorecard's folder: scorecard.json, predictions.parquet, report.html and manifest.json.
    """
    inputs = RepliesInputs(
        method=VERSION,
        files=sorted(file_digest(path) for path in files),
        systems={name: digest([writable(each.text) for each in given]) for name, given in replies.systems.items()},
        schema_sha256=digest(schema),
        settings=settings.model_dump(mode="json"),
    ).content()
    found = store.made_from("scorecards", replies.name, inputs)
    if found is None:
        judge = Judge(schema, settings.fields)
        rows = Rows(replies.groups, len(replies.ids), settings.resamples, settings.seed)
        slices = slices_of(replies.prompts, None, replies.columns)
        test_rows = TestRows.of(rows, judge, replies.expected, slices)
        accepted = [
            Accepted.of(*each, judge.fields, f"Row {key}")
            for key, each in zip(replies.ids, replies.accepted or [], strict=bool(replies.accepted))
        ]
        systems = {
            name: judged(given, replies.expected, judge, replies.form_of, accepted)
            for name, given in replies.systems.items()
        }
        wanted = [json.dumps(right, ensure_ascii=False) for right in replies.expected]
        official = None
        if replies.official is not None:
            official = {
                name: replies.official([each.text for each in given], replies.expected)
                for name, given in replies.systems.items()
            }
        elif settings.scorer == "ljp_criminal":
            official = {
                name: ljp_criminal.score([each.text for each in given], wanted)
                for name, given in replies.systems.items()
            }
        pairs, chosen_from = _against_the_best(systems)
        card = scorecard(systems, test_rows, pairs, official, replies.confidence, chosen_from=chosen_from)
        card["gate"] = gate.check(settings.gate, card)
        table = predictions(replies.ids, replies.groups, replies.prompts, wanted, systems, test_rows)

        def describe(folder: Path, content: dict[str, Any]) -> None:
            published = ScorecardManifest.model_validate(content)
            (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            form_of = replies.form_of
            answer_of = value_of if form_of is None else lambda text: form_of(text, False).value
            questions = Questions(replies.ids, replies.prompts, wanted, slices)
            write_report(folder, published, card, None, questions, systems, answer_of)

        with store.publishing("scorecards", replies.name) as draft:
            pq.write_table(table, draft.folder / "predictions.parquet")
            found = draft.publish(
                {"name": replies.name, "schema_version": SCHEMA_VERSION, "inputs": inputs, "scores": card}, describe
            )
    store.record({"event": "scorecards", "name": replies.name, "version": found.name})
    return found


Pairs = list[tuple[str, str]] | None


def _against_the_best(systems: Mapping[str, Sequence[Answer]]) -> tuple[Pairs, Pairs]:
    """Of many systems: the one with most right answers with each other; of a few, the scorecard's own pairs.

    Which it is, is seen from the answers, and the best of equals is always ahead of some: all pairs are tested too.
    """
    if TUNED in systems or len(systems) <= MANY:
        return None, None
    ranked = sorted(systems, key=lambda name: -sum(answer.exact for answer in systems[name]))
    found = list(combinations(ranked, 2))
    return [pair for pair in found if pair[0] == ranked[0]], found


def find(patterns: Sequence[str]) -> list[Path]:
    """The files meant by paths, folders (all files in them) and globs, in the order of their names.

    Raises:
        AssayError: one of them means none.
    """
    found: set[Path] = set()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = [each for each in path.rglob("*") if each.is_file()]
        elif path.is_file():
            matches = [path]
        else:
            root = Path(path.anchor or ".")
            matches = [each for each in root.glob(str(path.relative_to(path.anchor))) if each.is_file()]
        if not matches:
            raise AssayError(f"{pattern}: no such file.", remedy="Name a file, a folder or a glob in quotes.")
        found |= set(matches)
    return sorted(found)


def read(files: Sequence[Path], name: str) -> Replies:
    """Read files of replies, all to the same questions.

    Args:
        files: JSON Lines, JSON or Parquet.
        name: of the scorecard's series.

    Raises:
        AssayError: a row cannot be used, or systems were not asked the same; names the file and the row.
    """
    by_system: dict[str, dict[str, dict[str, Any]]] = {}
    for path in files:
        for number, row in enumerate(_rows(path)):
            where = f"{path}, row {number + 1}"
            system = writable(str(row.get("system") or path.stem))
            key = writable(str(number if row.get("id") is None else row["id"]))
            if not isinstance(row.get("output"), str):
                raise AssayError(f"{where}: `output` is no text.", remedy="Every row needs the text of the reply.")
            if key in (known := by_system.setdefault(system, {})):
                raise AssayError(f"{where}: {system} has replied to {key} before.", remedy="Give rows an `id` each.")
            known[key] = row | {"expected": _expected(row, where), "generated": _generated(row, where)}
    if len(by_system) > MOST_SYSTEMS:
        raise AssayError(
            f"{len(by_system):,} systems; at most {MOST_SYSTEMS} are compared.",
            remedy="Score some of them at a time. A row's `system` says whose reply it is, else the file's name.",
        )
    if not by_system:
        raise AssayError(f"{', '.join(map(str, files))}: no reply in it.", remedy="Name files that hold replies.")
    first = next(iter(by_system))
    ids = list(by_system[first])
    for system, known in by_system.items():
        if known.keys() != by_system[first].keys():
            other = sorted(known.keys() ^ by_system[first].keys())[0]
            raise AssayError(
                f"{system} and {first} were not asked the same: only one of them replied to {other}.",
                remedy="Systems are compared on the same rows; score the others from files of their own.",
            )
        for key in ids:
            mine, its = known[key], by_system[first][key]
            if any(mine.get(column) != its.get(column) for column in ("expected", *BESIDE)):
                raise AssayError(f"Row {key}: {system} and {first} expect different answers.", remedy="Mend the files.")
    rows = [by_system[first][key] for key in ids]
    sure = {system: np.array([_confidence(known[key]) for key in ids]) for system, known in by_system.items()}
    return Replies(
        name=name,
        ids=ids,
        expected=[row["expected"] for row in rows],
        systems={system: [known[key]["generated"] for key in ids] for system, known in by_system.items()},
        prompts=[writable(str(row.get("prompt") or "")) for row in rows],
        groups=[writable(str(row.get("group") or key)) for key, row in zip(ids, rows, strict=True)],
        columns={
            kind: [None if row.get(kind) is None else writable(str(row[kind])) for row in rows]
            for kind in SLICED
            if any(row.get(kind) is not None for row in rows)
        },
        accepted=[(row.get("accepted"), row.get("optional")) for row in rows]
        if any(row.get(column) is not None for row in rows for column in BESIDE)
        else None,
        confidence={system: values for system, values in sure.items() if not np.isnan(values).all()},
    )


def require_size(path: Path) -> None:
    """Refuse a file of replies that is too large to be read.

    Raises:
        AssayError: it has more than UNPACKED bytes.
    """
    if path.stat().st_size > UNPACKED:
        raise _too_much(path)


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file.

    Raises:
        AssayError: it cannot be read, or is too much; names the line where it has lines.
    """
    rows: Any = []
    where = str(path)
    try:
        require_size(path)
        if path.suffix == ".parquet":
            rows = _unpacked(path)
            if broken := next((row for row in rows if isinstance(row, Unread)), None):
                raise ValueError(broken.message)
        elif path.suffix == ".json":
            rows = json.loads(path.read_bytes())
        else:
            with path.open("rb") as file:
                for number, line in enumerate(bounded_lines(file), 1):
                    where = f"{path}, line {number}"
                    if len(line) > LONGEST_ROW:
                        raise ValueError(too_long())
                    if line.strip():
                        rows.append(json.loads(line))
    except UnpackedSizeError:
        raise _too_much(path) from None
    except (ValueError, OSError, RecursionError) as error:
        raise AssayError(
            f"{where}: cannot be read: {short(str(error))}", remedy="JSON Lines, a JSON array or Parquet."
        ) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AssayError(f"{path}: expected rows that are objects.", remedy="JSON Lines, a JSON array or Parquet.")
    return rows


def _unpacked(path: Path) -> list[Row | Unread]:
    """The rows of a Parquet file: a few bytes of it can stand for any number of rows, of any length.

    Raises:
        UnpackedSizeError: they take more than UNPACKED.
    """
    with path.open("rb") as file:
        return list(parquet_rows(file, Budget(UNPACKED)))


def _too_much(path: Path) -> AssayError:
    return AssayError(f"{path}: more than {UNPACKED >> 20:,} MiB of replies.", remedy="Divide it, and score the parts.")


def _expected(row: Mapping[str, Any], where: str) -> Any:
    right = row.get("expected")
    if right is None:
        raise AssayError(f"{where}: no `expected`.", remedy="Every row needs the right answer, an object or its JSON.")
    try:
        if isinstance(right, str):
            right = strict_json.loads(right)
        else:
            json.dumps(right, allow_nan=False, ensure_ascii=False).encode()
        if deeper(right, DEEPEST):
            raise ValueError(f"nested more than {DEEPEST} levels deep")
    except (ValueError, RecursionError) as error:
        raise AssayError(
            f"{where}: `expected` is not JSON: {short(str(error))}",
            remedy="Give the right answer, an object or its JSON.",
        ) from None
    return right


def _confidence(row: Mapping[str, Any]) -> float:
    value = row.get("confidence")
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else float("nan")


def _generated(row: Mapping[str, Any], where: str) -> Generated:
    tokens, seconds = _number(row, "tokens", where), _number(row, "seconds", where)
    return Generated(row["output"], int(tokens or 0), bool(row.get("truncated")), seconds)


def _number(row: Mapping[str, Any], name: str, where: str) -> float | None:
    """A count or a duration; None where it is not known, which NaN says in a column of numbers."""
    value = row.get(name)
    if value is None or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST:
        raise AssayError(
            f"{where}: `{name}` is {short(repr(value))}.", remedy="Give a number from 0 up, or leave it out."
        )
    return float(value)
