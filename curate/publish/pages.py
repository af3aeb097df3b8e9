"""Pages: the environment of the templates of templates/report, and what keeps a row's text from being more than text.

A page is one file that loads nothing. Its policy allows one style and at most one script, both by hash.
"""

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup, escape

from curate.rows.tokens import visible

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
MARKUP = re.compile(r"[\\`*_\[\]<>#|~$&]|(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.|^[-+=]|^\d+[.)]")
"""What Markdown takes for more than text."""
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that no text shows, and by which it shows another."""


@cache
def report_environment() -> SandboxedEnvironment:
    """Jinja for the templates of templates/report: sandboxed and strict, HTML escaped, compiled once a process."""
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(str(files("templates") / "report")),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = percent
    environment.filters["json"] = as_json
    environment.filters["prose"] = prose
    environment.filters["code"] = code
    environment.filters["said"] = said
    environment.filters["visible"] = visible
    return environment


def inlined(environment: SandboxedEnvironment, *names: str) -> dict[str, Markup]:
    """Our own files of a page as one text, and as a Content-Security-Policy names it: {"source", "hash"}."""
    assert environment.loader is not None  # noqa: S101
    source = "\n".join(environment.loader.get_source(environment, name)[0] for name in names)
    hashed = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return {"source": Markup(source), "hash": Markup(f"'sha256-{hashed}'")}  # noqa: S704


def percent(share: float) -> str:
    """A share as people read it."""
    return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def as_json(value: Any) -> str:
    """A value as JSON of several lines, in which nothing steers what shows it."""
    lines = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(STEERING.sub(lambda char: f"\\u{ord(char[0]):04x}", line) for line in lines)


def prose(text: str) -> str:
    """A contract's words as Markdown of one line that is text and nothing else: no tag, link, picture or heading.

    What stands between two backticks stays code, which is as inert.
    """
    parts = CODE.split(one_line(text))
    return "".join(code(part) if at % 2 else MARKUP.sub(_inert, part) for at, part in enumerate(parts))


def code(text: str) -> str:
    """A contract's words as a piece of code in Markdown, which may stand in a table."""
    return f"`{one_line(text).replace('`', chr(0x2019)) or ' '}`".replace("|", "\\|")


def said(text: str) -> Markup:
    """Our own words in HTML; what stands between two backticks is code."""
    parts = CODE.split(one_line(text))
    return Markup().join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def one_line(text: str) -> str:
    """A text in one line, in which nothing steers what shows it."""
    return STEERING.sub(lambda char: f"⟨U+{ord(char[0]):04X}⟩", " ".join(text.split()))


def _inert(sign: re.Match[str]) -> str:
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(sign[0], f"{sign[0][:-1]}\\{sign[0][-1]}")
