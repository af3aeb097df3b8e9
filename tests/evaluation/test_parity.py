"""`assay parity` against servers that answer as vLLM, llama.cpp and ollama do, rightly and wrongly."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from transformers import AutoTokenizer

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate, Message
from curate.rows.renderer import Renderer
from curate.store import Store
from evaluation.ask.generate import generate
from evaluation.ask.prompts import ollama_says, only_model, prompts
from evaluation.parity import Parity, parity
from tests import tiny
from tests.evaluation.scripted import Reply, Request, Scripted, completion, reply, serving
from tests.tiny import recipe_for, write_model, write_version
from train.adapter import load, renderer_of, template_of
from train.base_model import prepare
from train.manifest import AdapterManifest
from train.modelfile import go_template
from train.qlora import train

SYSTEM = "You know licences. "
ROWS, TOKENS = 3, 60


@dataclass(frozen=True)
class Trained:
    """An adapter, and its model in process."""

    folder: Path
    store: Store
    renderer: Renderer
    model: Any
    said: dict[tuple[tuple[int, ...], bool], str] = field(default_factory=dict)
    turn: Lock = field(default_factory=Lock)
    """The server has threads, the model one adapter that is on or off."""

    def says(self, ids: Sequence[int], adapter: bool = True) -> str:
        """The answer to a prompt."""
        key = tuple(ids), adapter
        with self.turn:
            if key not in self.said:
                with nullcontext() if adapter else self.model.disable_adapter():
                    [answer] = generate(self.model, self.renderer, [ids], max_new_tokens=TOKENS, batch_size=1)
                self.said[key] = answer.text
            return self.said[key]


@pytest.fixture(scope="module")
def trained(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    store = Store(tmp_path_factory.mktemp("store"))
    version = write_version(store, model_folder, system=SYSTEM)
    folder = train(version, recipe_for(model_folder, learning_rate=0.03, epochs=12, rank=8, alpha=16), store)
    model = load(folder, prepare(str(model_folder), store.cache), ChatTemplate("chatml"), "none")
    return Trained(folder, store, tiny.renderer_of(model_folder), model)


@dataclass
class Server:
    """What a scripted server does: as which it answers, and what it does wrong."""

    trained: Trained
    kind: str = "vllm"
    prompt: Callable[[list[Message]], list[Message]] = lambda messages: messages
    ids: Callable[[list[int]], list[int]] = lambda ids: ids
    text: Callable[[str], str] = lambda text: text
    adapter: bool = True
    template: str | None = None
    parameters: str = 'stop    "<|im_end|>"'
    strict: bool = False
    """Refuse what it does not know, as `transformers serve` does."""

    def prompt_ids(self, messages: list[Message]) -> list[int]:
        return self.ids(self.trained.renderer.prompt_ids(self.prompt(messages)))

    def __call__(self, request: Request) -> Reply:
        body, path = request.body, request.path
        if path == "/v1/chat/completions":
            return self.complete(body)
        if path == "/v1/models":
            return reply({"data": [{"id": "tuned"}]})
        if self.kind == "vllm" and path == "/tokenize" and "messages" in body:
            ids = self.prompt_ids(body["messages"])
            return reply({"tokens": ids, "count": len(ids)})
        renderer = self.trained.renderer
        if self.kind == "llama.cpp" and path == "/apply-template":
            return reply({"prompt": renderer.decode(self.prompt_ids(body["messages"]))})
        if self.kind == "llama.cpp" and path == "/tokenize":
            return reply({"tokens": renderer.tokenizer.encode(body.get("content", ""), add_special_tokens=False).ids})
        if self.kind == "ollama" and path == "/api/show":
            return reply({"template": self.template or go_template(renderer), "parameters": self.parameters})
        return reply({"detail": "Not Found"}, 404)

    def complete(self, body: dict[str, Any]) -> Reply:
        if self.strict and "return_token_ids" in body:
            return reply({"detail": "Unexpected fields in the request: {'return_token_ids'}"}, 422)
        ids = self.prompt_ids(body["messages"])
        said = completion(self.text(self.trained.says(ids, self.adapter)))
        said["usage"] = {"prompt_tokens": len(ids), "completion_tokens": 5}
        if body.get("return_token_ids") and self.kind == "vllm":
            said["prompt_token_ids"] = ids
        if self.kind == "silent":
            del said["usage"]
        return reply(said)


def compared(server: Server, **options: Any) -> Parity:
    with serving(server) as running:
        return parity(
            server.trained.folder,
            running.endpoint(),
            server.trained.store,
            **{"rows": ROWS, "max_new_tokens": TOKENS} | options,
        )


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation.ask import endpoint

    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.001)


@pytest.mark.parametrize(
    ("kind", "strict", "learnt"),
    [
        ("vllm", False, "return_token_ids"),
        ("vllm", True, "/tokenize"),
        ("llama.cpp", False, "/apply-template and /tokenize"),
        ("ollama", False, "usage"),
        ("transformers serve", True, "usage"),
        ("silent", False, ""),
    ],
)
def test_a_server_that_does_the_same_is_the_same(trained: Trained, kind: str, strict: bool, learnt: str) -> None:
    found = compared(Server(trained, kind, strict=strict))
    assert found.same
    assert found.learnt == learnt
    assert [len(found.rows), found.notes, found.causes()] == [ROWS, [], {}]
    assert found.split == "test"
    told = {row[0]: row[1] for row in found.tables()[0].rows}
    assert told["answers"] == "3 of 3 the same"
    wanted = {
        "": "not known: the server does not tell",
        "usage": "3 of 3 as long (the server tells no more than how many tokens)",
    }
    assert told["prompts"] == wanted.get(learnt, f"3 of 3 the same, token by token ({learnt})")


def lost(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message["role"] != "system"]


def stripped(messages: list[Message]) -> list[Message]:
    return [message | {"content": message["content"].strip()} for message in messages]


def folded(messages: list[Message]) -> list[Message]:
    system, user = messages
    return [user | {"content": f"{system['content']}\n\n{user['content']}"}]


BOS = 1
DOUBLE = "the BOS token stands twice: the template writes it, and the server adds it again"


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp", "ollama"])
@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"ids": lambda ids: [BOS, *ids]}, DOUBLE),
        ({"ids": lambda ids: ids[1:]}, "the BOS token is missing"),
        ({"prompt": lost}, "the system turn is lost"),
        ({"prompt": folded}, "the system turn is written into the user's"),
        ({"prompt": stripped}, "white space around what is said is stripped"),
    ],
    ids=["double BOS", "no BOS", "lost system", "folded system", "stripped"],
)
def test_what_is_wrong_with_a_prompt_is_named(trained: Trained, kind: str, wrong: dict[str, Any], cause: str) -> None:
    found = compared(Server(trained, kind, **wrong))
    assert not found.same
    for row in found.rows:
        assert row.prompt is not None
        assert row.prompt.cause.startswith(cause)
        assert row.tokens_there is not None
        assert row.tokens_there != row.tokens_here
        assert row.text is None or row.text.cause in (
            "follows from the prompt",
            "white space around the answer is stripped",
        )
    if kind == "ollama":
        assert "tokens" in found.rows[0].prompt.cause  # type: ignore[union-attr]
    else:
        assert found.rows[0].prompt.at is not None  # type: ignore[union-attr]
        [_, _, differences] = found.tables()
        assert any(cause in line for line in differences.rows)


def test_the_first_token_that_differs_is_shown_in_both(trained: Trained) -> None:
    first = compared(Server(trained, prompt=lost)).rows[0].prompt
    assert first is not None
    assert first.at == 1
    assert first.here.startswith("system\nYou")
    assert first.there.startswith("user\nWhich")


@pytest.mark.parametrize(
    ("ids", "cause"),
    [
        (lambda ids: [0, *ids], "the server writes something before the prompt, a default system turn perhaps"),
        (lambda ids: ids[:-1], "the prompt is cut off at its end"),
        (lambda ids: ids[5:], "the prompt is cut off at its beginning: the server's context is too short"),
        (lambda ids: [ids[0], 0, 5, *ids[9:]], "another chat template"),
        (lambda ids: [ids[0], 2**31 - 1, *ids[1:]], "another chat template"),
    ],
)
def test_what_no_mistake_explains_is_described(
    trained: Trained, ids: Callable[[list[int]], list[int]], cause: str
) -> None:
    server = Server(trained, ids=ids)
    answer = server.complete

    def answered(body: dict[str, Any]) -> Reply:
        """It tells what it does to the prompt, and answers as it should: a model cannot be asked with every id."""
        server.ids = lambda each: each
        raw = answer(body)[-1]
        server.ids = ids
        said = json.loads(raw)
        if "prompt_token_ids" in said:
            said["prompt_token_ids"] = ids(said["prompt_token_ids"])
        return reply(said)

    server.complete = answered  # type: ignore[method-assign]
    found = compared(server)
    assert {row.prompt.cause for row in found.rows if row.prompt} == {cause}
    assert all(row.text is None for row in found.rows)
    assert not found.same


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"text": lambda text: text + "<|im_end|>"}, "the stop token does not end the answer, and is told as text"),
        ({"text": lambda text: text + "\n{}"}, "the stop token does not end the answer: the server goes on behind it"),
        ({"text": lambda text: f" {text}\n"}, "white space around the answer is stripped"),
        ({"text": lambda text: text[:-9]}, "the server ends the answer earlier"),
        ({"adapter": False}, "the adapter is not applied: the base model says the same without it"),
        ({"text": lambda text: text[:9] + "zebra" + text[9:]}, "other weights, another quantisation"),
    ],
    ids=["stop as text", "no stop", "white space", "ends earlier", "no adapter", "other weights"],
)
def test_what_is_wrong_with_an_answer_is_named(trained: Trained, wrong: dict[str, Any], cause: str) -> None:
    found = compared(Server(trained, **wrong))
    assert not found.same
    assert all(row.prompt is None for row in found.rows)
    assert [row.text.cause.startswith(cause) for row in found.rows if row.text] == [True] * ROWS, found.rows


def test_a_near_tie_is_told_from_other_weights(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.parity.CLOSE", 100.0)
    found = compared(Server(trained, text=lambda text: text[:9] + "zebra" + text[9:]))
    assert {row.text.cause for row in found.rows if row.text} == {
        "number formats: the two tokens are less than 100 nats apart"
    }


def test_the_base_model_s_own_template_is_recognised(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that was not told the adapter's."""
    own = "{%- for m in messages -%}<|im_start|>{{ m.content }}<|im_end|>{%- endfor -%}<|im_start|>"
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(own)
    store = Store(tmp_path / "store")
    folder = train(write_version(store, model), recipe_for(model, rows=4), store)
    renderer = tiny.renderer_of(model)
    base = prepare(str(model), store.cache)
    trained = Trained(folder, store, renderer, load(folder, base, ChatTemplate("chatml"), "none"))
    own_prompt = partial(ChatTemplate("own", own).render, tokens=renderer.tokens)
    server = Server(trained)
    monkeypatch.setattr(
        server,
        "prompt_ids",
        lambda messages: renderer.tokenizer.encode(own_prompt(messages), add_special_tokens=False).ids,
    )
    found = compared(server)
    causes = {row.prompt.cause for row in found.rows if row.prompt}
    assert causes == {"the base model's own chat template is used, not the adapter's"}


def test_what_ollama_has_of_another_modelfile_is_noted(trained: Trained) -> None:
    found = compared(Server(trained, "ollama", template="{{ .Prompt }}", parameters=""))
    assert found.same, "a note is no difference"
    assert found.notes == [
        "ollama's TEMPLATE of this model is not that of the adapter's Modelfile",
        'ollama has no `PARAMETER stop "<|im_end|>"` of this model',
    ]


def test_nothing_a_server_said_is_kept(trained: Trained) -> None:
    """It may be another by the next time."""
    assert not compared(Server(trained, adapter=False)).same
    assert compared(Server(trained)).same


@pytest.mark.parametrize(
    "odd", [[], {"tokens": "no"}, {"tokens": [1, -2]}, {"tokens": [1.5]}, {"tokens": [True]}, b"\xff", b"[" * 99_999]
)
def test_replies_of_any_kind_are_no_prompt(odd: Any) -> None:
    with serving(lambda request: reply(odd)) as running:
        assert prompts(running.endpoint(), [[{"role": "user", "content": "Which?"}]]) == ("", [None])
        assert ollama_says(running.endpoint()) == {}


def test_a_key_does_not_come_back_in_what_is_shown(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_API_KEY", "k3y-0f-Secrets")
    ids = trained.renderer.tokenizer.encode("k3y-0f-Secrets").ids
    server = Server(trained)
    server.ids = lambda each: [*ids, *each][:200]
    with serving(server) as running:
        found = parity(
            trained.folder, running.endpoint(key="TEST_API_KEY"), trained.store, rows=1, max_new_tokens=TOKENS
        )
        assert running.log[-1].headers["authorization"] == "Bearer k3y-0f-Secrets"
    assert "k3y" not in str(found)


def test_the_only_model_is_meant(trained: Trained) -> None:
    def script(names: list[str]) -> Callable[[Request], Reply]:
        return lambda request: reply({"data": [{"id": name} for name in names]})

    with serving(script(["tuned"])) as running:
        assert only_model(running.endpoint()) == "tuned"
    for names, told in ((["base", "tuned"], "has 2 models: base, tuned"), ([], "lists no model at /models")):
        with serving(script(names)) as running, pytest.raises(AssayError, match=told) as error:
            only_model(running.endpoint())
        assert "--model NAME" in error.value.remedy


def test_a_server_that_is_not_there_is_told(trained: Trained) -> None:
    with serving(Server(trained)) as running:
        gone: Scripted = running
    with pytest.raises(AssayError, match="no connection"):
        parity(trained.folder, gone.endpoint(retries=0), trained.store, rows=1, max_new_tokens=8)


DATED = "".join(
    [
        "{%- set unthought = '' if enable_thinking | default(true) else '<think></think>' -%}",
        "{{- '<|im_start|>system\\n' + strftime_now('%d %b %Y') + '<|im_end|>\\n' -}}",
        "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\\n' -}}",
        "{%- for call in message.tool_calls or [] -%}{%- for name, value in call.function.arguments.items() -%}",
        "{{- name + '=' + value | string + ';' -}}{%- endfor -%}{%- endfor -%}",
        "{%- if message.role == 'assistant' and loop.last -%}{{- unthought -}}{%- endif -%}",
        "{{- message.content + '<|im_end|>\\n' -}}{%- endfor -%}",
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' + unthought -}}{%- endif -%}",
    ]
)
"""As models are published: it tells the day, writes calls in its own way, and asks for no thoughts where told."""


@pytest.mark.parametrize("reasoning", ["train", "omit"])
def test_a_models_own_template_all_the_way(tmp_path: Path, reasoning: str) -> None:
    """Trained, found again by its hash, and asked as a server asks that has nothing but the adapter's folder."""
    model = write_model(tmp_path / "model")
    (model / "chat_template.jinja").write_text(DATED)
    store = Store(tmp_path / "store")
    version = write_version(store, model, template="model", tools=True)
    recipe = recipe_for(model)
    recipe = recipe.model_copy(
        update={"render": recipe.render.model_copy(update={"chat": "model", "reasoning": reasoning})}
    )
    folder = train(version, recipe, store)
    base, template = prepare(str(model), store.cache), template_of(folder)
    assert template.sha256 == AdapterManifest.read(folder).inputs.base.chat_template_sha256
    assert template.source == DATED
    tokenizer = AutoTokenizer.from_pretrained(folder)

    class AsServed(Renderer):
        def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
            for call in (call for message in messages for call in message.get("tool_calls", ())):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
            return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)

    plain = renderer_of(folder, base, template)
    served = AsServed(template, plain.tokenizer, plain.tokens, plain.answers, plain.reasoning)
    found = compared(Server(Trained(folder, store, served, load(folder, base, template, "none"))))
    assert found.learnt == "return_token_ids"
    assert found.same, found.causes()
    assert ("<think></think>" in tokenizer.decode(plain.prompt_ids(MESSAGES))) is (reasoning == "omit")
    request = json.loads((folder / "example_request.json").read_bytes())
    [call] = request["messages"][1]["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"at": "é", "lines": 2.5}'}
    assert request["messages"][2] == {"role": "tool", "name": "look", "content": "all of it"}
    assert 'json.loads(call["function"]["arguments"])' in (folder / "README.md").read_text()


MESSAGES = [{"role": "user", "content": "well?"}]
