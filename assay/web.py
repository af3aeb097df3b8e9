"""`assay serve`: the store's reports in a browser, on loopback, to be read and not changed.

What is served is a file below one of a few folders of the store, reached by no link that leads out, and the page that
lists them. Rows are hostile, so is what a page says: no page may load or send anything.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from assay.door import Place, store_of
from assay.result import Result
from curate.errors import AssayError
from curate.ledger import FORGOTTEN
from curate.store import MANIFEST, Store, fetched
from curate.table import Table

PORT = 8501
HOST = "127.0.0.1"
SERVED = ("datasets", "scorecards", "experiments", "studies", "failed")
"""Folders of the store."""
REPORT = "report.html"
MONITOR = "monitor"
"""Folder of the pages that tell how live adapters have fared."""
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Of files by their ending; others are bytes."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Of every answer. Our pages hold their style and their one script, and allow these alone, by hash."""


@dataclass(frozen=True)
class Listed:
    """Something of the store that has a report."""

    name: str
    version: str
    """"" of a refused candidate."""
    time: str
    """When it was published or refused, by the ledger; "" where that does not tell."""
    link: str
    """To its report."""


@dataclass(frozen=True)
class Served(Result):
    """Reports that were served, until ^C."""

    url: str
    store: str

    def tables(self) -> list[Table]:
        return [Table("served", "Served", ["", ""], [["URL", self.url], ["store", self.store]], texts=2)]

    def data(self) -> dict[str, Any]:
        return {"url": self.url, "store": self.store}


def server(store: Store, port: int = PORT) -> ThreadingHTTPServer:
    """A server of a store's reports, bound to loopback; `serve_forever` serves.

    Args:
        store: whose reports are served.
        port: 0 takes a free one.

    Raises:
        AssayError: the port cannot be had.
    """
    return listening(partial(_Answer, store), port)


def listening(answer: Callable[..., BaseHTTPRequestHandler], port: int) -> ThreadingHTTPServer:
    """A server bound to loopback.

    Args:
        answer: answers a request.
        port: 0 takes a free one.

    Raises:
        AssayError: the port cannot be had.
    """
    try:
        return ThreadingHTTPServer((HOST, port), answer)
    except (OSError, OverflowError) as error:
        raise AssayError(
            f"Port {port} of {HOST} cannot be had: {getattr(error, 'strerror', None) or error}.",
            remedy="Name another one with --port.",
        ) from None


def serve(*, port: int = PORT, store: Place | None = None) -> Served:
    """Serve the store's reports on loopback until ^C.

    Args:
        port: of 127.0.0.1; 0 takes a free one.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: there is no store, or the port cannot be had.
    """
    target = store_of(store)
    if not target.root.is_dir():
        raise AssayError(f"{target.place}: no store is there.", remedy="Name one with --store.")
    with server(target, port) as serving:
        url = f"http://{HOST}:{serving.server_port}/"
        sys.stderr.write(f"Serving the reports of {target.place} at {url} until ^C\n")
        sys.stderr.flush()
        with suppress(KeyboardInterrupt):
            serving.serve_forever()
    return Served(url, target.place)


class Quiet(BaseHTTPRequestHandler):
    """What answers the requests of a local server: it says neither what it runs on nor what was asked."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def version_string(self) -> str:
        return "assay"

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


class _Answer(Quiet):
    """Answers one request."""

    def __init__(self, store: Store, *args: Any) -> None:
        self.store = store
        super().__init__(*args)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def _answer(self) -> None:
        if not meant_for_here(self.headers):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = unquote(self.path.partition("?")[0], errors="surrogateescape")
        if path == "/":
            self._send(index_page(self.store).encode("utf-8", "replace"))
            return
        file = find_file(self.store.root, path)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file.open("rb") as content:
            self._send_file(content, file)

    def _send(self, page: bytes) -> None:
        self._begin(TYPES[".html"], len(page))
        if self.command == "GET":
            self.wfile.write(page)

    def _send_file(self, content: BinaryIO, file: Path) -> None:
        stat = file.stat()
        self._begin(TYPES.get(file.suffix.lower(), "application/octet-stream"), stat.st_size, stat.st_mtime)
        if self.command == "GET":
            copyfileobj(content, self.wfile)

    def _begin(self, kind: str, length: int, changed: float | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        if changed is not None:
            self.send_header("Last-Modified", formatdate(changed, usegmt=True))
        self.end_headers()


def meant_for_here(headers: Message) -> bool:
    """Whether a request calls this address by its own name: another would let a page from elsewhere read ours."""
    return headers.get("Host", "").partition(":")[0].lower() in (HOST, "localhost")


def find_file(root: Path, path: str) -> Path | None:
    """The file that a URL's path names; None where it names none that is served.

    Of `adapters` and `monitor` the reports alone are served, of other folders all files but hidden ones.

    Args:
        root: of the store.
        path: decoded.
    """
    parts = PurePosixPath(path.lstrip("/")).parts
    if "\0" in path or any(part.startswith(".") for part in parts):
        return None
    if not parts or not (
        parts[0] in SERVED
        or (parts[0] == "adapters" and parts[-1] == REPORT)
        or (parts[0] == MONITOR and parts[-1].endswith(".html"))
    ):
        return None
    with suppress(
        OSError, RuntimeError, AssayError
    ):  # no file system takes the name; links in a circle; a damaged file
        found = root.joinpath(*parts).resolve()
        if found.is_relative_to(root.resolve() / parts[0]) and fetched(found).is_file():
            return found
    return None


def index_page(store: Store) -> str:
    """The page that lists what is served, the newest first."""
    from curate.publish.pages import report_environment

    store.fetch_reports()
    environment = report_environment()
    return environment.get_template("store.html.jinja").render(store=store.place, kinds=listed(store))


def listed(store: Store) -> dict[str, list[Listed]]:
    """What has a report, by kind, the newest first."""
    times = _times(store)
    kinds = {kind: list(_of_kind(store, kind, times)) for kind in (*SERVED, "adapters")}
    kinds[MONITOR] = list(_monitored(store))
    return {kind: sorted(each, key=lambda one: (one.time, one.name), reverse=True) for kind, each in kinds.items()}


def _of_kind(store: Store, kind: str, times: dict[tuple[str, str, str], str]) -> Iterator[Listed]:
    depth = "*" if kind == "failed" else "*/*"
    for report in sorted((store.root / kind).glob(f"{depth}/{REPORT}")):
        folder = report.parent
        name, version = (folder.name, "") if kind == "failed" else (folder.parent.name, folder.name)
        if find_file(store.root, f"{kind}/{report.relative_to(store.root / kind).as_posix()}") is None:
            continue
        if kind != "failed" and not (folder / MANIFEST).is_file():
            continue
        link = quote(os.fsencode(report.relative_to(store.root)))
        yield Listed(name, version, times.get((kind, name, version), ""), link)


def _monitored(store: Store) -> Iterator[Listed]:
    """The pages of the monitor, one of each series."""
    for page in sorted((store.root / MONITOR).glob("*.html")):
        if find_file(store.root, f"{MONITOR}/{page.name}") is not None:
            yield Listed(page.stem, "", "", quote(os.fsencode(page.relative_to(store.root))))


def _times(store: Store) -> dict[tuple[str, str, str], str]:
    """When each was published or refused; lines of the ledger that are damaged tell nothing."""
    found: dict[tuple[str, str, str], str] = {}
    for event, problem in store.ledger_lines():
        if not problem and isinstance(name := event.get("name"), str):
            if event.get("event") == FORGOTTEN:  # what took its place was published when it was
                of = str(event.get("kind"))
                found[of, name, str(event.get("now"))] = found.get((of, name, str(event.get("version"))), "")
                continue
            kind = "failed" if event.get("event") == "refused" else str(event.get("event"))
            found[kind, name, "" if kind == "failed" else str(event.get("version"))] = str(event.get("time"))
    return found
