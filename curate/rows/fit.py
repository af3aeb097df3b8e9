"""Fit: every row's length in tokens of the base model, as it will be trained, and what becomes of rows too long for it.

By policy such a row goes to quarantine; or the user's text is cut as little as need be, which a mark shows
(`truncate_input`); or a conversation becomes several, of whole turns (`split_turns`); or a document becomes several, of
whole paragraphs, each with what it says of the answer (`windows`). What none can bring within the bound goes to
quarantine all the same. An answer is never cut, nor is an instruction: of the user's text only what the
task template puts its own words around is cut or, where it has none, what comes after the first paragraph.

Reasons: `too_many_tokens` (longer than the recipe's `max_tokens`; the evidence says how long), `refused` (the chat
template has words for the whole conversation, but none for its beginning up to one of the answers, or does not write
what it writes to ask for the answer and then the answer; or the tokenizer does not give the answer back; the evidence
holds what is said).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.distribution import quantiles
from curate.examples import Example, example_of
from curate.grounding import VERSION, Grounding
from curate.json_schema import validator_of
from curate.record import MESSAGES, SCHEMA, SOURCE, TURNS, content_id, dicts
from curate.rows.chat_template import Message, Refusal, is_trained
from curate.rows.in_columns import lengths_of
from curate.rows.render import Rendering
from curate.rows.renderer import Renderer
from curate.rows.task_template import TaskTemplate
from curate.rows.windows import HELD, UNANSWERED, WANTED, windows
from curate.stage import ANYWHERE, BESIDE, Context, Outcome, Reject, RowStage, Settings, Stage, divide, installed

MARK = " […] "
"""Stands where the user's text was cut."""
TRIES = 8
"""Neighbouring cuts whose lengths are found together."""

Row = dict[str, Any]


class Fit(Stage):
    """Adds the column `tokens`."""

    name: ClassVar[str] = "fit"
    version: ClassVar[int] = 8
    reasons: ClassVar[dict[str, str]] = {
        "too_many_tokens": (
            "longer than `fit.max_tokens`, and `fit.policy` cannot bring it within; an answer is never cut"
        ),
        "refused": "the chat template has no words for the row's beginning up to one of the answers, or does not write "
        "what it writes to ask for the answer and then the answer; or the tokenizer does not give the answer back",
        "window_unanswered": "a part of a document that says too little of the answer: a value that it does not hold "
        "can neither be null nor go from a list",
    }

    model: Annotated[str, BESIDE, ANYWHERE] = Field(
        description="Base model: package:NAME, a local folder or a hub id; its tokenizer counts."
    )
    max_tokens: int = Field(1024, ge=8, description="Longest row in tokens: prompt, answer and stop token.")
    policy: Literal["quarantine", "truncate_input", "split_turns", "windows"] = Field(
        "quarantine", description="What becomes of a longer row."
    )
    cut: Literal["middle", "end"] = Field("middle", description="Where truncate_input takes from the user's text.")

    def prepare(self, context: Context) -> "Fitting":
        (rendering,) = (stage for stage in context.before if isinstance(stage, Rendering))
        parting = None
        if self.policy == "windows":
            contract = context.contract
            parting = Parting(grounding=Grounding.of(contract), target_schema=contract.target_schema or {})
        return Fitting(**dict(self), rendering=rendering, parting=parting)


class Parting(Settings):
    """What windows are made by: how the answer's fields are grounded, and what it must be."""

    grounding: Grounding
    target_schema: dict[str, Any]

    def windows(self, record: Row, task: TaskTemplate, renderer: Renderer, settings: Fit) -> list[Row]:
        """See `curate.rows.windows`."""
        validator = validator_of(self.target_schema)
        return windows(record, task, renderer, settings.max_tokens, self.grounding, validator)


class Fitting(Fit, RowStage):
    """The stage `fit` with what renders its rows."""

    sums_up: ClassVar[tuple[str, ...]] = ("tokens",)

    model: str = Field(exclude=True)
    rendering: Rendering
    parting: Parting | None = None

    def key(self) -> Any:
        read_by = [installed(("dateparser", "text2num")), VERSION] if self.policy == "windows" else []
        return [*super().key(), *read_by]

    def prepared_from(self) -> dict[str, Any]:
        return {"base": {"model": Path(self.model).name}}

    def run(self, table: pa.Table) -> Outcome:
        return fit(table, self.rendering.template, self.rendering.renderer, self)

    def summary(self, kept: Iterable[pa.Table], rejected: Iterable[pa.Table]) -> dict[str, Any]:
        """Least, 10%, median, 90% and greatest of the tokens of rows that fit, and of those that are too long."""
        long = pa.concat_tables([table.select(["reason", "evidence"]) for table in rejected])
        evidence = long.filter(pc.equal(long["reason"], "too_many_tokens"))["evidence"].to_pylist()
        tokens = pa.concat_tables([table.select(["tokens"]) for table in kept])["tokens"]
        too_long = pa.array([orjson.loads(each)["tokens"] for each in evidence], pa.int32())
        return {"tokens": {"kept": quantiles(tokens), "too_long": quantiles(too_long)}}


def fit(table: pa.Table, task: TaskTemplate, renderer: Renderer, settings: Fit) -> Outcome:
    """Count each row's tokens into the column `tokens`; shorten or quarantine the rows that are too long.

    Counters: rows of which the user's text was cut (`truncated_input`), conversations that were split (`split_turns`),
    documents that were (`windows`), windows kept that say nothing of the answer (`windows_empty`), and documents of
    whose answer a value is in none of them (`in_no_window`).

    Args:
        table: with the columns `messages` and `text`.
        task: makes the messages of rows that are shortened.
        renderer: of the base model.
        settings: the bound and the policy.
    """
    measured = lengths_of(table, renderer)
    refused = [
        Reject(row, "refused", {"message": length.message})
        for row, length in enumerate(measured)
        if isinstance(length, Refusal)
    ]
    lengths = [0 if isinstance(length, Refusal) else length for length in measured]
    table = table.append_column("tokens", pa.array(lengths, pa.int32()))
    bound = settings.max_tokens
    long = [row for row, tokens in enumerate(lengths) if tokens > bound]
    parted = settings.parting.windows if isinstance(settings, Fitting) and settings.parting else None
    shorten = {"quarantine": None, "truncate_input": truncated, "split_turns": split, "windows": parted}[
        settings.policy
    ]
    made: dict[int, list[Row]] = {}
    if long and shorten is not None:
        records = dicts(table.select(SCHEMA.names).take(pa.array(long)))
        for row, record in zip(long, records, strict=True):
            with suppress(Refusal):  # of a part or of a cut text, where the whole was not refused
                made[row] = shorten(record, task, renderer, settings)
    rejects = [
        Reject(row, "too_many_tokens", {"tokens": lengths[row], "bound": bound}) for row in long if not made.get(row)
    ]
    outcome = divide(table, "fit", [*refused, *rejects])
    changed = [(row, record) for row, records in made.items() for record in records]
    if not changed:
        return outcome
    whole = table.take(pa.array([row for row, _ in changed]))
    shortened = _replaced(whole, [record for _, record in changed], task, renderer)
    return _with_shortened(outcome, whole, shortened, [records for records in made.values() if records], settings)


def _with_shortened(
    outcome: Outcome, whole: pa.Table, shortened: pa.Table, made: Sequence[list[Row]], settings: Fit
) -> Outcome:
    """An outcome with the rows that were made of those too long.

    Args:
        outcome: of the rows, in which those too long are kept as they were.
        whole: the row that each was made of.
        shortened: what was made.
        made: the same as records, by row.
        settings: the bound and the policy.
    """
    short = outcome.kept.filter(pc.less_equal(outcome.kept["tokens"], settings.max_tokens))
    name = {"truncate_input": "truncated_input"}.get(settings.policy, settings.policy)
    counters: dict[str, int] = {name: len(made)}
    examples: dict[str, list[Example]] = {}
    rejected, more = outcome.rejected, shortened.num_rows - len(made)
    records = [record for each in made for record in each]
    if settings.policy == "truncate_input":
        before = whole["turns"].to_pylist()
        examples = {name: [_example(old, record) for old, record in zip(before, records, strict=True)]}
    elif settings.policy == "windows":
        rejects = [
            Reject(at, "window_unanswered", {"fields": record[UNANSWERED]})
            for at, record in enumerate(records)
            if record[UNANSWERED]
        ]
        of_windows = divide(shortened, "fit", rejects)
        shortened, rejected = of_windows.kept, pa.concat_tables([rejected, of_windows.rejected])
        counters |= _told_of_windows(made)
    return Outcome(pa.concat_tables([short, shortened]), rejected, counters, examples, more)


def _told_of_windows(made: Sequence[list[Row]]) -> dict[str, int]:
    """Windows that say nothing of what the answer does, and rows of which a value is in none of their windows."""
    counters: Counter[str] = Counter()
    for records in made:
        counters["windows_empty"] += sum(not record[HELD] and not record[UNANSWERED] for record in records)
        held = {at for record in records for at in record[HELD]}
        counters["in_no_window"] += any(record[WANTED] - held for record in records)
    return dict(+counters)


def _replaced(table: pa.Table, records: list[Row], task: TaskTemplate, renderer: Renderer) -> pa.Table:
    """A table with what changes in a row that is shortened; one record for each row."""
    messages = [task.messages(record) for record in records]
    spans = [renderer.spans(each) for each in messages]
    columns: dict[str, pa.Array] = {
        "id": pa.array([record["id"] for record in records], pa.string()),
        "turns": pa.array([record["turns"] for record in records], TURNS),
        "source": pa.array([record["source"] for record in records], SOURCE),
        "target": pa.array([record["target"] for record in records], pa.string()),
        "group": pa.array([record["group"] for record in records], pa.string()),
        "meta": pa.array([list(record["meta"].items()) for record in records], SCHEMA.field("meta").type),
        "messages": pa.array(messages, MESSAGES),
        "text": pa.array(["".join(span.text for span in each) for each in spans], pa.string()),
        "tokens": pa.array(renderer.lengths_of(spans), pa.int32()),
    }
    if (
        listed := table.schema.get_field_index("ungrounded")
    ) >= 0:  # of the whole document, in which they were looked for
        columns["ungrounded"] = pa.nulls(len(records), table.schema.field(listed).type)
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def _example(before: list[Message], record: Row) -> Example:
    at = next(at for at, turn in enumerate(before) if turn != record["turns"][at])
    return example_of(record["id"], before[at]["content"], record["turns"][at]["content"])


def truncated(record: Row, task: TaskTemplate, renderer: Renderer, settings: Fit) -> list[Row]:
    """The record with its longest user's text cut so that it fits, and as long as it then can be; none if it cannot.

    The text is cut between two of its tokens, and of what remains (half before the mark and half after it, where it is
    cut in the middle) as many are kept as the bound allows, counted when all is rendered and tokenised again.
    """
    users = [at for at, turn in enumerate(record["turns"]) if turn["role"] == "user"]
    at = max(users, key=lambda each: len(record["turns"][each]["content"]), default=None)
    if at is None:
        return []
    content = record["turns"][at]["content"]
    begin = 0 if task.instructs else _after_first_paragraph(content)
    spans = sorted(set(renderer.tokenizer.encode(content[begin:], add_special_tokens=False).offsets))

    def cut(keep: int) -> Row:
        tail = keep // 2 if settings.cut == "middle" else 0
        head = keep - tail
        left = content[: begin + spans[head - 1][1]].rstrip()
        right = content[begin + spans[len(spans) - tail][0] :].lstrip() if tail else ""
        turn = record["turns"][at] | {"content": (left + MARK + right).rstrip()}
        return record | {"turns": [*record["turns"][:at], turn, *record["turns"][at + 1 :]]}

    def longest(first: int) -> int | None:
        """The most tokens of `first` and its next neighbours that may be kept."""
        tried = range(max(first, 1), min(first + TRIES, len(spans)))
        lengths = renderer.lengths([task.messages(cut(keep)) for keep in tried])
        return max((keep for keep, tokens in zip(tried, lengths, strict=True) if tokens <= bound), default=None)

    bound = settings.max_tokens
    (tokens,) = renderer.lengths([task.messages(record)])
    first = max(len(spans) - (tokens - bound), 1)  # near it; what is cut is tokenised a little differently
    best = longest(first)
    while best is None and first > 1:
        first -= TRIES
        best = longest(first)
    above = first + TRIES
    while best is not None and (more := longest(above)) is not None:
        best, above = more, above + TRIES
    return [] if best is None else [cut(best)]


def _after_first_paragraph(text: str) -> int:
    """Where the second paragraph begins: after the first blank line."""
    found = text.find("\n\n", len(text) - len(text.lstrip()))
    return len(text) if found < 0 else found


def split(record: Row, task: TaskTemplate, renderer: Renderer, settings: Fit) -> list[Row]:
    """The conversation as several that each fit, of as many whole exchanges as go in; none where one does not fit.

    Each begins with the system message, if there is one, and ends with an answer. They share a group, so they share a
    split; `meta` says what they are part of. Their ids are those of their content. A row with a target is not split:
    the target answers all of it.
    """
    if record["target"] is not None:
        return []
    turns = record["turns"]
    opening = [turns[0]] if turns[0]["role"] == "system" else []
    parts: list[list[Message]] = []
    for exchange in _exchanges(turns[len(opening) :]):
        longer = [*parts[-1], *exchange] if parts else exchange
        tries = [longer, exchange] if parts else [longer]
        lengths = renderer.lengths([task.messages(record | {"turns": opening + each}) for each in tries])
        if lengths[-1] > settings.max_tokens:
            return []
        if parts and lengths[0] <= settings.max_tokens:
            parts[-1] = longer
        else:
            parts.append(exchange)
    made = []
    begin = len(opening)
    for number, part in enumerate(parts, start=1):
        said = opening + part
        source = record["source"]
        if source and source["places"]:
            source = source | {"places": _moved(source["places"], len(opening), begin, len(part))}
        begin += len(part)
        meta = record["meta"] | {"part_of": record["id"], "part": f"{number} of {len(parts)}"}
        group = record["group"] if record["group"] is not None else record["id"]
        made.append(
            record | {"id": content_id(said, None), "turns": said, "source": source, "group": group, "meta": meta}
        )
    return made


def _moved(places: list[Row], opening: int, begin: int, count: int) -> list[Row]:
    """The places of `opening` turns and of `count` turns from `begin` on, which come behind them."""
    moved = [place | {"turn": place["turn"] - begin + opening} for place in places if place["turn"] >= begin]
    return [*(each for each in places if each["turn"] < opening), *(e for e in moved if e["turn"] < opening + count)]


def _exchanges(turns: list[Message]) -> Iterator[list[Message]]:
    """The turns from one that is not an answer nor a tool's, behind an answer, to the next such turn.

    So a tool's result stays with the call before it and the answer to it, and what nobody has answered at the end with
    what comes before. An answer that is not trained ends nothing: each exchange has one that is.
    """
    begin = 0
    answers = [at for at, turn in enumerate(turns) if is_trained(turn)]
    for at in answers[:-1]:
        if turns[at + 1]["role"] not in ("assistant", "tool"):
            yield turns[begin : at + 1]
            begin = at + 1
    yield turns[begin:]
