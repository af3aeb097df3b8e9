"""What a server makes of messages before its model sees them: the prompt's token ids, or how many, as far as it tells.

- vLLM: the ids in a chat completion (`return_token_ids`), or `/tokenize` of messages.
- llama.cpp: `/apply-template`, and `/tokenize` of its text as a completion is tokenised.
- ollama: `/api/show` has the model's template and parameters; no ids.
- Any: the count in a completion's `usage`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.rows.chat_template import Message
from evaluation.ask.endpoint import connected
from evaluation.ask.reply import MOST, NotTaken, Reply
from evaluation.ask.secret import secret_of
from evaluation.settings import Endpoint

if TYPE_CHECKING:
    from httpx2 import AsyncClient

Way = Callable[["Server", Sequence[Message]], Awaitable[list[int] | None]]


class Server:
    """A server that is asked about itself; what it does not offer is None."""

    def __init__(self, endpoint: Endpoint, http: "AsyncClient") -> None:
        self.endpoint = endpoint
        self.root = endpoint.url.removesuffix("/v1")
        self._http = http

    async def says(self, url: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The JSON object that it answers with; None where it answers otherwise, or not at all.

        Args:
            url: whole.
            body: posted as JSON; where there is none, the URL is got.
        """
        from httpx2 import HTTPError, InvalidURL

        content = None if body is None else json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(self.endpoint.timeout),
                self._http.stream(
                    "GET" if body is None else "POST",
                    url,
                    content=content,
                    headers={"Content-Type": "application/json"},
                ) as response,
            ):
                reply = await Reply.receive(response)
            said = json.loads(reply.body) if reply.status == 200 else None
        except (TimeoutError, NotTaken, HTTPError, InvalidURL, ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) else None


async def _in_completion(server: Server, messages: Sequence[Message]) -> list[int] | None:
    asked = {"model": server.endpoint.model, "messages": list(messages), "temperature": 0, "max_tokens": 1}
    said = await server.says(f"{server.endpoint.url}/chat/completions", asked | {"return_token_ids": True})
    return _ids(said, "prompt_token_ids")


async def _of_messages(server: Server, messages: Sequence[Message]) -> list[int] | None:
    asked = {"model": server.endpoint.model, "messages": list(messages), "add_generation_prompt": True}
    return _ids(await server.says(f"{server.root}/tokenize", asked), "tokens")


async def _of_template(server: Server, messages: Sequence[Message]) -> list[int] | None:
    said = await server.says(f"{server.root}/apply-template", {"messages": list(messages)})
    if said is None or not isinstance(said.get("prompt"), str):
        return None
    asked = {"content": said["prompt"], "add_special": True, "parse_special": True}
    return _ids(await server.says(f"{server.root}/tokenize", asked), "tokens")


WAYS: dict[str, Way] = {
    "return_token_ids": _in_completion,
    "/tokenize": _of_messages,
    "/apply-template and /tokenize": _of_template,
}
"""Ways to learn a prompt's token ids, by what is asked for; the first is of the very request that is answered."""


def _ids(said: dict[str, Any] | None, key: str) -> list[int] | None:
    found = said.get(key) if said else None
    whole = isinstance(found, list) and all(type(token) is int and 0 <= token < MOST for token in found)
    return found if whole and found else None


def prompts(endpoint: Endpoint, conversations: Sequence[Sequence[Message]]) -> tuple[str, list[list[int] | None]]:
    """The token ids of what the server's model is asked with.

    Returns:
        The way it was learnt, one of WAYS, "" where the server offers none; and the ids of each conversation.
    """

    async def learn() -> tuple[str, list[list[int] | None]]:
        async with connected(endpoint, secret_of(endpoint)) as http:
            server = Server(endpoint, http)
            for name, way in WAYS.items():
                if (first := await way(server, conversations[0])) is not None:
                    return name, [first, *[await way(server, each) for each in conversations[1:]]]
        return "", [None for _ in conversations]

    return asyncio.run(learn())


def ollama_says(endpoint: Endpoint) -> dict[str, str]:
    """`template` and `parameters` of the model, where the server is ollama."""

    async def learn() -> dict[str, Any] | None:
        async with connected(endpoint, secret_of(endpoint)) as http:
            server = Server(endpoint, http)
            return await server.says(f"{server.root}/api/show", {"model": endpoint.model})

    said = asyncio.run(learn()) or {}
    return {key: said[key] for key in ("template", "parameters") if isinstance(said.get(key), str)}


def only_model(endpoint: Endpoint) -> str:
    """The name of the one model that a server has.

    Raises:
        AssayError: it does not say, or has several.
    """

    async def learn() -> dict[str, Any] | None:
        async with connected(endpoint, secret_of(endpoint)) as http:
            return await Server(endpoint, http).says(f"{endpoint.url}/models")

    said = (asyncio.run(learn()) or {}).get("data")
    names = (
        [each["id"] for each in said if isinstance(each, dict) and isinstance(each.get("id"), str)]
        if isinstance(said, list)
        else []
    )
    if len(names) != 1:
        secret = secret_of(endpoint)
        listed = ", ".join(names)[:500]
        told = secret.masked(listed) if secret else listed
        raise AssayError(
            f"{endpoint.url} "
            + (f"has {len(names)} models: {told}." if names else "lists no model at /models, or nobody answers there."),
            remedy="Name the one that serves the adapter: --model NAME."
            + (
                ""
                if names
                else " Of `transformers serve` that is the model's folder. The URL goes up to and with /v1, and the "
                "server must run."
            ),
        )
    return str(names[0])
