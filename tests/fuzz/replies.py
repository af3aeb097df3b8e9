"""What models and servers say: a reply is judged whatever it is, a response is an answer or an error with words."""

import json
import os
import socket
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

from curate.errors import AssayError
from evaluation.ask.endpoint import ask
from evaluation.judge.form import ABSENT, form_of
from evaluation.judge.structured import Judge
from evaluation.judge.thinking import set_aside
from evaluation.replies import read
from evaluation.settings import Endpoint
from tests.fuzz.readers import JSON_WORDS
from tests.fuzz.target import Target, told

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "count": {"type": "integer", "minimum": 0},
        "kinds": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
}
GOOD = '{"name": "x", "count": 1, "kinds": ["a"]}'


@cache
def judge() -> Judge:
    return Judge(SCHEMA)


def reply(data: bytes) -> None:
    """Whatever a model says has one form; what is found in it stands there, and fits the schema where that is said."""
    text = data.decode("utf-8", "replace")
    form = form_of(text, judge().validator, cut_off=len(data) % 2 == 1)
    answer, _ = set_aside(text)
    if form.extracted is not ABSENT:
        said = [text, *([answer] if answer is not None else [])]
        assert any(form.extracted == value for each in said for value in values(each)), "found what is not there"
        assert form.extracted_valid == judge().validator.is_valid(form.extracted) or form.parses
    assert form.valid == (form.parses and judge().validator.is_valid(form.value))
    assert form_of(text, judge().validator, cut_off=len(data) % 2 == 1) == form
    judgement = judge().judge(form, json.loads(GOOD))
    assert not judgement.whole_match or form.value == json.loads(GOOD)
    json.dumps(judgement.detail, ensure_ascii=False).encode()


def values(text: str) -> list[Any]:
    """Every JSON value that begins anywhere in a text, and the text's own."""
    decoder = json.JSONDecoder()
    found = []
    for at, char in enumerate(text):
        if at == 0 or char in "{[":
            try:
                found.append(decoder.raw_decode(text, at)[0])
            except (ValueError, RecursionError):
                continue
    return [*found, *([json.loads(text)] if _is_json(text) else [])]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


KEY = "ASSAY_FUZZ_API_KEY"
SECRET = "k3y-of-the-fuzz"


class Server:
    """A server on loopback that says what it is told to say, byte by byte."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self.says = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(2)
                try:
                    request = b""
                    while b"\r\n\r\n" not in request or not request.endswith(b"}"):
                        request += connection.recv(1 << 16)
                    connection.sendall(self.says)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):
                        pass
                except OSError:
                    continue


@cache
def server() -> Server:
    os.environ[KEY] = SECRET
    return Server()


def response(data: bytes) -> None:
    """Whatever a server sends is an answer, or an error in printable words without the key."""
    server().says = data
    endpoint = Endpoint(url=server().url, model="m", key=KEY, retries=0, timeout=2)
    with tempfile.TemporaryDirectory() as cache_folder:
        try:
            [answer] = ask(endpoint, [[{"role": "user", "content": "q"}]], max_new_tokens=8, cache=Path(cache_folder))
        except AssayError as error:
            words = told(error) + error.remedy
        else:
            words = ""
            json.dumps([answer.text, answer.tokens, answer.tokens_in, answer.logprob], allow_nan=False)
    assert SECRET not in words, "the key is told"
    assert words.replace("\n", "").isprintable(), "what could steer a terminal"


def http(status: str, body: Any, *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", ""])
    return head.encode() + content


def responses() -> list[bytes]:
    choice = {"message": {"content": GOOD}, "finish_reason": "stop", "logprobs": {"content": [{"logprob": -0.5}]}}
    completion = {"choices": [choice], "usage": {"completion_tokens": 5, "prompt_tokens": 7}}
    return [
        http("200 OK", completion),
        http("200 OK", {"choices": [{"message": {"refusal": "no"}}]}),
        http("400 Bad Request", {"error": {"message": f"max_tokens: {SECRET}", "param": "max_tokens", "code": None}}),
        http("429 Too Many", {"detail": ["a", 1]}, "Retry-After: 400"),
        http("302 Found", b"<html><b>moved</b></html>", "Location: http://127.0.0.1:9/"),
        http("304 Not Modified", b""),
        http("401 No", SECRET.encode()),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ]


def replies_file(data: bytes) -> None:
    """A file of replies is read whole, or refused."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".jsonl", ".json", ".parquet"):
            path = Path(folder) / f"replies{suffix}"
            path.write_bytes(data)
            try:
                found = read([path], "fuzz")
            except AssayError as error:
                told(error)
                continue
            assert all(len(given) == len(found.ids) for given in found.systems.values())
            json.dumps([found.ids, found.prompts, found.groups], ensure_ascii=False).encode()


def replies_files() -> list[bytes]:
    rows = [
        {"id": str(at), "system": "s", "output": GOOD, "expected": GOOD, "confidence": 0.5, "tokens": 3, "seconds": 0.1}
        for at in range(3)
    ]
    return ["\n".join(map(json.dumps, rows)).encode(), json.dumps(rows).encode()]


REPLIES = (
    GOOD,
    f"```json\n{GOOD}\n```",
    f"<think>so {GOOD}</think>\n{GOOD}",
    f"Sure: {GOOD} and [1]",
    "I cannot.",
    '{"name": ["a',
)
REPLY_WORDS = (
    *JSON_WORDS,
    b"<think>",
    b"</think>",
    b"```",
    b"```json\n",
    b"<|channel|>final<|message|>",
    b"[THINK]",
    b"[0, 1)",
    b"// a\n",
    b"assistantfinal",
    b"9" * 4400,
)
HTTP_WORDS = (
    b"HTTP/1.1 ",
    b"200",
    b"204",
    b"304",
    b"101",
    b"500",
    b"\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: br\r\n",
    b"Content-Type: text/html; charset=utf-16\r\n",
    b"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    b"Location: \r\n",
    b"\x1b[2J",
    SECRET.encode(),
    b"Set-Cookie: a=b\r\n",
    b"\xff",
    *JSON_WORDS,
)

TARGETS = (
    Target("reply", reply, lambda: [each.encode() for each in REPLIES], REPLY_WORDS),
    Target("response", response, responses, HTTP_WORDS),
    Target("replies_file", replies_file, replies_files, JSON_WORDS),
)
