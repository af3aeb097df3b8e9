"""A bucket on loopback: moto's server of S3, with a log of what is asked of it, and faults where a test wants them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import pytest

Fault = Literal["refused", "dropped", "answer lost", "cut"]
"""An answer of status 403; no answer, and nothing done; nothing but the answer lost; half of an answer."""


class Request(NamedTuple):
    """What was asked of the server."""

    method: str
    key: str
    """Of the object, or "" of a list."""
    bytes: int
    """That were sent or, of GET, answered."""
    conditional: bool
    """Whether it was to be put only where there is none."""


@dataclass
class Served:
    """A server that has the bucket `store`."""

    url: str = ""
    """Of the server."""
    requests: list[Request] = field(default_factory=list)
    fault: Callable[[Request], Fault | None] = lambda request: None
    """What is to go wrong with a request; `answered` is called with it once it is done."""
    answered: Callable[[Request], None] = lambda request: None
    ignores_conditions: bool = False
    """Whether it puts an object also where one was to be kept."""

    number: int = 0
    store: str = ""
    """The URL of the store."""

    def begin(self) -> None:
        """Have an empty store, and forget what was asked."""
        self.number += 1
        self.store = f"s3://store/{self.number}"
        self.requests.clear()

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.fault, self.answered, self.ignores_conditions = lambda _: None, lambda _: None, False

    def environment(self) -> dict[str, str]:
        """By which a process uses the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "hush",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def names(self) -> list[str]:
        """Of all objects of the store."""
        begin = f"{self.number}/"
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket="store", Prefix=begin)
        return [each["Key"].removeprefix(begin) for page in pages for each in page.get("Contents", [])]

    def read(self, name: str) -> bytes:
        content: bytes = self.client().get_object(Bucket="store", Key=f"{self.number}/{name}")["Body"].read()
        return content

    def write(self, name: str, content: bytes) -> None:
        self.client().put_object(Bucket="store", Key=f"{self.number}/{name}", Body=content)

    def client(self) -> Any:
        """Made once: it takes a tenth of a second."""
        return _client(self.url)

    def application(self, inner: Any) -> Any:
        """A WSGI application around moto's."""

        def answer(environ: dict[str, Any], start_response: Any) -> Any:
            path = unquote(environ["PATH_INFO"]).lstrip("/")
            bucket, _, key = path.partition("/")
            if bucket not in ("store", "drop") or "of-the-test" in environ.get("HTTP_USER_AGENT", ""):
                return inner(environ, start_response)
            size = int(environ.get("CONTENT_LENGTH") or 0)
            conditional = environ.get("HTTP_IF_NONE_MATCH") == "*"
            request = Request(environ["REQUEST_METHOD"], key, size, conditional)
            if self.ignores_conditions:
                environ.pop("HTTP_IF_NONE_MATCH", None)
            fault = self.fault(request)
            if fault == "refused":
                start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", "0")])
                self.requests.append(request)
                return [b""]
            if fault == "dropped":
                self.requests.append(request)
                return _hung_up(environ)
            answers: list[Any] = []
            body = b"".join(inner(environ, lambda *args: answers.append(args) or (lambda _: None)))
            if request.method == "GET":
                request = request._replace(bytes=len(body))
            self.requests.append(request)
            self.answered(request)
            if fault == "answer lost":
                return _hung_up(environ)
            start_response(*answers[0][:2])
            if fault == "cut":
                return _half(environ, body)
            return [body]

        return answer


@cache
def _client(url: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=url,
        config=Config(user_agent_extra="of-the-test"),
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hush",
    )


def _hung_up(environ: dict[str, Any]) -> list[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("as the test wants it")


def _half(environ: dict[str, Any], body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


@contextmanager
def served() -> Iterator[Served]:
    """A server of its own, with the empty buckets `store` and `drop`."""
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()  # of a server that is no more
    server_of = pytest.importorskip("moto.server")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    of = Served()
    application = of.application(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, True, request_handler=_Quiet(server_of.MotoRequestHandler))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        of.url = f"http://127.0.0.1:{server.server_port}"
        client = of.client()
        client.create_bucket(Bucket="store")
        client.create_bucket(Bucket="drop")
        of.requests.clear()
        yield of
    finally:
        from moto.backends import get_backend

        get_backend("s3").reset()
        server.shutdown()
        thread.join()


def _Quiet(handler: Any) -> Any:  # noqa: N802
    class Quiet(handler):  # type: ignore[misc]
        """Says nothing of requests, nor of connections that a test cuts."""

        def log(self, *_: Any) -> None: ...

        def log_error(self, *_: Any) -> None: ...

    return Quiet
