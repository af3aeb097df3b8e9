"""Servers and recipes that want more than an answer: another secret, the key told or in the clear, all the memory."""

import base64
import gzip
import html
import itertools
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import AssayError
from evaluation.ask import endpoint as module
from evaluation.ask.endpoint import ask
from evaluation.ask.reply import LONGEST
from evaluation.ask.secret import MASK, PIECE, Secret
from evaluation.settings import Endpoint
from tests.evaluation.scripted import Scripted, completion, conversations, echo, reply, serving

SECRET = "sk-never/to+be seen&0123456789"
SETTINGS = {"model": "m", "retries": 0, "concurrency": 1}
KEY = "MOCK_API_KEY"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)


def why(endpoint: Endpoint, cache: Path) -> AssayError:
    """The one error of asking one question."""
    with pytest.raises(AssayError) as error:
        ask(endpoint, conversations("why?"), max_new_tokens=9, cache=cache)
    assert "0 of 1 rows are answered and kept" in error.value.message
    assert len(error.value.message) < 600
    assert error.value.message.replace("\n", "").isprintable()
    assert error.value.remedy.isprintable()
    return error.value


# Which secret is sent, and to whom.


@pytest.mark.parametrize(
    "name",
    ["HOME", "PATH", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "_API_KEYS", "X_API_KEY\n", "X API_KEY", "É_TOKEN", ""],
)
def test_a_recipe_can_name_no_other_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed in ("OTHER, ANOTHER", ""):
        monkeypatch.setenv("ASSAY_KEYS", allowed)
        with pytest.raises(ValidationError, match=r"ends in _API_KEY or _TOKEN.*export ASSAY_KEYS=NAME,NAME"):
            Endpoint(url="https://host/v1", model="m", key=name)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "_TOKEN", "OTHER", "ANOTHER"])
def test_keys_and_what_the_user_allows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KEYS", "OTHER, ANOTHER")
    assert Endpoint(url="https://host/v1", model="m", key=name).key == name


@pytest.mark.parametrize(
    "host",
    [
        *("host", "localhost.evil.com", "127.0.0.1.evil.com", "evil-localhost", "localhost.", "127.0.0.1.", "0.0.0.0"),
        *("2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.0.01", "128.0.0.1", "10.0.0.1"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::2]", "[::]", "ip6-localhost", "127.0.0.1_", "1.127.0.0"),
    ],
)
def test_a_key_goes_over_plain_http_to_this_machine_only(host: str) -> None:
    for url in (f"http://{host}/v1", f"http://{host}:8000/v1"):
        with pytest.raises(ValidationError, match=r"a key is sent over https only; over plain http only to localhost"):
            Endpoint(url=url, model="m", key=KEY)
        assert not Endpoint(url=url, model="m").loopback, "without a key it may be asked"
    assert Endpoint(url=f"https://{host}/v1", model="m", key=KEY).key


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1@evil.com/v1", "http://127.0.0.1\\@evil.com/v1", "http://127.0.0.1\\.evil.com/v1"),
        *("http://127.0.0.1%2eevil.com/v1", "http://127.0.0.1:80:80/v1", "http://127.0.0.1:99999/v1", "http:///v1"),
        *("http://[127.0.0.1]/v1", "http://[::1]evil.com/v1", "http://[::1%25eth0]/v1", "http://[:::]/v1"),
        *("http://ⓛocalhost/v1", "http://１２７.0.0.1/v1", "http://localhost\x00.evil.com/v1", "http://localhost\t/v1"),
        *("HTTP://localhost/v1", "http:/\\localhost/v1", "http://localhost,evil.com/v1", "http://*/v1"),
    ],
)
def test_urls_that_readers_may_take_for_different_ones_are_none(url: str) -> None:
    with pytest.raises(ValidationError):
        Endpoint(url=url, model="m", key=KEY)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "[0:0:0:0:0:0:0:1]"])
def test_this_machine(host: str) -> None:
    assert Endpoint(url=f"http://{host}:8000/v1", model="m", key=KEY).loopback


def test_no_proxy_is_shown_a_key_that_is_for_this_machine(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(echo) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_address[1]}")
        [answer] = ask(server.endpoint(key=KEY), conversations("why?"), max_new_tokens=9, cache=tmp_path)
        assert answer.text == "re: why?"
        assert proxy.log == []


def test_neither_is_a_netrc_read(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hush\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    ask(server.endpoint(), conversations("why?"), max_new_tokens=9, cache=tmp_path)
    assert "authorization" not in server.log[0].headers


# What comes back holds no key.

FORMS = {
    "as it is": SECRET,
    "in another case": SECRET.upper(),
    "its beginning": SECRET[:14] + "…",
    "its end": "…" + SECRET[-13:],
    "percent-encoded": quote(SECRET),
    "percent-encoded, all of it": quote(SECRET, safe=""),
    "in HTML": html.escape(SECRET),
    "in hexadecimal": SECRET.encode().hex(),
    "in Base64": base64.b64encode(SECRET.encode()).decode(),
    "the header in Base64": base64.b64encode(f"Bearer {SECRET}".encode()).decode(),
    "as a password in Base64": base64.b64encode(f"u:{SECRET}".encode()).decode(),
    "in Base64 for URLs": base64.urlsafe_b64encode(f"key={SECRET}".encode()).decode(),
    "in a cookie": f"Set-Cookie: token={SECRET}; Path=/",
}


def tells_nothing(text: str) -> bool:
    """Whether no PIECE of the key stands in a text, in any form."""
    told = [form[at : at + PIECE] for form in map(str.lower, FORMS.values()) for at in range(len(form) - PIECE + 1)]
    mine = [piece for piece in told if "…" not in piece and "cookie" not in piece and "path" not in piece]
    return not any(piece in text.lower() for piece in mine if "bearer" not in piece and "token" not in piece)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["message", "a list", "bare text", "phrase", "location", "junk", "answer"])
def test_the_key_is_not_told(tmp_path: Path, form: str, where: str) -> None:
    said = f"You sent {FORMS[form]} to me"
    raw: dict[str, bytes] = {
        "message": http(401, json.dumps({"error": {"message": said}})),
        "a list": http(422, json.dumps({"detail": [{"msg": said, "at": [1]}]})),
        "bare text": http(400, said),
        "phrase": http(403, "", phrase=said),
        "location": http(307, "", extra=f"Location: http://h/?{quote(said, safe='/+=&%…')}"),
        "junk": f"{said}\r\n\r\n".encode(errors="replace"),
        "answer": http(200, json.dumps(completion(said))),
    }
    if where in ("phrase", "junk", "location"):
        raw[where] = raw[where].replace("…".encode(), b"...")
    with answering(raw[where]) as endpoint:
        if where == "answer":
            [answer] = ask(endpoint, conversations("why?"), max_new_tokens=9, cache=tmp_path)
            told = answer.text
            assert told.startswith("You sent ")
            assert MASK in told
        else:
            error = why(endpoint, tmp_path)
            told = f"{error.message}\n{error.remedy}".replace(KEY, "")
    assert tells_nothing(told)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or tells_nothing(path.read_bytes().decode("latin-1"))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40), st.text(), st.text())
def test_a_mask_takes_out_the_key_and_nothing_else(value: str, before: str, after: str) -> None:
    secret = Secret(value)
    assert value not in secret.masked(before + value + after).replace(MASK, "\n")  # a key may be a letter of the mask
    untouched = "\u0130\u00df".join(before)
    if not any(char.isascii() for char in untouched):
        assert secret.masked(untouched) == untouched


@pytest.mark.parametrize("value", ["EMPTY", "x", "placeholder"])
def test_a_word_for_a_key_stays_in_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(KEY, value)
    with answering(http(200, json.dumps(completion(f"It is {value}.")))) as endpoint:
        [answer] = ask(endpoint, conversations("why?"), max_new_tokens=9, cache=tmp_path)
    assert answer.text == f"It is {value}."


# No reply does harm.


def http(status: int, body: str | bytes, phrase: str = "So", extra: str = "") -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Length: {len(raw)}", *([extra] if extra else []), "", ""]
    return "\r\n".join(lines).encode() + raw


@contextmanager
def answering(first: bytes, then: Callable[[int], bytes] = lambda number: b"", **settings: Any) -> Iterator[Endpoint]:
    """An endpoint that sends bytes, then what `then` gives for 0, 1, ..., as long as there is any and it is heard."""
    listening = socket.create_server(("127.0.0.1", 0))
    sent = [0]

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.settimeout(30)
                    connection.recv(1 << 16)
                    connection.sendall(first)
                    number = 0
                    while more := then(number):
                        connection.sendall(more)
                        sent[0] += len(more)
                        number += 1
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):
                        """What is left unread would have the connection reset."""

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    given = {"key": KEY, **SETTINGS, **settings}
    try:
        yield Endpoint(url=f"http://127.0.0.1:{listening.getsockname()[1]}/v1", **given)
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(30)
    assert sent[0] < 8 * LONGEST, "nobody listened to more"


UNBOUNDED = b"HTTP/1.1 200 OK\r\n"
CHUNKED = UNBOUNDED + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(number: int) -> bytes:
    return b"100000\r\n" + b" " * (1 << 20) + b"\r\n"


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (UNBOUNDED + b"\r\n", lambda number: b" " * (1 << 20), "a reply of more than 16 MiB"),
        (UNBOUNDED + b"Content-Length: 99999999999\r\n\r\n", lambda number: b"[" * (1 << 20), "more than 16 MiB"),
        (CHUNKED, chunk, "a reply of more than 16 MiB"),
        (b"HTTP/1.1 500 No\r\n\r\n", lambda number: b"no " * (1 << 20), "a reply of more than 16 MiB"),
        (UNBOUNDED, lambda number: b"X-A: b\r\n" * 1000, "no connection: RemoteProtocolError"),
        (UNBOUNDED + b"X: ", lambda number: b"a" * (1 << 16), "no connection: RemoteProtocolError"),
        (b"HTTP/1.1 200 " + b"A" * 200_000 + b"\r\n\r\n", lambda number: b"", "no connection: RemoteProtocolError"),
    ],
    ids=["endless", "endless, and said so", "endless in chunks", "endless error", "headers", "a header", "phrase"],
)
def test_a_reply_that_does_not_end_is_read_to_a_bound(
    tmp_path: Path, first: bytes, then: Callable[[int], bytes], said: str
) -> None:
    with answering(first, then) as endpoint:
        assert said in why(endpoint, tmp_path).message


def test_replies_that_go_on_are_stopped_by_the_time_out(tmp_path: Path) -> None:
    def drip(number: int) -> bytes:
        threading.Event().wait(0.05)
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    with answering(b"", drip, timeout=0.5) as endpoint:
        assert "no answer within 0.5 s" in why(endpoint, tmp_path).message

    def byte(number: int) -> bytes:
        threading.Event().wait(0.05)
        return b" "

    with answering(UNBOUNDED + b"\r\n", byte, timeout=0.5) as endpoint:
        assert "no answer within 0.5 s" in why(endpoint, tmp_path).message


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "compress"])
def test_what_is_compressed_is_not_unpacked(server: Scripted, tmp_path: Path, encoding: str) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    server.script = lambda request: reply(bomb, content_encoding=encoding)
    error = why(server.endpoint(key=KEY), tmp_path)
    assert "a compressed reply, and `Accept-Encoding: identity` was asked for; it was not read" in error.message
    assert len(server.log) == 1
    assert server.log[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("raw", "said", "remedy"),
    [
        (http(304, ""), "status 304 So: (nothing)", "Mend `url`"),
        (http(300, "choose"), "status 300 So: choose", "Mend `url`"),
        (http(302, ""), "status 302 So: (nothing)", "Mend `url`"),
        (http(302, "", extra="Location: \x1b[31mhttp://h"), "status 302 So: (nothing)", "where it is: [31mhttp://h"),
        (http(399, "", extra="Location: /v2"), "status 399 So: (nothing)", "Name as `url` where it is: /v2"),
        (http(204, ""), "status 204 So: (nothing)", "Mend `url`"),
        (http(206, json.dumps(completion("part"))), "status 206 So", "Mend `url`"),
        (http(101, ""), "no connection: RemoteProtocolError", "Start the command again"),
        (http(999, "odd"), "status 999 So: odd", "Start the command again"),
        (b"<h1>hello</h1>\r\n", "no connection: RemoteProtocolError", "Start the command again"),
        (b"SSH-2.0-OpenSSH_9\r\n", "no connection: RemoteProtocolError", "Start the command again"),
        (b"", "no connection: RemoteProtocolError", "Start the command again"),
        (http(200, b"\x89PNG\r\n\x1a\n\x00\x00", extra="Content-Type: image/png"), "no chat completion", "Start"),
        (http(200, "data: {}\n\n", extra="Content-Type: text/event-stream"), "no chat completion, but: data:", "Start"),
        (http(200, "<div>" * 13_000), "no chat completion", "Start the command again"),
        (http(400, json.dumps({"error": {"message": "é" * 2_000_000}})), "status 400 So: éé", "Mend what"),
        (http(429, "", extra="Retry-After: " + "9" * 999), "(to be asked again after inf s)", "Start the command"),
        (http(429, "", extra="Retry-After: Mon, 01 Jan 2024 00:00:00 +99999999999999"), "status 429 So", "Start"),
        (http(429, "", extra="Retry-After: Mon, 01 Jan 99999 00:00:00 GMT"), "status 429 So", "Start the command"),
        (http(400, b'{"error":{"param":' + b"[" * 900 + b"]" * 900 + b"}}"), "status 400 So", "Mend what"),
        (http(400, b'{"error":' + b'{"message":[' * 400 + b"]}" * 400 + b"}"), "status 400 So", "Mend what"),
    ],
    ids=itertools.count(),
)
def test_one_clear_error_for_each_oddity(tmp_path: Path, raw: bytes, said: str, remedy: str) -> None:
    with answering(raw) as endpoint:
        error = why(endpoint, tmp_path)
    assert said in error.message
    assert remedy in error.remedy


def odd(**changes: Any) -> bytes:
    body = completion("{}")
    body["choices"][0] |= changes.pop("choice", {})
    body["choices"][0]["message"] |= changes.pop("message", {})
    return json.dumps(body | changes).encode()


@pytest.mark.parametrize(
    "body",
    [
        odd(usage={"prompt_tokens": -1}),
        odd(usage={"prompt_tokens": 10**400}),
        odd(usage={"completion_tokens": float("nan")}),
        odd(usage={"completion_tokens": [1]}),
        odd(usage=[1]),
        odd(usage="many"),
        odd(message={"content": ["a", {"type": "text"}]}),
        odd(message={"content": 7}),
        odd(message={"content": [{"type": "text", "text": 7}]}),
        odd(message={"content": [{"text": "no type"}]}),
        odd(message={"content": "", "tool_calls": 7}),
        odd(message={"content": "", "tool_calls": ["call"]}),
        odd(message={"content": "", "tool_calls": [{"function": {"arguments": "{}"}}]}),
        odd(message={"content": "", "tool_calls": [{"function": {"name": 7}}]}),
        odd(message={"content": "", "function_call": "rm"}),
        odd(message={"content": "", "refusal": ["no"]}),
        odd(choice={"logprobs": {"content": [{"logprob": "low"}]}}),
        odd(choice={"logprobs": {"content": [{"logprob": 10**400}]}}),
        odd(choice={"logprobs": {"content": 1}}),
        b'{"choices": [{"message": []}]}',
        b'{"usage": {"prompt_tokens": ' + b"9" * 5000 + b'}, "choices": []}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"null",
        b"",
    ],
)
def test_what_is_no_completion_is_said_to_be_none(server: Scripted, tmp_path: Path, body: bytes) -> None:
    server.script = lambda request: reply(body)
    assert "no chat completion, but: " in why(server.endpoint(retries=0), tmp_path).message


def test_a_million_logprobs_and_a_tool_call(server: Scripted, tmp_path: Path) -> None:
    many = b",".join([b'{"logprob":-1}'] * 1_000_000)
    body = b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [' + many + b"]}}]}"
    assert len(body) < LONGEST
    call: dict[str, Any] = {"tool_calls": [{"function": {"name": "rm", "arguments": "{}"}}]}
    server.script = lambda request: reply(body) if request.question == "why?" else reply(completion(None, **call))
    sure, called = ask(server.endpoint(), conversations("why?", "call"), max_new_tokens=9, cache=tmp_path)
    assert sure.logprob == -1e6
    assert called.text == '{"name": "rm", "arguments": {}}', "it is what the answer says, and nothing is called"


# What is kept is known by its hash.


def test_an_answer_that_has_rotted_is_asked_again(server: Scripted, tmp_path: Path) -> None:
    talks = conversations("one", "two", "three", "four")
    answers = ask(server.endpoint(), talks, max_new_tokens=9, cache=tmp_path)
    [file] = tmp_path.rglob("answers.sqlite")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE answers SET answer = replace(answer, 're: one', 're: 0ne')")
        database.execute("UPDATE answers SET refused = '[\"seed\"]' WHERE answer LIKE '%re: two%'")
        database.execute("UPDATE answers SET hash = hash || 'a' WHERE answer LIKE '%re: three%'")
    assert module.refused(server.endpoint(), tmp_path) == []
    again = ask(server.endpoint(), talks, max_new_tokens=9, cache=tmp_path)
    assert [answer.text for answer in again] == [answer.text for answer in answers]
    assert server.answered == {"one": 2, "two": 2, "three": 2, "four": 1}
    assert ask(server.endpoint(), talks, max_new_tokens=9, cache=tmp_path) == again
