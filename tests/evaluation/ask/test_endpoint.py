"""Endpoints, played by servers on the loopback: one that misbehaves as it is told, and a real one."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch
from transformers import AutoModelForCausalLM

from curate.errors import AssayError
from curate.rows.chat_template import Message
from curate.store import Store
from evaluation.ask import endpoint as module
from evaluation.ask.endpoint import ask
from evaluation.ask.generate import generate
from evaluation.card.format import schema
from evaluation.evaluate import evaluate
from evaluation.judge.answer import Generated
from evaluation.settings import Endpoint, EvaluationSettings, FullRecipe
from tests.evaluation.scripted import Reply, Request, Script, Scripted, completion, conversations, echo, reply, serving
from tests.tiny import ANSWERS, NOTICES, QUESTION, recipe_for, renderer_of, write_version

SECRET = "sk-never-to-be-seen-0123456789"
ROOT = Path(__file__).resolve().parents[3]


def numbered(count: int) -> list[list[Message]]:
    return conversations(*(f"question {number}" for number in range(count)))


@dataclass
class Told:
    """A progress that remembers."""

    calls: list[tuple[str, int, int, str]] = field(default_factory=list)

    def __call__(self, what: str, done: int, total: int, unit: str) -> None:
        self.calls.append((what, done, total, unit))


def one(server: Scripted, cache: Path, **settings: Any) -> Generated:
    talk = conversations("why?")
    [answer] = ask(server.endpoint(**settings), talk, max_new_tokens=9, title="licence", cache=cache)
    return answer


def failure(server: Scripted, cache: Path, **settings: Any) -> AssayError:
    with pytest.raises(AssayError) as error:
        ask(server.endpoint(**settings), numbered(4), max_new_tokens=9, cache=cache)
    assert SECRET not in str(error.value)
    assert f"http://127.0.0.1:{server.server_address[1]}/v1, model 'scripted'" in error.value.message
    assert "of 4 rows are answered and kept" in error.value.message
    assert error.value.remedy
    return error.value


def test_what_is_asked_and_what_is_read(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_API_KEY", f" {SECRET}\n")
    told = Told()
    answers = ask(
        server.endpoint(key="MOCK_API_KEY"),
        numbered(5),
        max_new_tokens=9,
        cache=tmp_path,
        progress=told,
        what="ask it",
    )
    assert [answer.text for answer in answers] == [f"re: question {number}" for number in range(5)]
    assert {(answer.tokens, answer.tokens_in, answer.truncated, answer.logprob) for answer in answers} == {
        (3, 7, False, None)
    }
    assert all(answer.seconds is not None and answer.seconds > 0 for answer in answers)
    assert told.calls == [("ask it", done, 5, "rows") for done in range(6)]
    for request in server.log:
        assert request.path == "/v1/chat/completions"
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        assert request.headers["content-type"] == "application/json"
        assert request.body == {
            "model": "scripted",
            "messages": conversations(request.question)[0],
            "max_tokens": 9,
            "temperature": 0,
            "seed": 0,
            "logprobs": True,
        }
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


def logprobs_of(*values: float) -> dict[str, Any]:
    return {"content": [{"token": "a", "logprob": value} for value in values]}


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "call_7", "type": "function", "function": {"name": name, "arguments": arguments}}


def called(text: str) -> Generated:
    return Generated(text, 3, tokens_in=7)


LOGPROBS = logprobs_of(-0.5, -0.25)
BIG = "{" * 1_000_000


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (completion("short", "length"), Generated("short", 3, True, tokens_in=7)),
        (completion(None), Generated("", 3, tokens_in=7)),
        (completion(None, refusal="I can't."), Generated("I can't.", 3, tokens_in=7, refused=True)),
        (completion([{"type": "refusal", "refusal": "No."}]), Generated("No.", 3, tokens_in=7, refused=True)),
        (completion("{}", refusal=""), Generated("{}", 3, tokens_in=7)),
        (completion(parts("{", '"a": 1}')), Generated('{"a": 1}', 3, tokens_in=7)),
        (completion([{"type": "thinking", "thinking": "hm"}, *parts("x")]), Generated("x", 3, tokens_in=7)),
        (completion([]), Generated("", 3, tokens_in=7)),
        (completion(None, tool_calls=[call("f", '{"x":1}')]), called('{"name": "f", "arguments": {"x":1}}')),
        (completion("", tool_calls=[call("f", {"x": "é"})]), called('{"name": "f", "arguments": {"x": "é"}}')),
        (completion(None, tool_calls=[call("f", "not { json")]), called('{"name": "f", "arguments": "not { json"}')),
        (completion(None, function_call={"name": "f", "arguments": "{}"}), called('{"name": "f", "arguments": {}}')),
        (
            completion("So:", "tool_calls", tool_calls=[call("f", "{}"), call("g", "{}")]),
            called('So:\n[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]'),
        ),
        (completion(None, tool_calls=[call("answer", '{"kind": "a"}')]), called('{"kind": "a"}')),
        (completion("", tool_calls=[call("licence", {"kind": "a"})]), called('{"kind": "a"}')),
        (
            completion(None, tool_calls=[{"type": "custom", "custom": {"name": "f", "input": "x"}}]),
            called('{"name": "f", "arguments": "x"}'),
        ),
        (completion("{}", tool_calls=[]), Generated("{}", 3, tokens_in=7)),
        (completion(None, "content_filter"), Generated("", 3, tokens_in=7)),
        (completion("{}", reasoning_content="{ maybe"), Generated("{}", 3, tokens_in=7)),
        (completion(None, "length", reasoning_content="{ maybe"), Generated("", 3, True, tokens_in=7)),
        (completion("half \ud83d a face"), Generated("half \ud83d a face", 3, tokens_in=7)),
        (completion(BIG), Generated(BIG, 3, tokens_in=7)),
        ({"choices": [{"message": {"content": "x"}}]}, Generated("x")),
        ({"choices": [{"message": {"content": "x"}, "logprobs": LOGPROBS}]}, Generated("x", logprob=-0.75)),
        ({"choices": [{"message": {"content": "x"}, "logprobs": {"content": None}}], "usage": None}, Generated("x")),
        ({"choices": [{"message": {"content": "x"}, "logprobs": logprobs_of(1e-7)}]}, Generated("x", logprob=0.0)),
        ({"choices": [{"message": {"content": "x"}, "logprobs": logprobs_of(-0.5, -math.inf)}]}, Generated("x")),
    ],
)
def test_forms_of_answers(server: Scripted, tmp_path: Path, body: dict[str, Any], expected: Generated) -> None:
    server.script = lambda request: reply(body)
    answer = one(server, tmp_path)
    assert answer == replace(expected, seconds=answer.seconds)
    assert one(server, tmp_path) == answer, "from the cache it is the same"
    assert len(server.log) == 1


def test_a_prompt_that_azure_filters_has_an_empty_answer(server: Scripted, tmp_path: Path) -> None:
    error = {"message": "The prompt triggered the content policy.", "code": "content_filter", "param": "prompt"}
    server.script = lambda request: reply({"error": error}, 400)
    assert one(server, tmp_path).text == ""
    assert len(server.log) == 1


HANGS = 1.0
"""The time-out, in seconds, where the server is to exceed it."""


def hang(request: Request) -> None:
    time.sleep(2 * HANGS)


PASSING: dict[str, Script] = {
    **{f"status {status}": (lambda request, status=status: reply({}, status)) for status in (408, 409, 425, 429)},
    **{f"status {status}": (lambda request, status=status: reply(b"", status)) for status in (500, 502, 503, 504, 529)},
    "dropped": lambda request: None,
    "hangs": hang,
    "no JSON": lambda request: reply(b'{"choices": [{"mess'),
    "no UTF-8": lambda request: reply(b'{"choices": "\xff"}'),
    "HTML": lambda request: reply(b"<html><body>Welcome</body></html>", content_type="text/html"),
    "nested": lambda request: reply(b'{"choices":' + b"[" * 200_000),
    "another shape": lambda request: reply({"choices": [{"message": {"content": {"a": 1}}}]}),
    "no choices": lambda request: reply({"choices": []}),
    "endless tokens": lambda request: reply(
        b'{"choices": [{"message": {"content": ""}}], "usage": {"completion_tokens": 1e999}}'
    ),
    "more tokens than there can be": lambda request: reply(
        b'{"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": 1e12}}'
    ),
    "error in a 200": lambda request: reply({"error": {"message": "upstream is busy", "code": 502}}),
}


@pytest.mark.parametrize("what", PASSING)
def test_failures_that_pass_are_tried_again(server: Scripted, tmp_path: Path, what: str) -> None:
    server.script = lambda request: PASSING[what](request) if request.tries <= 2 else echo(request)
    timeout = HANGS if what == "hangs" else 30.0
    answer = one(server, tmp_path, timeout=timeout, retries=2)
    assert answer.text == "re: why?"
    assert [request.tries for request in server.log] == [1, 2, 3]
    assert answer.seconds is not None
    assert answer.seconds < timeout, "of the try that succeeded alone"


@pytest.mark.parametrize("what", ["dropped", "hangs", "status 503", "HTML"])
def test_failures_that_do_not_pass(server: Scripted, tmp_path: Path, what: str) -> None:
    server.script = PASSING[what]
    error = failure(server, tmp_path, timeout=HANGS if what == "hangs" else 30.0, retries=1, concurrency=1)
    assert len(server.log) == 2, "nothing else is begun"
    assert "after 2 tries" in error.message
    assert {
        "dropped": "no connection",
        "hangs": "no answer within 1 s",
        "status 503": "status 503 Service Unavailable: (nothing)",
        "HTML": "no chat completion, but: Welcome",
    }[what] in error.message


def test_nobody_listens(tmp_path: Path) -> None:
    with serving(echo) as gone:
        pass
    assert "no connection" in failure(gone, tmp_path, retries=1).message


@pytest.mark.parametrize("date", [False, True], ids=["seconds", "date"])
def test_retry_after_is_honoured(server: Scripted, tmp_path: Path, date: bool) -> None:
    due = 0.0

    def busy_once(request: Request) -> Reply:
        nonlocal due
        if request.tries > 1:
            return echo(request)
        now = datetime.now(UTC)
        then = now + timedelta(seconds=1)
        due = request.time + 1
        if date:  # in whole seconds
            then = (now + timedelta(seconds=2)).replace(microsecond=0)
            due = request.time + (then - now).total_seconds() - 0.01
        return reply({}, 429, retry_after=format_datetime(then, usegmt=True) if date else "1")

    server.script = busy_once
    assert one(server, tmp_path).text == "re: why?"
    first, second = server.log
    assert second.time >= due > first.time


def test_a_quota_that_is_used_up_is_not_waited_for(server: Scripted, tmp_path: Path) -> None:
    server.script = lambda request: reply({"error": {"message": "daily limit"}}, 429, retry_after="3600")
    error = failure(server, tmp_path, concurrency=1)
    assert "status 429 Too Many Requests: daily limit (to be asked again after 3600 s)" in error.message
    assert len(server.log) == 1


PAGE = (
    b"<html><head><title>No</title><style>p{}</style></head><body><p>Not \x1b[31mhere\xe2\x80\xae</p>"
    + b"<p>a</p>" * 999
)


@pytest.mark.parametrize(
    ("status", "body", "said", "remedy"),
    [
        (
            401,
            {"error": {"message": f"Incorrect API key: {SECRET}"}},
            "Incorrect API key: (the key)",
            "MOCK_API_KEY",
        ),
        (403, {"error": {"message": "Not for you."}}, "Not for you.", "MOCK_API_KEY"),
        (404, {"error": {"message": "The model `scripted` does not exist"}}, "does not exist", "`model`"),
        (404, PAGE, "Not [31mhere a a", "`url`"),
        (400, {"object": "error", "message": "maximum context length is 64"}, "length is 64", "objects"),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "odd"}]}, '"msg": "odd"', "objects"),
        (400, {"error": "just words"}, "just words", "objects"),
        (418, b"", "(nothing)", "objects"),
    ],
)
def test_a_refusal_ends_the_run_at_once(
    server: Scripted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: Any,
    said: str,
    remedy: str,
) -> None:
    monkeypatch.setenv("MOCK_API_KEY", SECRET)
    server.script = lambda request: reply(body, status)
    error = failure(server, tmp_path, key="MOCK_API_KEY", concurrency=1)
    assert f"status {status} " in error.message
    assert said in error.message
    assert remedy in error.remedy
    assert len(error.message) < 600
    assert error.message.replace("\n", "").isprintable()
    assert len(server.log) == 1


def test_redirects_are_not_followed(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_API_KEY", SECRET)
    with serving(echo) as other:
        elsewhere = f"http://127.0.0.1:{other.server_address[1]}/v1/chat/completions"
        server.script = lambda request: reply(b"", 307, location=elsewhere)
        error = failure(server, tmp_path, key="MOCK_API_KEY", concurrency=1)
        assert elsewhere in error.remedy
        assert other.log == []


def test_a_key_that_is_missing_is_said_before_anything_is_asked(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOCK_API_KEY", raising=False)
    for value, wrong in ((None, "is not set"), ("", "is not set"), (f"{SECRET}\nX-Evil: 1", "holds characters")):
        if value is not None:
            monkeypatch.setenv("MOCK_API_KEY", value)
        with pytest.raises(AssayError, match=f"environment variable MOCK_API_KEY {wrong}") as error:
            one(server, tmp_path, key="MOCK_API_KEY")
        assert SECRET not in str(error.value)
    assert server.log == []


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "file:///etc/passwd", "http://me:hush@host/v1", "http://host/v1?key=hush", "host:80/v1"]
)
def test_urls_that_are_none_or_hold_a_secret(tmp_path: Path, url: str) -> None:
    recipe = (ROOT / "recipes/licences.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    system = f"evaluation:\n  systems:\n    served: {{model: {{url: '{url}', model: m}}}}\n"
    assert "\nevaluation:\n" in recipe
    path.write_text(recipe.replace("\nevaluation:\n", f"\n{system}", 1), encoding="utf-8")
    with pytest.raises(AssayError) as error:
        FullRecipe.load(path)
    _, problem = error.value.message.split("\n")
    assert problem.startswith("  evaluation.systems.served.model.url: expected http(s)://HOST/v1 with neither user nor")


def test_a_trailing_slash_makes_no_other_endpoint() -> None:
    assert Endpoint(url="http://host/v1/", model="m") == Endpoint(url="http://host/v1", model="m")


OPENAI_REASONING = {
    "max_tokens": (400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
    "temperature": (400, "Unsupported value: 'temperature' does not support 0 with this model."),
    "logprobs": (403, "You are not allowed to request logprobs from this model"),
}


def test_parameters_that_are_refused_are_left_away_for_the_whole_run(server: Scripted, tmp_path: Path) -> None:
    def reasoning(request: Request) -> Reply:
        for name, (status, message) in OPENAI_REASONING.items():
            if name in request.body:
                param = None if name == "logprobs" else name
                return reply({"error": {"message": message, "param": param}}, status)
        return echo(request)

    server.script = reasoning
    told = Told()
    ask(server.endpoint(concurrency=2, retries=0), numbered(6), max_new_tokens=9, cache=tmp_path, progress=told)
    assert all(
        set(request.body) == {"model", "messages", "seed", "max_completion_tokens"} for request in server.log[-4:]
    )
    assert server.log[-1].body["max_completion_tokens"] == 9
    assert server.answered == Counter(f"question {number}" for number in range(6))
    assert len(server.log) <= 6 + 3 * 2
    assert sorted(what for what, _, _, unit in told.calls if unit == "parameters") == [
        f"ask (without {name}, which the server refuses)" for name in sorted(OPENAI_REASONING)
    ]
    assert module.refused(server.endpoint(), tmp_path) == sorted(OPENAI_REASONING)


def test_several_refused_at_once_as_transformers_words_it(server: Scripted, tmp_path: Path) -> None:
    def strict(request: Request) -> Reply:
        unexpected = request.body.keys() & {"seed", "logprobs"}
        return (
            reply({"detail": f"Unexpected fields in the request: {unexpected}"}, 422) if unexpected else echo(request)
        )

    server.script = strict
    assert one(server, tmp_path, retries=0).text == "re: why?"
    assert len(server.log) == 2


def test_a_limit_that_is_too_large_is_no_refused_parameter(server: Scripted, tmp_path: Path) -> None:
    message = "'max_tokens' or 'max_completion_tokens' is too large: 9"
    server.script = lambda request: reply({"message": message}, 400)
    assert message in failure(server, tmp_path, concurrency=1).message
    assert len(server.log) == 2


SCHEMA = {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}, "required": ["kind"]}


def test_a_schema_is_sent_and_makes_another_question(server: Scripted, tmp_path: Path) -> None:
    one(server, tmp_path)
    for _ in range(2):
        ask(server.endpoint(), conversations("why?"), max_new_tokens=9, schema=SCHEMA, cache=tmp_path)
    free, held = server.log
    assert "response_format" not in free.body
    assert held.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
    }


def held(server: Scripted, cache: Path, *questions: str, told: Told | None = None, **settings: Any) -> list[str]:
    answers = ask(
        server.endpoint(retries=0, **settings),
        conversations(*questions),
        max_new_tokens=9,
        schema=SCHEMA,
        cache=cache,
        progress=told or Told(),
    )
    return [answer.text for answer in answers]


FORMS = [{"type": "json_schema"}, {"type": "json_object"}, None]


def form_of(request: Request) -> Any:
    form = request.body.get("response_format")
    return form and {"type": form["type"]}


@pytest.mark.parametrize("takes", [1, 2])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "Invalid parameter", "param": "response_format"}),
        (400, {"message": "This response_format type is unavailable now"}),
        (422, "unprocessable"),
        (400, {"message": "minLength is not permitted"}),
        (501, {"message": "not implemented"}),
    ],
)
def test_where_a_form_is_refused_the_next_is_tried(
    server: Scripted, tmp_path: Path, takes: int, status: int, error: Any
) -> None:
    server.script = lambda request: (
        echo(request) if FORMS.index(form_of(request)) >= takes else reply({"error": error}, status)
    )
    told = Told()
    assert held(server, tmp_path, "a", "b", "c", told=told, concurrency=1) == ["re: a", "re: b", "re: c"]
    assert [form_of(request) for request in server.log] == [*FORMS[:takes], *[FORMS[takes]] * 3]
    without = [f"response_format: {each['type']}" for each in FORMS[:takes]]
    assert [what for what, _, _, unit in told.calls if unit == "parameters"] == [
        f"ask (without {name}, which the server refuses)" for name in without
    ]
    refused = module.refused(server.endpoint(), tmp_path)
    assert refused == sorted(without)
    assert module.form_used(refused) == ("json_object" if takes == 1 else "none")


def test_what_is_refused_whatever_the_form_is_an_error(server: Scripted, tmp_path: Path) -> None:
    """One question too long is no server without forms: the others have been held to the schema, and it is said."""
    long = reply({"error": {"message": "maximum context length is 64"}}, 400)
    server.script = lambda request: long if request.question == "b" else echo(request)
    with pytest.raises(AssayError, match="1 of 3 rows are answered") as error:
        held(server, tmp_path, "a", "b", "c", concurrency=1)
    assert "context length is 64" in error.value.message
    assert [form_of(request) for request in server.log] == [FORMS[0], *FORMS]
    assert module.refused(server.endpoint(), tmp_path) == []


def test_a_refused_parameter_and_a_refused_form(server: Scripted, tmp_path: Path) -> None:
    def poor(request: Request) -> Reply:
        for name in ("logprobs", "response_format"):
            if name in request.body:
                return reply({"error": {"message": f"no {name}"}}, 400)
        return echo(request)

    server.script = poor
    assert held(server, tmp_path, "a", "b", concurrency=2) == ["re: a", "re: b"]
    assert module.refused(server.endpoint(), tmp_path) == [
        "logprobs",
        "response_format: json_object",
        "response_format: json_schema",
    ]


def test_the_order_of_a_schema_s_keys_makes_another_question(server: Scripted, tmp_path: Path) -> None:
    for names in ("ab", "ba"):
        schema = {"properties": {name: {} for name in names}}
        ask(server.endpoint(), conversations("why?"), max_new_tokens=9, schema=schema, cache=tmp_path)
    assert len(server.log) == 2


def test_equal_questions_are_asked_once_and_others_anew(server: Scripted, tmp_path: Path) -> None:
    told = Told()
    talks = conversations("one", "two", "one", "one")
    answers = ask(server.endpoint(concurrency=1), talks, max_new_tokens=9, cache=tmp_path, progress=told)
    assert [answer.text for answer in answers] == ["re: one", "re: two", "re: one", "re: one"]
    assert [done for _, done, _, _ in told.calls] == [0, 3, 4]
    assert ask(server.endpoint(concurrency=7, retries=0), talks, max_new_tokens=9, cache=tmp_path) == answers
    assert server.answered == {"one": 1, "two": 1}, "how fast it is asked is no part of the question"
    ask(server.endpoint(), talks, max_new_tokens=8, cache=tmp_path)
    ask(server.endpoint().model_copy(update={"model": "another"}), talks, max_new_tokens=9, cache=tmp_path)
    assert server.answered == {"one": 3, "two": 3}


def test_a_server_that_dies_half_way(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_API_KEY", SECRET)
    settings = {"concurrency": 3, "retries": 1, "key": "MOCK_API_KEY"}
    left = iter(range(5))
    server.script = lambda request: echo(request) if next(left, None) is not None else reply(b"", 503)
    with pytest.raises(AssayError, match="5 of 12 rows are answered and kept; the same command goes on"):
        ask(server.endpoint(**settings), numbered(12), max_new_tokens=9, cache=tmp_path)
    assert server.answered.total() == 5
    server.script = echo
    told = Told()
    answers = ask(server.endpoint(**settings), numbered(12), max_new_tokens=9, cache=tmp_path, progress=told)
    assert [answer.text for answer in answers] == [f"re: question {number}" for number in range(12)]
    assert [done for _, done, _, _ in told.calls] == list(range(5, 13))
    assert server.answered == Counter(f"question {number}" for number in range(12)), "none is answered twice"
    monkeypatch.delenv("MOCK_API_KEY")
    asked = len(server.log)
    assert ask(server.endpoint(**settings), numbered(12), max_new_tokens=9, cache=tmp_path) == answers
    assert len(server.log) == asked


def test_what_is_under_way_when_another_fails_is_heard_out(server: Scripted, tmp_path: Path) -> None:
    slow_is_asked, fast_has_failed = threading.Event(), threading.Event()

    def script(request: Request) -> Reply:
        if request.question == "slow":
            slow_is_asked.set()
            assert fast_has_failed.wait(30)
            time.sleep(0.2)
            return echo(request)
        assert slow_is_asked.wait(30)
        fast_has_failed.set()
        return reply({}, 400)

    server.script = script
    with pytest.raises(AssayError, match="1 of 3 rows"):
        ask(server.endpoint(concurrency=2), conversations("slow", "fast", "third"), max_new_tokens=9, cache=tmp_path)
    assert sorted(request.question for request in server.log) == ["fast", "slow"]


KILLED = """
import signal
import sys
from pathlib import Path
from evaluation.settings import Endpoint
from evaluation.ask.endpoint import ask
from evaluation.evaluate import evaluate
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has what it runs in the background ignore
talks = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"question {n}"}] for n in range(20)]
ask(Endpoint(url=sys.argv[1], model="scripted", concurrency=2), talks, max_new_tokens=9, cache=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_where_it_was(server: Scripted, tmp_path: Path, blow: signal.Signals) -> None:
    enough, held = threading.Event(), threading.Event()

    def script(request: Request) -> Reply:
        if len(server.log) > 8:
            enough.set()
            held.wait(30)
        return echo(request)

    server.script = script
    arguments = [sys.executable, "-c", KILLED, server.endpoint().url, str(tmp_path)]
    run = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert enough.wait(120)
    run.send_signal(blow)
    _, errors = run.communicate(timeout=120)  # a busy machine may take its time to let it go
    assert run.returncode == -blow
    assert ("KeyboardInterrupt" in errors) is (blow == signal.SIGINT)
    assert "never retrieved" not in errors
    before = len(server.log)
    held.set()
    server.script = echo
    answers = ask(server.endpoint(), numbered(20), max_new_tokens=9, cache=tmp_path)
    assert [answer.text for answer in answers] == [f"re: question {number}" for number in range(20)]
    twice = [question for question, times in Counter(each.question for each in server.log).items() if times > 1]
    assert before + 20 - 8 <= len(server.log) <= before + 20 - 6, "8 were answered, 2 perhaps not yet written"
    assert len(twice) <= 4


def test_two_runs_at_once_ask_nothing_twice(server: Scripted, tmp_path: Path) -> None:
    other_waits = threading.Event()
    turns: list[tuple[str, int, int, str]] = []

    def progress(what: str, done: int, total: int, unit: str) -> None:
        if unit == "runs":
            turns.append((what, done, total, unit))
            other_waits.set()

    def run(number: int) -> list[Generated]:
        return ask(server.endpoint(), numbered(20), max_new_tokens=9, cache=tmp_path, progress=progress)

    def script(request: Request) -> Reply:
        assert other_waits.wait(30)
        return echo(request)

    server.script = script
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(run, range(2))
    assert first == second
    assert server.answered == Counter(f"question {number}" for number in range(20))
    assert turns == [("ask (another run's turn)", done, 1, "runs") for done in (0, 1)]


def test_as_many_at_once_as_allowed_and_never_more(server: Scripted, tmp_path: Path) -> None:
    together = threading.Barrier(3)
    lock = threading.Lock()
    now, most = 0, 0

    def script(request: Request) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(30)  # broken, and the row fails, unless three are here
        with lock:
            now -= 1
        return echo(request)

    server.script = script
    answers = ask(server.endpoint(concurrency=3, retries=0), numbered(9), max_new_tokens=9, cache=tmp_path)
    assert len(answers) == 9
    assert most == 3


def test_requests_are_begun_at_the_rate_allowed(server: Scripted, tmp_path: Path) -> None:
    """Tries that fail count, too. The n-th is begun n intervals after the first at the earliest, on any machine."""
    server.script = lambda request: reply({}, 500) if request.tries == 1 else echo(request)
    began = time.monotonic()
    ask(
        server.endpoint(concurrency=8, requests_per_minute=600, retries=1),
        numbered(4),
        max_new_tokens=9,
        cache=tmp_path,
    )
    assert len(server.log) == 8
    assert all(request.time >= began + 0.1 * number - 0.001 for number, request in enumerate(server.log))


def test_a_file_that_is_no_cache_is_named(server: Scripted, tmp_path: Path) -> None:
    one(server, tmp_path)
    [file] = tmp_path.rglob("*.sqlite")
    for path in file.parent.iterdir():
        path.unlink()
    file.write_bytes(b"not a database, but long enough to be looked at" * 99)
    with pytest.raises(AssayError, match=r"answers\.sqlite: file is not a database"):
        one(server, tmp_path)


def test_an_evaluation_that_the_server_leaves_half_way(
    server: Scripted, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, free and constrained: gone on with, nothing asked twice, and the key nowhere in the store."""
    monkeypatch.setenv("MOCK_API_KEY", SECRET)
    right = json.dumps(ANSWERS[0])

    def takes_no_logprobs(request: Request) -> Reply:
        if "logprobs" in request.body:
            return reply({"error": {"message": f"no logprobs, {SECRET}", "param": "logprobs"}}, 400)
        return reply(completion(right if "response_format" in request.body else f"Sure! {right}"))

    left = iter(range(11))
    server.script = lambda request: takes_no_logprobs(request) if next(left, None) is not None else reply(b"", 502)
    endpoint = server.endpoint(key="MOCK_API_KEY", concurrency=1, retries=1, price={"input": 1, "output": 10})
    systems = {"free": {"model": endpoint.model_dump()}, "held": {"model": endpoint.model_dump(), "constrained": True}}
    recipe = recipe_for(model_folder)
    settings = EvaluationSettings.model_validate({"rows": 8, "systems": systems, "resamples": 100})
    recipe = recipe.model_copy(update={"evaluation": settings})
    store = Store(tmp_path)
    version = write_version(store, model_folder)
    with pytest.raises(AssayError, match=r"status 502 .*\n\d of 8 rows are answered and kept"):
        evaluate(version, None, recipe, store)
    assert store.versions("scorecards", "tiny") == []
    server.script = takes_no_logprobs
    folder = evaluate(version, None, recipe, store)
    assert set(server.answered.values()) == {2}, "each question once free and once held"
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(schema().iter_errors(card)) == []
    free, held = card["systems"]["free"], card["systems"]["held"]
    assert (free["form"]["text_before"], held["form"]["valid"]) == (8, 8)
    assert (free["tokens_in"], free["tokens_out"], free["cost"]) == (56, 24, pytest.approx((56 + 240) / 1e6))
    price = {"input": 1.0, "output": 10.0}
    told = {"url": endpoint.url, "model": "scripted", "price": price, "refused": ["logprobs"]}
    assert held["settings"]["model"] == told
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "answers.sqlite" for path in written)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


@pytest.fixture(scope="module")
def served(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """`transformers serve`, with the tiny model and our chat template."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    folder.mkdir()
    for file in model_folder.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(renderer_of(model_folder).template.source, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    log = (folder.parent / "log").open("w+b")
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=log,
    )
    try:
        for _ in range(2400):
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            assert server.poll() is None, (folder.parent / "log").read_text()
            time.sleep(0.1)
        yield Endpoint(url=f"http://127.0.0.1:{port}/v1", model=str(folder), concurrency=2)
    finally:
        server.terminate()
        server.wait(30)
        log.close()


@pytest.mark.slow
def test_a_real_server_answers_as_the_model_does_here(served: Endpoint, model_folder: Path, tmp_path: Path) -> None:
    renderer = renderer_of(model_folder)
    talks = [[{"role": "user", "content": QUESTION + notice}] for notice in NOTICES] + conversations("What is 1?")
    prompts = [renderer.prompt_ids([*talk, {"role": "assistant", "content": ""}]) for talk in talks]
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    here = generate(model, renderer, prompts, max_new_tokens=12, batch_size=4)
    there = ask(served, talks, max_new_tokens=12, cache=tmp_path)
    assert [answer.text for answer in there] == [answer.text for answer in here]
    assert [answer.truncated for answer in there] == [answer.truncated for answer in here]
    assert [answer.tokens_in for answer in there] == [len(prompt) for prompt in prompts]
    assert [answer.tokens for answer in there] == [answer.tokens + (not answer.truncated) for answer in here]
    with pytest.raises(AssayError, match=r"status 400 .* Server is pinned to"):
        ask(served.model_copy(update={"model": "gpt-4"}), talks, max_new_tokens=12, cache=tmp_path)
