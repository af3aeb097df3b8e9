"""Pairs of answers to one prompt, of which one is to be preferred: read, held against a version, tokenised."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.progress import Progress
from curate.read.json_value import check_text
from curate.rows.chat_template import Message
from curate.rows.renderer import Renderer
from train.audit import WORDS, Audit, audit
from train.examples import Example, read_split
from train.manifest import PairsParent
from train.settings import TrainingSettings


def _writable(text: str) -> str:
    check_text(text)
    return text


Text = Annotated[str, AfterValidator(_writable)]
"""Without what UTF-8 cannot write, and so no tokenizer is given."""


class Said(BaseModel):
    """A message."""

    model_config = ConfigDict(strict=True)

    role: Text
    content: Text


class PairRow(BaseModel):
    """A row of a file of pairs, in the conversational form of trl's preference data sets; the rest is Assay's, and may
    be missing where the pairs come from elsewhere."""

    model_config = ConfigDict(strict=True)

    prompt: list[Said] = Field(min_length=1)
    chosen: list[Said] = Field(min_length=1, max_length=1)
    rejected: list[Said] = Field(min_length=1, max_length=1)
    truncated: bool = False
    """Whether the rejected answer was cut off, so that the model never said its stop token."""
    id: Text | None = None
    """Of the data set's row."""
    cluster: Text | None = None
    """Of near-duplicates, in the version that the row was asked of."""
    dataset: Text | None = None
    """NAME/VERSION of the data set that the row is of."""
    scorecard: Text | None = None
    """NAME/VERSION of the scorecard that it comes from."""

    def messages(self, answer: list[Said]) -> list[Message]:
        """The conversation that ends in one of the answers."""
        return [each.model_dump() for each in [*self.prompt, *answer]]

    @property
    def key(self) -> str:
        """Of the row, or else of what is asked: names it in messages."""
        return self.id or digest(_asked(self.messages([])))[:32]


@dataclass(frozen=True)
class Pair:
    """Two tokenised answers to one prompt."""

    id: str
    chosen: Example
    rejected: Example
    messages: list[Message]
    """Of the chosen one."""

    @property
    def sides(self) -> tuple[Example, Example]:
        return self.chosen, self.rejected

    @property
    def whole(self) -> Example:
        """Both as one row, their prompts first: for whatever counts tokens."""
        cuts = [len(side.labels) - side.answer for side in self.sides]
        sides = list(zip(self.sides, cuts, strict=True))
        return Example(
            self.id,
            [token for side, cut in sides for token in side.input_ids[:cut]]
            + [token for side, cut in sides for token in side.input_ids[cut:]],
            [label for side, cut in sides for label in side.labels[:cut]]
            + [label for side, cut in sides for label in side.labels[cut:]],
        )


def parent_of(path: str) -> PairsParent:
    """What a manifest says of a file of pairs.

    Raises:
        AssayError: as `read_pairs`.
    """
    rows = read_pairs(Path(path))
    return PairsParent(
        sha256=file_digest(Path(path)),
        rows=len(rows),
        scorecards=sorted({row.scorecard for row in rows if row.scorecard}),
    )


def read_pairs(path: Path) -> list[PairRow]:
    """The pairs of a Parquet or JSON Lines file.

    Raises:
        AssayError: there is no such file, it has none, or one is not as it should be; names the row and the key.
    """
    rows = []
    for number, raw in enumerate(_raw(path), 1):
        try:
            row = PairRow.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            raise AssayError(
                f"{path}: pair {number}: `{'.'.join(map(str, first['loc']))}`: "
                f"{first['msg'].removeprefix('Value error, ')}.",
                remedy="Pairs have prompt, chosen and rejected, lists of messages {role, content}, the latter two of "
                "one answer each: as `assay pairs` writes them, or trl's conversational preference form.",
            ) from None
        if row.chosen == row.rejected:
            raise AssayError(
                f"{path}: pair {number}: chosen and rejected are the same answer.", remedy="Leave the pair out."
            )
        rows.append(row)
    if not rows:
        raise AssayError(f"{path}: no pairs.", remedy="Collect some: `assay pairs SCORECARD`.")
    return rows


def _raw(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise AssayError(f"training.pairs: {path}: no such file.", remedy="Collect pairs: `assay pairs SCORECARD`.")
    if path.suffix == ".parquet":
        try:
            yield from pq.read_table(path).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise AssayError(f"{path}: not readable as Parquet: {error}.", remedy="Write it again.") from None
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise AssayError(f"{path}: line {number}: not UTF-8: {error}.", remedy="Write it as UTF-8.") from None
            except (ValueError, RecursionError) as error:
                raise AssayError(
                    f"{path}: line {number}: no JSON: {error}.", remedy="Name a .parquet or .jsonl file of pairs."
                ) from None


def pairs_to_train(
    settings: TrainingSettings, version: Path, renderer: Renderer, progress: Progress
) -> tuple[list[Pair], Audit]:
    """The pairs to train on, tokenised, and what was found wrong with rejected answers that are left out for it.

    Both answers are looked at as every trained row is. What is wrong with a chosen one stops the run; a rejected one is
    whatever a model once said, so a pair whose rejected answer cannot be said by the tokens of its text, or was cut off
    before any, is left out, and told. Of more than `rows` pairs those are taken that come first by a hash of seed and
    pair. An answer that was cut off is rejected without its stop token, which the model did not say.

    Args:
        settings: of the recipe.
        version: folder of the data set version that is evaluated on.
        renderer: of the base model; trains the last answer.
        progress: told what is left out.

    Raises:
        AssayError: a pair asks what a row of the test split asks; a chosen answer cannot be trained; none is left.
    """
    path = Path(str(settings.pairs))
    rows = read_pairs(path)
    require_unseen(rows, path, version, settings)
    rows.sort(key=lambda row: digest([settings.seed, row.key, row.rejected[0].content]))
    pairs: list[Pair] = []
    counts: Counter[Any] = Counter()
    for row in rows:
        if len(pairs) == settings.rows:
            break
        chosen, rejected = (
            audit([{"id": row.key, "messages": row.messages(side)}], renderer, settings.max_tokens)
            for side in (row.chosen, row.rejected)
        )
        problems = [*rejected.first, *({"too_long"} & chosen.first.keys())]
        if problems:
            counts[problems[0]] += 1
            continue
        [good], [bad] = chosen.require(), rejected.examples
        if row.truncated:
            bad = replace(bad, input_ids=bad.input_ids[:-1], labels=bad.labels[:-1])
        if not bad.trained:  # cut off before its first token: the model said nothing
            counts["no_trained_token"] += 1
            continue
        pairs.append(Pair(row.key, good, bad, row.messages(row.chosen)))
    for problem, count in counts.items():
        progress(f"left out of {len(rows):,} pairs: answers that {WORDS[problem]}", count, count, "pairs")
    if not pairs:
        raise AssayError(
            f"{path}: none of its {len(rows):,} pairs can be trained: "
            + ", ".join(f"{count:,} {WORDS[problem]}" for problem, count in counts.items())
            + ".",
            remedy="Raise training.max_tokens, or collect other pairs.",
        )
    return pairs, Audit([], {problem: counts[problem] for problem in WORDS}, {})


def require_unseen(rows: Sequence[PairRow], path: Path, version: Path, settings: TrainingSettings) -> None:
    """See to it that no pair asks what the run, or its scorecard, is judged by: the same row, a near-duplicate of one
    (of its cluster), or the same prompt.

    Raises:
        AssayError: one does; says which, and how many.
    """
    chooses = bool(settings.keep_best or settings.early_stopping_patience)
    for split in ("test", "validation") if chooses else ("test",):
        held = _Held.of(version, split)
        found = [row for row in rows if held.has(row)]
        if found:
            judged = "scored by" if split == "test" else "choosing its checkpoint by"
            raise AssayError(
                f"{path}: {len(found):,} of {len(rows):,} pairs ask what rows of the {split} split of "
                f"{version.parent.name}/{version.name} ask, or nearly so; the first is of row {found[0].key}. A model "
                f"trained on them and {judged} these rows would seem better than it is.",
                remedy="Collect pairs of train rows: assay evaluate RECIPE --split train, then assay pairs SCORECARD."
                + ("" if split == "test" else " Or leave out training.keep_best and early_stopping_patience."),
            )


def unseen_in(rows: Sequence[dict[str, Any]], pairs: Sequence[PairRow]) -> list[dict[str, Any]]:
    """Rows, with `id`, `cluster` and `messages`, that no pair asks."""
    asked = _Held.of_rows([{"id": row.id, "cluster": row.cluster, "asked": row.messages([])} for row in pairs])
    return [
        row
        for row in rows
        if not (
            row["id"] in asked.ids
            or row["cluster"] in asked.clusters
            or digest(_asked(row["messages"][:-1])) in asked.prompts
        )
    ]


@dataclass(frozen=True)
class _Held:
    """What some rows ask."""

    ids: frozenset[str]
    clusters: frozenset[str]
    prompts: frozenset[str]

    @classmethod
    def of(cls, version: Path, split: str) -> "_Held":
        rows = read_split(version, split, ["id", "cluster", "messages"])
        return cls.of_rows([row | {"asked": row["messages"][:-1]} for row in rows])

    @classmethod
    def of_rows(cls, rows: Sequence[dict[str, Any]]) -> "_Held":
        return cls(
            frozenset(row["id"] for row in rows if row["id"]),
            frozenset(row["cluster"] for row in rows if row["cluster"]),
            frozenset(digest(_asked(row["asked"])) for row in rows),
        )

    def has(self, pair: PairRow) -> bool:
        asked = digest(_asked(pair.messages([])))
        return pair.id in self.ids or pair.cluster in self.clusters or asked in self.prompts


def _asked(messages: Sequence[Message]) -> list[list[str]]:
    return [[each["role"], each["content"]] for each in messages]
