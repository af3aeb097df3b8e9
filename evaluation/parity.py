"""Parity: whether a server asks an adapter with the tokens, and says the texts, that evaluation here does."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.progress import Progress, silent
from curate.rows.chat_template import MODEL, ChatTemplate, Message, as_sent
from curate.rows.renderer import Renderer
from curate.store import Store
from curate.table import Table
from evaluation.ask import endpoint as asking
from evaluation.ask.generate import generate
from evaluation.ask.prompts import ollama_says, prompts
from evaluation.ask.secret import Secret, secret_of
from evaluation.ask.shots import conversation
from evaluation.judge.answer import Generated
from evaluation.settings import Endpoint
from train.adapter import check_parents, load, renderer_of, template_of, without_adapter
from train.base_model import BaseModel, Quantization, prepare
from train.examples import read_split, select
from train.manifest import AdapterManifest
from train.modelfile import go_template
from train.serving import stop_texts

if TYPE_CHECKING:
    from train.methods.trained import Trained

BATCH = 8
SHOWN = 40
"""Characters that are shown from where two texts part."""
CLOSE = 0.5
"""Nats between two tokens that may change places where the same numbers are added up in another order, or rounded to
bfloat16."""


@dataclass(frozen=True)
class Difference:
    """Where two sequences of tokens part, and the likely cause."""

    cause: str
    at: int | None = None
    """Number of the first token that differs, from 0; None where the server tells only how many there are."""
    here: str = ""
    """What follows from there in process."""
    there: str = ""
    """And at the server."""


@dataclass(frozen=True)
class RowParity:
    """One row, asked in process and at the server."""

    id: str
    tokens_here: int
    """Of the prompt."""
    tokens_there: int | None
    """None where the server does not tell."""
    prompt: Difference | None
    """None where the prompt is the same, as far as the server tells."""
    text: Difference | None
    """None where the answer is the same."""


@dataclass(frozen=True)
class Parity:
    """What a server makes of rows, beside what is made of them in process."""

    adapter: str
    """NAME/VERSION."""
    dataset: str
    split: str
    url: str
    model: str
    learnt: str
    """How the server's prompts were learnt: one of WAYS, `usage` where only their lengths were, "" where nothing is."""
    rows: list[RowParity]
    notes: list[str]
    """What else is amiss with the server."""

    @property
    def same(self) -> bool:
        """Whether every prompt and every answer is the same."""
        return not any(row.prompt or row.text for row in self.rows)

    def causes(self) -> Counter[str]:
        """The likely causes, and in how many rows each is one."""
        return Counter(
            cause for row in self.rows for cause in {each.cause for each in (row.prompt, row.text) if each is not None}
        )

    def tables(self) -> list[Table]:
        """What is told: how many rows are the same, the causes, and where the first rows of each part."""
        count = len(self.rows)
        of = {
            "": "not known: the server does not tell",
            "usage": f"{self._same('prompt')} of {count} as long (the server tells no more than how many tokens)",
        }
        asked = of.get(self.learnt, f"{self._same('prompt')} of {count} the same, token by token ({self.learnt})")
        told = [
            ["adapter", self.adapter],
            ["server", f"{self.url}, model {self.model}"],
            ["rows", f"{count} of {self.dataset}, {self.split}"],
            ["prompts", asked],
            ["answers", f"{self._same('text')} of {count} the same"],
            *(["note", note] for note in self.notes),
        ]
        tables = [Table("parity", f"Parity of {self.adapter}", ["", "found"], told, texts=2)]
        if self.same:
            return tables
        causes = [[cause, str(rows)] for cause, rows in self.causes().most_common()]
        tables.append(Table("causes", "Likely causes", ["cause", "rows"], causes))
        shown: set[str] = set()
        lines = []
        for row in self.rows:
            for what, each in (("prompt", row.prompt), ("answer", row.text)):
                if each is not None and each.cause not in shown and each.at is not None:
                    shown.add(each.cause)
                    lines.append([row.id[:12], what, each.cause, str(each.at), repr(each.here), repr(each.there)])
        if lines:
            columns = ["row", "of its", "cause", "token", "in process", "at the server"]
            tables.append(Table("differences", "Where they part, the first row of each cause", columns, lines, texts=6))
        return tables

    def _same(self, what: str) -> int:
        return sum(getattr(row, what) is None for row in self.rows)


def parity(
    adapter: Path,
    endpoint: Endpoint,
    store: Store,
    *,
    rows: int,
    max_new_tokens: int,
    quantization: Quantization = "none",
    progress: Progress = silent,
) -> Parity:
    """Ask a server, and the adapter in process, the same rows, and compare what each is asked with and says.

    The rows are of the test split of the data set version that the adapter was trained on; of its validation split
    where that has none. The server's answers are as near to greedy decoding as it offers; none is kept.

    Args:
        adapter: folder of a published adapter.
        endpoint: the server, and the name it has for the adapter.
        store: holds the data set version.
        rows: how many to ask.
        max_new_tokens: tokens at which an answer is cut off.
        quantization: of the base model's weights in process, which are to be those of the server.
        progress: told in rows.

    Raises:
        AssayError: the data set version or the base model is not there, or not what the adapter was made with; or the
            server cannot be asked.
    """
    manifest = AdapterManifest.read(adapter)
    dataset = manifest.inputs.dataset
    version = store.resolve("datasets", str(dataset))
    template = template_of(adapter)
    base = prepare(manifest.inputs.base.model, store.cache, progress)
    check_parents(f"Adapter {adapter}", manifest.inputs.base.content(), base, template)
    renderer = renderer_of(adapter, base, template)
    split, chosen = _rows(version, rows)
    asked = [conversation(row, []) for row in chosen]  # without the answer, as evaluation asks
    sent = [as_sent(template.shaped(messages)) for messages in asked]
    with tempfile.TemporaryDirectory(prefix="assay-parity-") as nothing_kept:
        there = asking.ask(
            endpoint, sent, max_new_tokens=max_new_tokens, cache=Path(nothing_kept), progress=progress, what="ask it"
        )
    learnt, prompts_there = prompts(endpoint, sent)
    model = load(adapter, base, template, quantization)
    compared = _Compared(model, base, renderer, max_new_tokens, secret_of(endpoint), progress)
    prompted = [
        compared.prompt(messages, ids, answer.tokens_in or None)
        for messages, ids, answer in zip(asked, prompts_there, there, strict=True)
    ]
    texts = compared.texts(asked, there, prompted)
    thinking = sum(answer.truncated and not compared.said(answer) for answer in there)
    found = [
        RowParity(row["id"], len(renderer.prompt_ids(messages)), len(ids) if ids else answer.tokens_in or None, *each)
        for row, messages, ids, answer, *each in zip(chosen, asked, prompts_there, there, prompted, texts, strict=True)
    ]
    told = learnt or ("usage" if any(row.tokens_there for row in found) else "")
    return Parity(
        f"{manifest.name}/{manifest.version}",
        str(dataset),
        split,
        endpoint.url,
        endpoint.model,
        told,
        found,
        [
            *_notes(endpoint, renderer),
            *([f"{thinking} answers are cut off as thoughts: raise --max-new-tokens"] * (thinking > 0)),
        ],
    )


def _rows(version: Path, count: int) -> tuple[str, list[dict[str, Any]]]:
    """So many rows of the test split, or of the validation split."""
    for split in ("test", "validation"):
        rows = read_split(version, split, ["id", "label", "cluster", "tokens", "messages"])
        if rows:
            return split, select(rows, count, max(row["tokens"] for row in rows), 0)
    raise AssayError(
        f"{version}: neither its test split nor its validation split has rows.",
        remedy="Give it some: split.test in the recipe.",
    )


def _notes(endpoint: Endpoint, renderer: Renderer) -> Iterator[str]:
    """What ollama says of the model that differs from what the adapter's Modelfile says."""
    said = ollama_says(endpoint)
    wanted = go_template(renderer)
    if "template" in said and wanted is not None and said["template"].strip() != wanted:
        yield "ollama's TEMPLATE of this model is not that of the adapter's Modelfile"
    if "template" in said:
        for stop in stop_texts(renderer):
            if stop not in said.get("parameters", ""):
                yield f"ollama has no `PARAMETER stop {json.dumps(stop)}` of this model"


class _Compared:
    """What is compared with what a server says.

    Args:
        model: the base model with the adapter.
        base: the base model.
        renderer: of the adapter.
        max_new_tokens: tokens at which an answer is cut off.
        secret: the server's key, which its words may hold.
        progress: told in rows.
    """

    def __init__(
        self,
        model: "Trained",
        base: BaseModel,
        renderer: Renderer,
        max_new_tokens: int,
        secret: Secret | None,
        progress: Progress,
    ) -> None:
        self.model = model
        self.base = base
        self.renderer = renderer
        self.max_new_tokens = max_new_tokens
        self.secret = secret
        self.progress = progress

    def prompt(self, messages: Sequence[Message], there: list[int] | None, count: int | None) -> Difference | None:
        """Where a server's prompt differs: by its ids where they are known, else by how many they are."""
        here = self.renderer.prompt_ids(messages)
        length = count if there is None else len(there)
        if length is None or (length == len(here) if there is None else there == here):
            return None
        mistakes = self._mistakes(messages, here)
        if there is not None:
            cause = next((cause for cause, ids in mistakes if ids == there), None) or self._unlike(here, there)
            return self._parted(cause, here, there)
        cause = next((cause for cause, ids in mistakes if len(ids) == length), "another chat template")
        return Difference(f"{cause} ({abs(length - len(here))} tokens {'more' if length > len(here) else 'fewer'})")

    def _mistakes(self, messages: Sequence[Message], here: list[int]) -> Iterator[tuple[str, list[int]]]:
        """What servers are known to do to a prompt: the cause, and the ids it makes."""
        renderer = self.renderer
        bos = renderer.tokenizer.token_to_id(renderer.tokens.bos) if renderer.tokens.bos else None
        if bos is not None and here[:1] == [bos]:
            yield "the BOS token stands twice: the template writes it, and the server adds it again", [bos, *here]
            yield "the BOS token is missing", here[1:]
        elif bos is not None:
            yield "the server adds a BOS token that was not trained", [bos, *here]
        system = [message for message in messages if message["role"] == "system"]
        others = [message for message in messages if message["role"] != "system"]
        stripped = [message | {"content": message["content"].strip()} for message in messages]
        changed: dict[str, list[Message]] = {
            "the system turn is lost": others,
            "white space around what is said is stripped": stripped,
            "earlier turns are lost": [*system, *others[-1:]],
        }
        if system and others:
            folded = "\n\n".join(each["content"] for each in (*system, others[0]))
            changed["the system turn is written into the user's"] = [others[0] | {"content": folded}, *others[1:]]
        made = {cause: partial(renderer.prompt_ids, turns) for cause, turns in changed.items() if turns}
        made["the generation prompt is missing: nothing says that an answer begins"] = partial(
            self._rendered, renderer.template, messages, False
        )
        if self._own_template is not None:
            made["the base model's own chat template is used, not the adapter's"] = partial(
                self._rendered, self._own_template, messages, True
            )
        for cause, ids in made.items():
            with suppress(AssayError):  # the template has no words for that, so no server does it
                yield cause, ids()

    def _rendered(self, template: ChatTemplate, messages: Sequence[Message], prompt: bool) -> list[int]:
        shaped, renderer = template.shaped(messages), self.renderer
        return self._tokens(template.render(shaped, renderer.tokens, prompt, renderer.thinks))

    @cached_property
    def _own_template(self) -> ChatTemplate | None:
        """The base model's own, where it has one that can be read."""
        try:
            return ChatTemplate.load(MODEL, self.base.folder)
        except AssayError:
            return None

    def _unlike(self, here: list[int], there: list[int]) -> str:
        """The cause where the server does nothing that is known."""
        ours, theirs = self._decoded(here), self._decoded(there)
        if ours == theirs:
            return "the same text, tokenised otherwise: another tokenizer, or special tokens read as text"
        if theirs.endswith(ours):
            return "the server writes something before the prompt, a default system turn perhaps"
        if ours.startswith(theirs):
            return "the prompt is cut off at its end"
        if ours.endswith(theirs):
            return "the prompt is cut off at its beginning: the server's context is too short"
        return "another chat template"

    def texts(
        self, asked: Sequence[Sequence[Message]], there: Sequence[Generated], prompted: Sequence[Difference | None]
    ) -> list[Difference | None]:
        """Where a server's answers differ from those in process."""
        here = self._generated(asked, "ask in process")
        found: list[Difference | None] = [
            self._text(ours, theirs, prompt is not None) if self.said(ours) != self.said(theirs) else None
            for ours, theirs, prompt in zip(here, there, prompted, strict=True)
        ]
        unknown = [row for row, each in enumerate(found) if each is not None and not each.cause]
        if unknown:
            with without_adapter(self.model, self.base) as base:
                rows = [asked[row] for row in unknown]
                untuned = self._generated(rows, "ask without the adapter", base)
            for row, plain in zip(unknown, untuned, strict=True):
                parted = found[row]
                assert parted is not None  # noqa: S101 - chosen so
                if plain.text == there[row].text:
                    cause = "the adapter is not applied: the base model says the same without it"
                else:
                    cause = self._apart(asked[row], here[row], there[row])
                found[row] = Difference(cause, parted.at, parted.here, parted.there)
        return found

    def said(self, answer: Generated) -> str:
        """An answer without what was thought before, which servers may tell elsewhere, to its end or not."""
        said = self.renderer.said(answer.text)
        unfinished = answer.truncated and said.lstrip().startswith(self.renderer.thoughts.tags[0])
        return "" if unfinished else said

    def _generated(
        self, asked: Sequence[Sequence[Message]], what: str, model: "Trained | None" = None
    ) -> list[Generated]:
        return generate(
            model or self.model,
            self.renderer,
            [self.renderer.prompt_ids(messages) for messages in asked],
            max_new_tokens=self.max_new_tokens,
            batch_size=BATCH,
            progress=self.progress,
            what=what,
        )

    def _text(self, ours: Generated, theirs: Generated, prompt_differs: bool) -> Difference:
        """Where two answers part; the cause is "" where only the model can tell."""
        here, there = ours.text, theirs.text
        if there.strip() == here.strip():
            cause = "white space around the answer is stripped"
        elif there.startswith(here) and ours.truncated:
            cause = "the server goes on past max_tokens"
        elif there == self._plain(here):
            cause = "special tokens within the answer are not told by the server"
        elif there.startswith(here + self.renderer.stop):
            cause = "the stop token does not end the answer, and is told as text"
        elif there.startswith(here) and not prompt_differs:
            cause = "the stop token does not end the answer: the server goes on behind it"
        elif here.startswith(there) and theirs.truncated:
            cause = "the server cuts answers off earlier"
        elif here.startswith(there) and not prompt_differs:
            cause = "the server ends the answer earlier: a stop text of its own, or it tells a part of it elsewhere"
        else:
            cause = "follows from the prompt" if prompt_differs else ""
        return self._parted(cause, self._tokens(here), self._tokens(there))

    def _plain(self, text: str) -> str:
        """A text without its special tokens."""
        return str(self.renderer.tokenizer.decode(self._tokens(text), skip_special_tokens=True))

    def _apart(self, messages: Sequence[Message], ours: Generated, theirs: Generated) -> str:
        """How far apart the two tokens are that an answer of the same prompt goes on with."""
        import torch

        stop = self.renderer.stop_token_id
        here, there = [*self._tokens(ours.text), stop], [*self._tokens(theirs.text), stop]
        apart = (i for i, (one, other) in enumerate(zip(here, there, strict=False)) if one != other)
        if (at := next(apart, None)) is None:
            return "characters that the tokenizer does not tell apart"
        ids = [*self.renderer.prompt_ids(messages), *here[:at]]
        with torch.inference_mode():
            scores = self.model(input_ids=torch.tensor([ids], device=self.model.device)).logits[0, -1].float()
        nats = abs(float(scores[here[at]] - scores[there[at]]))
        if nats <= CLOSE:
            return f"number formats: the two tokens are less than {CLOSE:g} nats apart"
        return "other weights, another quantisation, or no greedy decoding: the two tokens are far apart"

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.renderer.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _parted(self, cause: str, here: list[int], there: list[int]) -> Difference:
        pairs = enumerate(zip(here, there, strict=False))
        at = next((i for i, (one, other) in pairs if one != other), min(len(here), len(there)))
        ours, theirs = self._decoded(here[at:]), self._decoded(there[at:])
        told = self.secret.masked(theirs) if self.secret else theirs  # before it is cut: a part of a key is not known
        return Difference(cause, at, ours[:SHOWN], told[:SHOWN])

    def _decoded(self, ids: Sequence[int]) -> str:
        """The text of tokens, those that the tokenizer does not know as their numbers."""
        size = self.renderer.tokenizer.get_vocab_size()
        if all(token < size for token in ids):
            return self.renderer.decode(ids)
        return " ".join(f"[{token}]" if token >= size else self.renderer.decode([token]) for token in ids)
