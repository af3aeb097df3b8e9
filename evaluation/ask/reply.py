"""A server's reply: received within bounds, and read."""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from evaluation.judge.answer import Generated

if TYPE_CHECKING:
    from httpx2 import Response

LONGEST = 16 << 20
"""Bytes of a reply: those of 100,000 tokens with their `logprobs`."""
TOLD = 1 << 16
"""Characters of what a server says that are looked at."""
MOST = 1 << 31
"""More tokens than an answer can have."""


class NotTaken(Exception):
    """A reply that is not read to its end; says why."""


@dataclass(frozen=True)
class Reply:
    """What a server sent."""

    status: int
    phrase: str
    """The status in words, the server's."""
    headers: Mapping[str, str]
    body: bytes

    @staticmethod
    async def receive(response: "Response") -> "Reply":
        """Read a reply as it comes.

        Raises:
            NotTaken: it goes on past LONGEST bytes, or is compressed, so that it may be of any size.
        """
        if response.headers.get("content-encoding", "identity") != "identity":
            raise NotTaken("a compressed reply, and `Accept-Encoding: identity` was asked for")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > LONGEST:
                raise NotTaken(f"a reply of more than {LONGEST >> 20} MiB, which is no answer")
        return Reply(response.status_code, response.reason_phrase, response.headers, bytes(body))

    def answer(self, seconds: float, named: Collection[str] = ()) -> Generated:
        """The answer that a chat completion holds. What a model was thinking (`reasoning_content`) is no part of it.

        Content in parts is joined. Calls of functions stand behind it as data sets have them in turns: one object
        {name, arguments}, or a list of several; ids, which nobody can foresee, are left out.

        Args:
            seconds: that it took.
            named: functions whose arguments are the answer, where one of them alone is called.

        Raises:
            ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError: it is no chat
                completion.
        """
        body = json.loads(self.body)
        choice = body["choices"][0]
        message = choice["message"]
        content, declined = _said(message.get("content"))
        refusal = message.get("refusal") or declined
        if not isinstance(refusal, str):
            raise TypeError
        calls = [_call(call) for call in message.get("tool_calls") or ()]
        if message.get("function_call") is not None:
            calls.append(_call(message["function_call"]))
        if len(calls) == 1 and calls[0][0] in named and not content:
            content = calls[0][1]
        elif calls:
            written = [f'{{"name": {_json(name)}, "arguments": {arguments}}}' for name, arguments in calls]
            content += ("\n" if content else "") + (written[0] if len(written) == 1 else f"[{', '.join(written)}]")
        text = content or refusal
        usage = body.get("usage") or {}
        tokens, tokens_in = (int(usage.get(name) or 0) for name in ("completion_tokens", "prompt_tokens"))
        if not 0 <= min(tokens, tokens_in) <= max(tokens, tokens_in) < MOST:
            raise ValueError
        logprobs = [float(token["logprob"]) for token in (choice.get("logprobs") or {}).get("content") or []]
        return Generated(
            text,
            tokens=tokens,
            truncated=choice.get("finish_reason") == "length",
            seconds=seconds,
            tokens_in=tokens_in,
            refused=bool(refusal) and not content,
            # Rounding makes a probability of one a little more; what is no number is no probability.
            logprob=min(math.fsum(logprobs), 0.0) if logprobs and all(map(math.isfinite, logprobs)) else None,
        )

    def complaint(self) -> dict[str, str]:
        """What the body says is wrong, by the names of OpenAI's `{"error": {"message", "param", "code"}}` and of
        FastAPI's `{"detail"}`; what is no text is its JSON."""
        try:
            body = json.loads(self.body)
            error = body.get("error", body) if isinstance(body, dict) else body
            fields = error if isinstance(error, dict) else {"message": error}
            named = {name: fields.get(name) for name in ("message", "detail", "param", "code")}
            return {
                name: value[:TOLD] if isinstance(value, str) else json.dumps(value)[:TOLD]
                for name, value in named.items()
                if value
            }
        except (ValueError, RecursionError):
            return {}

    def words(self) -> str:
        """What the server says, as plain text."""
        complaint = self.complaint()
        text = complaint.get("message") or complaint.get("detail") or self.body[:TOLD].decode(errors="replace")
        if text.lstrip().startswith("<"):
            from resiliparse.extract.html2text import extract_plain_text

            return str(extract_plain_text(text))
        return text

    def retry_after(self) -> float:
        """Seconds that the server wants to be left alone: Retry-After, a number or a date (RFC 9110, 10.2.3)."""
        value = self.headers.get("retry-after", "")
        try:
            if re.fullmatch(r"\d+(\.\d+)?", value):
                return float(value)
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError):  # nothing of either, or a date without a zone
            return 0.0


def _said(content: Any) -> tuple[str, str]:
    """A message's content, and its refusal: text, or parts of these kinds (others are thoughts, or no text).

    Raises:
        LookupError, TypeError: it is neither.
    """
    if isinstance(content, list):
        text = "".join(part["text"] for part in content if part["type"] in ("text", "output_text"))
        return text, "".join(part["refusal"] for part in content if part["type"] == "refusal")
    if not isinstance(content or "", str):
        raise TypeError
    return content or "", ""


def _call(call: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the function that is called, and its arguments as JSON: as they are written, where they are JSON.

    Raises:
        LookupError, TypeError, AttributeError: it is no call.
    """
    function = call.get("function") or call.get("custom") or call
    name, arguments = function["name"], function.get("arguments", function.get("input"))
    if not isinstance(name, str):
        raise TypeError
    if isinstance(arguments, str):
        try:
            json.loads(arguments)
        except ValueError:
            return name, _json(arguments)
        return name, arguments
    return name, _json(arguments)


_json = json.JSONEncoder(ensure_ascii=False).encode
