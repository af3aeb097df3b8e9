"""A server that speaks chat completions on the loopback, and says what a test tells it to."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from curate.rows.chat_template import Message
from evaluation.settings import Endpoint


@dataclass(frozen=True)
class Request:
    """One entry of the scripted server's log."""

    question: str
    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    time: float
    tries: int
    """Of this question, this one among them."""


Reply = tuple[int, dict[str, str], bytes]
Script = Callable[[Request], Reply | None]
"""Says what is answered; None drops the connection."""


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, raw


def completion(text: Any, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text} | message
    return {
        "choices": [{"index": 0, "message": said, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


def echo(request: Request) -> Reply:
    return reply(completion(f"re: {request.question}"))


class Scripted(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        self.script = script
        self.log: list[Request] = []
        self.answered: Counter[str] = Counter()
        """How often each question was answered with status 200."""
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def endpoint(self, **settings: Any) -> Endpoint:
        return Endpoint(url=f"http://127.0.0.1:{self.server_address[1]}/v1", model="scripted", **settings)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        question = body["messages"][-1]["content"] if "messages" in body else ""
        server = self.server
        with server._lock:
            tries = 1 + sum(request.question == question for request in server.log)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(question, body, headers, self.path, time.monotonic(), tries)
            server.log.append(request)
        replied = server.script(request)
        if replied is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, raw = replied
        if status == 200:
            with server._lock:
                server.answered[question] += 1
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """The log is `Scripted.log`."""


@contextmanager
def serving(script: Script) -> Iterator[Scripted]:
    server = Scripted(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def conversations(*questions: str) -> list[list[Message]]:
    return [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": each}] for each in questions]
