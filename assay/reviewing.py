"""`assay review`: what of a version needs a person, in a browser on this machine; what is decided is written down.

The page is answered on loopback to whoever has the link, which holds a token of this run; what is asked for and sent
from the page has it in a header, which no page from elsewhere can set. Rows are hostile: the page shows them as text.
"""

import json
import secrets
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from assay.desk import Desk
from assay.door import Place
from assay.queue import KINDS, Case, Queue
from assay.result import Result
from assay.web import HEADERS, HOST, TYPES, Quiet, listening, meant_for_here
from curate.errors import AssayError
from curate.publish.pages import inlined, report_environment
from curate.publish.shown_rows import Parts, dialogue, differences
from curate.table import Table

HEADER = "X-Assay-Token"
MOST_BYTES = 4 << 20
"""Of a request's body."""
PAGE = 200
"""Lines of the list that are given at once, at most."""
LABELS = 500
"""Labels that are offered, the most frequent first."""


@dataclass(frozen=True)
class Reviewed(Result):
    """What was decided, until ^C."""

    url: str
    file: Path
    version: str
    decisions: int

    def tables(self) -> list[Table]:
        rows = [["version", self.version], ["decisions", f"{self.decisions:,}"]]
        return [Table("reviewed", "Reviewed", ["", ""], rows, texts=2)]

    def places(self) -> dict[str, Path]:
        return {"decisions": self.file}

    def data(self) -> dict[str, Any]:
        return {"url": self.url, "file": self.file, "version": self.version, "decisions": self.decisions}


@dataclass
class Session:
    """What a run of the server holds."""

    desk: Desk
    queue: Queue
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    lock: Lock = field(default_factory=Lock)
    written: int = 0
    """Decisions of this run."""


def review(
    recipe: Place,
    *,
    version: str | None = None,
    who: str | None = None,
    file: str | None = None,
    port: int = 0,
    store: Place | None = None,
) -> Reviewed:
    """Serve the page on loopback until ^C.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name; it names the file of decisions.
        version: of the data set; by default the recipe's latest.
        who: decides; by default the environment's ASSAY_WHO, else who is logged in.
        file: which of the recipe's files the decisions go to.
        port: of 127.0.0.1; 0 takes a free one.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: the recipe names no file of decisions, there is no such version, or the port cannot be had.
    """
    desk = Desk(recipe, version, who=who, file=file, store=store)
    session = Session(desk, Queue(desk))
    with server(session, port) as serving:
        url = f"http://{HOST}:{serving.server_port}/?token={session.token}"
        sys.stderr.write(f"Review {desk.manifest.name}/{desk.manifest.version} as {desk.who} at {url} until ^C\n")
        sys.stderr.flush()
        with suppress(KeyboardInterrupt):
            serving.serve_forever()
    return Reviewed(url, desk.file, f"{desk.manifest.name}/{desk.manifest.version}", session.written)


def server(session: Session, port: int = 0) -> ThreadingHTTPServer:
    """A server of the page, bound to loopback; `serve_forever` serves."""
    return listening(partial(_Answer, session), port)


class _Refused(Exception):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Answer(Quiet):
    """Answers one request."""

    disable_nagle_algorithm = True  # else head and body of an answer wait 40 ms for each other

    def __init__(self, session: Session, *args: Any) -> None:
        self.session = session
        super().__init__(*args)

    def do_GET(self) -> None:  # noqa: N802  # the name is http.server's
        self._answer()

    def do_POST(self) -> None:  # noqa: N802
        self._answer()

    def _answer(self) -> None:
        address = urlsplit(self.path)
        asked = {key: values[-1] for key, values in parse_qs(address.query).items()}
        try:
            if not meant_for_here(self.headers):
                raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, "another address")
            given = asked.get("token", "") if address.path == "/" else self.headers.get(HEADER, "")
            if not secrets.compare_digest(given.encode(), self.session.token.encode()):
                raise _Refused(HTTPStatus.FORBIDDEN, "The link with its token is what `assay review` has written.")
            if (self.command, address.path) == ("GET", "/"):
                self._send(page(self.session).encode("utf-8", "replace"), TYPES[".html"])
                return
            body = self._body() if self.command == "POST" else {}
            with self.session.lock:
                answered = answer(self.session, self.command, address.path, asked, body)
            self._send(orjson.dumps(answered), TYPES[".json"])
        except _Refused as refused:
            self.close_connection = True  # what is left of the request is not read as the next one
            self._send(str(refused).encode(), TYPES[".txt"], refused.status)
        except AssayError as error:
            told = {"error": {"message": error.message, "remedy": error.remedy}}
            self._send(orjson.dumps(told), TYPES[".json"], HTTPStatus.BAD_REQUEST)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > MOST_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long")
        try:
            body = orjson.loads(self.rfile.read(int(length)))
        except orjson.JSONDecodeError:
            raise _Refused(HTTPStatus.BAD_REQUEST, "no JSON") from None
        if not isinstance(body, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "no object")
        return body

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        if status == HTTPStatus.OK and kind == TYPES[".html"]:
            style, script = (each["hash"] for each in _inlined())
            policy += f"; connect-src 'self'; style-src {style}; script-src {script}"
        for name, value in {**HEADERS, "Content-Security-Policy": policy, "Cache-Control": "no-store"}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _inlined() -> tuple[dict[str, Any], dict[str, Any]]:
    environment = report_environment()
    return inlined(environment, "style.css", "review.css"), inlined(environment, "review.js")


def page(session: Session) -> str:
    """The page, without a row."""
    style, script = _inlined()
    manifest = session.desk.manifest
    return (
        report_environment()
        .get_template("review.html.jinja")
        .render(style=style, script=script, name=manifest.name, version=manifest.version, who=session.desk.who)
    )


def answer(session: Session, method: str, path: str, asked: dict[str, str], body: dict[str, Any]) -> Any:
    """What the page is told: JSON-like.

    Raises:
        AssayError: what was to be decided cannot be.
    """
    queue, desk = session.queue, session.desk
    if (method, path) == ("GET", "/list"):
        found = queue.found(asked.get("kind", ""), asked.get("words", ""), asked.get("undecided") == "1")
        begin = _number(asked, "from")
        lines = queue.listed(found.slice(begin, min(PAGE, _number(asked, "count"))).to_pylist())
        return {"total": len(found), "lines": lines}
    if (method, path) == ("GET", "/counts"):
        return {"kinds": queue.counts(), "labels": _labels(desk)}
    if (method, path) == ("GET", "/case"):
        number = _number(asked, "number")
        if number >= queue.table.num_rows:
            raise _Refused(HTTPStatus.NOT_FOUND, "no such case")
        return shown(session, queue.case(number))
    if (method, path) == ("POST", "/check"):
        return {"problems": desk.problems(str(body.get("value", "")))}
    if (method, path) == ("POST", "/decide"):
        value, reason = body.get("value"), body.get("reason") or ""
        decision = desk.decision(str(body.get("id")), str(body.get("action")), value, str(reason))
        desk.decide([decision])
        session.written += 1
        return {"decided": decision.action}
    raise _Refused(HTTPStatus.NOT_FOUND, "nothing is there")


def _number(asked: dict[str, str], key: str) -> int:
    text = asked.get(key, "")
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{key} is no number")
    return int(text)


def _labels(desk: Desk) -> list[str]:
    counts = Counter(desk.rows["label"].drop_null().to_pylist())
    return [label for label, _ in counts.most_common(LABELS)]


def shown(session: Session, case: Case) -> dict[str, Any]:
    """A case as the page shows it: its row and those beside it, with marks of what differs."""
    desk = session.desk
    rows = [_row(desk, id_) for id_ in (case.id, *case.beside)]
    first = rows[0]
    for row in rows[1:]:
        row["text"] = _marked(differences(first["said"], row["said"])[1])
        row["answer"] = _marked(differences(first["target"], row["target"])[1])
    if len(rows) > 1:
        first["text"] = _marked(differences(first["said"], rows[1]["said"])[0])
        first["answer"] = _marked(differences(first["target"], rows[1]["target"])[0])
    elif case.kind == "ungrounded":
        first["text"] = _passages(first["turns"], case.told)
    elif case.kind == "wrong":
        first["answer"] = _marked(differences(first["target"], case.told["answer"])[0])
    id_ = desk.whole_of.get(case.id, case.id)
    words = [each for question, each in desk.words().items() if id_ in question[1:]]
    return {
        "kind": case.kind,
        "title": KINDS[case.kind],
        "why": case.why,
        "told": case.told,
        "rows": rows,
        "decided": [
            {"id": each.id, "action": each.action, "value": each.value_text(), "reason": each.reason} for each in words
        ],
    }


def _row(desk: Desk, id: str) -> dict[str, Any]:
    row, known = desk.row(id), desk.known(id)
    said = dialogue(row["turns"] or [])
    target = "" if known.target is None else _pretty(known.target)
    where = row["where"] if row["reason"] is None else f"quarantined by {row['stage']}: {row['reason']}"
    part = id in desk.whole_of
    return {
        "id": id,
        "place": f"{row['source']['file']}, row {row['source']['row']}",
        "where": f"{where}; a part of a row that was divided: what is decided holds of all its parts"
        if part
        else where,
        "label": known.label,
        "turns": row["turns"],
        "said": said,
        "target": target,
        "editable": known.target is not None and not part,
        "text": [[False, said]],
        "answer": [[False, target]],
    }


def _pretty(target: str) -> str:
    try:
        return json.dumps(json.loads(target), indent=2, ensure_ascii=False)
    except ValueError:
        return target


def _marked(parts: Parts) -> list[list[Any]]:
    return [[differs, text] for differs, text in parts]


def _passages(turns: list[dict[str, Any]], values: list[dict[str, Any]]) -> list[list[Any]]:
    """The row's text, with the passages marked that are most like its ungrounded values."""
    parts: list[list[Any]] = []
    for at, turn in enumerate(turns):
        text, done = turn["content"], 0
        if len(turns) > 1:
            parts.append([False, f"{turn['role']}: "])
        mine = [(each["begin"], each["end"]) for each in values if each["turn"] == at and each["begin"] is not None]
        for begin, end in sorted(mine):
            if begin >= done:
                parts += [[False, text[done:begin]], [True, text[begin:end]]]
                done = end
        parts.append([False, text[done:] + "\n"])
    return [part for part in parts if part[1]]
