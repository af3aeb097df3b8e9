"""A chat template as ollama's Modelfile wants it: what the template writes between turns, found by rendering, as a Go
template.

ollama does not run Jinja. What a chat template writes before a turn is told here by the turn before it alone, and is
proven by rendering conversations both ways; a template that writes more than that has no Go template.
"""

import json
from collections.abc import Sequence

from curate.errors import AssayError
from curate.rows.chat_template import Message
from curate.rows.renderer import Renderer

START, END = "", "end"
"""What stands before the first turn, and behind the last."""
WORDS = {"system": "SYSTEMWORDS", "user": "USERWORDS", "assistant": "ASSISTANTWORDS"}
"""Contents that no template writes of itself, nor changes."""
PROBES = [
    ["user"],
    ["system", "user"],
    ["user", "assistant", "user"],
    ["system", "user", "assistant", "user"],
    ["user", "assistant", "user", "assistant", "user"],
]
"""Roles of conversations that are asked; of a template that has no system turns those without them."""

Between = dict[tuple[str, str], str]
"""(role before, role behind) -> what is written between them."""


def go_template(renderer: Renderer) -> str | None:
    """The chat template as a Go template over ollama's `.Messages`; None where it is more than that can say.

    A first token that the tokenizer adds to any text is left out: ollama adds it, as the GGUF file says.
    """
    between: Between = {}
    for roles in PROBES:
        try:
            found = _between(renderer, roles)
        except AssayError:  # it has no turns of such a role
            if "system" not in roles:
                return None
            continue
        if found is None or any(between.setdefault(where, text) != text for where, text in found.items()):
            return None
    return _written(between)


def _between(renderer: Renderer, roles: Sequence[str]) -> Between | None:
    """What the template writes around the turns of a conversation; None where their words are not in it, in order."""
    messages: list[Message] = [{"role": role, "content": WORDS[role]} for role in roles]
    text = renderer.template.render(messages, renderer.tokens, add_generation_prompt=True, think=renderer.thinks)
    bos = renderer.tokens.bos
    if bos and text.startswith(bos) and renderer.tokens.adds_bos:
        text = text.removeprefix(bos)
    found: Between = {}
    before = START
    for role in roles:
        written, words, text = text.partition(WORDS[role])
        if not words or found.setdefault((before, role), written) != written:
            return None
        before = role
    if found.setdefault((before, END), text) != text or any(words in text for words in WORDS.values()):
        return None
    return found


def _written(between: Between) -> str:
    lines = ['{{- $before := "" -}}', "{{- range .Messages -}}"]
    for role in WORDS:
        cases = [(before, text) for (before, behind), text in between.items() if behind == role]
        lines += [
            f"{{{{- if and (eq .Role {_quoted(role)}) (eq $before {_quoted(before)}) }}}}{{{{ {_quoted(text)} }}}}"
            "{{- end -}}"
            for before, text in cases
        ]
    lines += ["{{- .Content -}}", "{{- $before = .Role -}}", "{{- end -}}"]
    lines.append(f"{{{{- {_quoted(between['user', END])} -}}}}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A text as a literal of Go: JSON's are, but for the surrogates of what is beyond the first plane."""
    return json.dumps(text, ensure_ascii=False)
