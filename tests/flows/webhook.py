"""A webhook on loopback: what notifications are sent to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.types import SecretDict


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

    def save_block(self, name: str) -> CustomWebhookNotificationBlock:
        """A custom webhook that posts here, on the server in use."""
        made = CustomWebhookNotificationBlock(
            name=name,
            url=self.url,
            json_data={"subject": "{{subject}}", "body": "{{body}}", "token": "{{token}}"},
            secrets=SecretDict({"token": "s3cret"}),
        )
        made.save(name)
        return made


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
