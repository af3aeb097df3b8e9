"""A webhook on loopback: what notifications are sent to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """Keeps the documents that are posted to it.

    Args:
        server: bound to a port.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/"
        self.posted: list[dict[str, Any]] = []

    def of(self, subject: str) -> list[dict[str, Any]]:
        """Those whose subject begins so."""
        return [each for each in self.posted if each["subject"].startswith(subject)]

    block = {"subject": "{{subject}}", "body": "{{body}}", "token": "{{token}}"}
    """What a custom webhook's block has to say so that these arrive."""


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that takes posts until the end."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        made = Webhook(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        server.shutdown()
