"""A server that speaks OpenAI's chat completions, asked: several rows at once, within its limits, and no row twice."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.cache import keyed_folder
from curate.drafts import turn
from curate.errors import AssayError
from curate.hashing import digest
from curate.progress import Progress, silent
from curate.rows.chat_template import Message
from evaluation.ask.kept import kept_in
from evaluation.ask.reply import NotTaken, Reply
from evaluation.ask.secret import Secret, secret_of
from evaluation.judge.answer import Generated
from evaluation.settings import Endpoint

if TYPE_CHECKING:
    from httpx2 import AsyncClient
    from tenacity import RetryCallState

VERSION = 3
"""Of the request and of how an answer is read and kept; what another one asked is asked, and paid for, again."""
SEED = 0
ANSWER = "answer"
"""What the schema is called."""
PASSING = frozenset({408, 409, 425, 429})
"""Status codes below 500 of failures that may pass."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds at most before the second try, and before any; the bound doubles from try to try (full jitter:
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter)."""
PATIENCE = 300.0
"""The longest Retry-After, in seconds, that is waited for: a quota that is used up for the day is not."""
OPTIONAL = ("max_tokens", "temperature", "seed", "logprobs")
"""Parameters that some servers refuse, and without which an answer is still an answer. OpenAI's reasoning models, which
refuse `max_tokens`, are then given `max_completion_tokens`; not all servers know that one, and some ignore in silence
what they do not know."""
FORM = "response_format"
FORMS = ("json_schema", "json_object", "none")
"""What holds answers to a form, the strongest first: where a server does not take one, the next is tried."""
NO_FORM = frozenset({400, 415, 422, 501})
"""Status codes with which a form may be refused: whether it was, is seen when the next one is taken."""
UNFIT = frozenset({400, 403, 422})
"""Status codes with which a parameter is refused (403: OpenAI's answer to `logprobs` of a reasoning model)."""


def ask(
    endpoint: Endpoint,
    conversations: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    schema: Mapping[str, Any] | None = None,
    title: str | None = None,
    cache: Path,
    progress: Progress = silent,
    what: str = "ask",
) -> list[Generated]:
    """The endpoint's answers, as near to greedy decoding as it offers: temperature 0 and a fixed seed.

    Each is kept as it comes, under server, model, messages and parameters: what was answered before, by whatever run,
    is neither asked nor paid for again. Runs that ask the same model of the same server take turns.

    `tokens` and `tokens_in` of an answer are what the server counts and bills (0 if it does not say), `seconds` those
    from the request to the end of the answer, without failed tries and waiting for a turn, and `logprob` is the sum of
    its tokens' `logprobs`.

    Args:
        endpoint: where, and how fast.
        conversations: messages without the answer.
        max_new_tokens: the most tokens an answer may have.
        schema: the JSON Schema that the server is told to hold its answers to (`response_format`, strict). One that
            takes none of it is told to answer with a JSON object, and one that does not take that either, nothing.
        title: of the answer's schema: the arguments of a single call of a function of that name, or of `answer`, are
            the answer.
        cache: the store's cache folder.
        progress: told in rows; also of each parameter that is left away as the server refuses it.
        what: the name to tell it.

    Returns:
        The answers in the order of the conversations. One that the server declines to give has the text of its
        refusal, or none.

    Raises:
        AssayError: the key is not in the environment, the server refuses a request, or goes on failing after
            `endpoint.retries` further tries. What it had answered is kept.
    """
    wanted = _parameters(max_new_tokens, schema)
    question = json.dumps([wanted, title])  # as text, for the order of a schema's keys is that of the answer's
    keys = [digest([list(messages), question]) for messages in conversations]
    rows = Counter(keys)  # equal conversations are asked once
    folder = _folder(endpoint, cache)
    # The limits of a server hold for all runs, and what one has asked need not be asked again.
    with turn(folder, what, progress), kept_in(folder) as kept:
        questions = {key: talk for key, talk in zip(keys, conversations, strict=True) if key not in kept}
        done = len(keys) - sum(rows[key] for key in questions)
        progress(what, done, len(keys), "rows")

        def keep(key: str, answer: Generated, refused: Iterable[str]) -> None:
            nonlocal done
            kept.add(key, answer, refused)
            done += rows[key]
            progress(what, done, len(keys), "rows")

        def refuses(name: str) -> None:
            progress(f"{what} (without {name}, which the server refuses)", 1, 1, "parameters")

        if questions:
            client = _Client(endpoint, wanted, title, keep, refuses)
            try:
                asyncio.run(client.ask(questions))
            except _Failure as failure:
                raise AssayError(
                    f"{endpoint.url}, model {endpoint.model!r}: {failure.why}\n"
                    f"{done} of {len(keys)} rows are answered and kept; the same command goes on from there.",
                    remedy=failure.remedy,
                ) from None
        return [kept[key] for key in keys]


def refused(endpoint: Endpoint, cache: Path) -> list[str]:
    """Parameters that the endpoint has refused, so that answers which are kept were asked for without them."""
    with kept_in(_folder(endpoint, cache)) as kept:
        return kept.refused()


def form_used(refused: Iterable[str]) -> str:
    """The strongest of FORMS that has not been refused."""
    return next(each for each in FORMS if f"{FORM}: {each}" not in refused)


def connected(endpoint: Endpoint, secret: Secret | None) -> "AsyncClient":
    """A client that shows the key to this server and to no other."""
    from httpx2 import AsyncClient, Limits

    key = {"Authorization": f"Bearer {secret.value}"} if secret else {}
    return AsyncClient(
        headers={"Accept-Encoding": "identity", **key},
        limits=Limits(max_connections=endpoint.concurrency),
        timeout=None,  # each request has one, for all of it
        follow_redirects=False,  # the key is for this server
        trust_env=not endpoint.loopback,  # nor is it for a proxy; over https, one sees nothing
    )


def _folder(endpoint: Endpoint, cache: Path) -> Path:
    """Where the answers of a model of a server are kept."""
    folder = keyed_folder(cache / "endpoints", digest([VERSION, endpoint.url, endpoint.model]))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _parameters(max_new_tokens: int, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is asked for besides the messages."""
    parameters: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": 0, "seed": SEED, "logprobs": True}
    if schema is not None:
        form = {"name": ANSWER, "strict": True, "schema": schema}
        parameters[FORM] = {"type": "json_schema", "json_schema": form}
    return parameters


@dataclass(eq=False)
class _Failure(Exception):
    """A request without an answer."""

    why: str
    remedy: str
    passing: bool = False
    """Whether another try may help."""
    after: float = 0.0
    """Seconds that the server wants to be left alone."""


class _ParameterRefused(Exception):
    """The server does not take a parameter; without it, it may answer."""


@dataclass(eq=False)
class _FormRefused(Exception):
    """The server may not take the form that answers are to have."""

    failure: _Failure


class _Client:
    """One run's conversation with an endpoint.

    Args:
        endpoint: where, and how fast.
        wanted: parameters to ask with, as long as the server takes them.
        title: of the answer's schema.
        keep: called with each answer as it comes, its key and the parameters that were left away.
        refuses: called with each parameter that is found to be refused.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        wanted: Mapping[str, Any],
        title: str | None,
        keep: Callable[[str, Generated, Iterable[str]], None],
        refuses: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._named = frozenset({ANSWER, *([title] if title else [])})
        self._form = 0  # of FORMS, the one that the server is known to take
        self._keep = keep
        self._refuses = refuses
        self._refused: set[str] = set()
        self._sent: set[asyncio.Task[None]] = set()  # requests that the server is at work on
        self._secret = secret_of(endpoint)

    async def ask(self, questions: Mapping[str, Sequence[Message]]) -> None:
        """Ask all questions, given by their keys.

        Raises:
            _Failure: of one of them; no other is begun after it, and those under way are heard out.
        """
        from aiolimiter import AsyncLimiter

        endpoint = self._endpoint
        # A bucket of one: begun evenly, so that no minute has more of them, its burst included.
        pace = AsyncLimiter(1, 60 / endpoint.requests_per_minute) if endpoint.requests_per_minute else nullcontext()
        async with connected(endpoint, self._secret) as http:
            waiting = iter(questions.items())
            workers = [
                asyncio.create_task(self._work(http, pace, waiting))
                for _ in range(min(endpoint.concurrency, len(questions)))
            ]
            try:
                await asyncio.gather(*workers)
            except BaseException as error:
                interrupted = not isinstance(error, Exception)
                for task in [*workers, *(self._sent if interrupted else ())]:
                    task.cancel()
                await asyncio.gather(*workers, *self._sent, return_exceptions=True)
                raise

    async def _work(self, http: "AsyncClient", pace: Any, waiting: Iterator[tuple[str, Sequence[Message]]]) -> None:
        """Ask one question after the other, as long as there are any."""
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

        def wait(state: "RetryCallState") -> float:
            failure = state.outcome and state.outcome.exception()
            return max(backoff(state), failure.after if isinstance(failure, _Failure) else 0.0)

        async def attempt(key: str, messages: Sequence[Message]) -> None:
            form, refused = self._form, None
            while True:
                form = max(form, self._form)
                async with pace:
                    request = asyncio.create_task(self._request(http, key, messages, form))
                self._sent.add(request)
                request.add_done_callback(self._sent.discard)
                try:
                    return await asyncio.shield(request)
                except _ParameterRefused:
                    continue
                except _FormRefused as error:
                    refused = refused or error.failure
                    if form + 1 == len(FORMS):  # so it was not the form
                        raise refused from None
                    form += 1

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, _Failure) and error.passing),
            stop=stop_after_attempt(1 + self._endpoint.retries),
            wait=wait,
            reraise=True,
        )
        for key, messages in waiting:
            await retrying(attempt, key, messages)

    async def _request(self, http: "AsyncClient", key: str, messages: Sequence[Message], form: int) -> None:
        """Send one request, and keep its answer.

        Args:
            form: of FORMS, where answers are to have one.

        Raises:
            _ParameterRefused, _FormRefused: it is worth sending again at once, without what is refused.
            _Failure: it is not.
        """
        from httpx2 import InvalidURL, RequestError

        endpoint = self._endpoint
        refused = frozenset(self._refused)
        sent = {name: value for name, value in self._wanted.items() if name not in refused}
        if "max_tokens" in refused:
            sent["max_completion_tokens"] = self._wanted["max_tokens"]
        if FORM in sent and form:
            sent |= {FORM: {"type": FORMS[form]}}
        if FORMS[form] == "none":
            sent.pop(FORM, None)
        body = json.dumps({"model": endpoint.model, "messages": list(messages), **sent})
        began = time.perf_counter()
        try:
            async with (
                asyncio.timeout(endpoint.timeout),
                http.stream(
                    "POST",
                    f"{endpoint.url}/chat/completions",
                    content=body,
                    headers={"Content-Type": "application/json"},
                ) as response,
            ):
                reply = await Reply.receive(response)
        except TimeoutError:
            raise self._passing(f"no answer within {endpoint.timeout:g} s") from None
        except NotTaken as error:
            raise _Failure(f"{error}; it was not read to its end", "Mend the server, or ask another one.") from None
        except InvalidURL as error:
            raise _Failure(f"no URL: {error}", "Mend `url`.") from None
        except RequestError as error:
            raise self._passing(f"no connection: {type(error).__name__} {self._inert(str(error))}") from None
        answer = self._answer(reply, sent, round(time.perf_counter() - began, 4))
        without = [f"{FORM}: {each}" for each in FORMS[:form]] if FORM in self._wanted else []
        for name in without[self._form :]:
            self._refuses(name)
        self._form = max(self._form, form)
        self._keep(key, answer, refused.union(without))

    def _answer(self, reply: Reply, sent: Mapping[str, Any], seconds: float) -> Generated:
        """The answer in a reply, without the key.

        Raises:
            _ParameterRefused, _FormRefused, _Failure: as `_request`.
        """
        if reply.status == 200:
            try:
                answer = reply.answer(seconds, self._named)
            except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
                raise self._passing(f"no chat completion, but: {self._words(reply)}") from None
            if self._secret is None or self._secret.may_be_a_word:
                return answer
            return replace(answer, text=self._secret.masked(answer.text))
        complaint = reply.complaint()
        if reply.status == 400 and complaint.get("code") == "content_filter":  # Azure's, of a prompt
            return Generated("", seconds=seconds)
        named = complaint.get("param") or reply.words()
        unfit = [name for name in OPTIONAL if name in sent and re.search(rf"\b{name}\b", named)]
        if reply.status in UNFIT and unfit:
            for name in set(unfit) - self._refused:
                self._refused.add(name)
                self._refuses(name)
            raise _ParameterRefused
        if reply.status in NO_FORM and FORM in self._wanted:
            raise _FormRefused(self._refusal(reply))
        raise self._refusal(reply)

    def _passing(self, why: str, after: float = 0.0) -> _Failure:
        tries = f"after {1 + self._endpoint.retries} tries, " if after <= PATIENCE else ""
        return _Failure(
            f"{tries}{why}",
            "Start the command again when the server is well. If it only needs longer: a higher `timeout`, more "
            "`retries`, less `concurrency`, or `requests_per_minute`.",
            passing=after <= PATIENCE,
            after=after,
        )

    def _refusal(self, reply: Reply) -> _Failure:
        """What a reply of another status than 200 means."""
        status = reply.status
        why = f"status {status} {self._inert(reply.phrase)}: {self._words(reply)}"
        if status in PASSING or status >= 500:
            after = reply.retry_after()
            return self._passing(f"{why} (to be asked again after {after:g} s)" if after > PATIENCE else why, after)
        if status in (401, 403):
            name = self._endpoint.key
            return _Failure(
                why,
                f"Set the environment variable {name} to a key that may use this model."
                if name
                else "Name the environment variable that holds the key: `key: NAME_API_KEY`.",
            )
        if status == 404:
            return _Failure(why, "Mend `url` (up to and with /v1) or `model` (as the server lists it at /v1/models).")
        if status < 400:
            location = self._inert(reply.headers.get("location", ""))
            return _Failure(
                why,
                f"Redirects are not followed. Name as `url` where it is: {location}"
                if location
                else "Mend `url` (up to and with /v1): chat completions are answered with status 200.",
            )
        if "response_format" in self._wanted:
            return _Failure(why, "A server that cannot hold answers to this schema is asked with `constrained: false`.")
        return _Failure(why, "Mend what the server objects to.")

    def _words(self, reply: Reply) -> str:
        """What the server says, as a short text that does nothing and does not hold the key."""
        return self._inert(reply.words()) or "(nothing)"

    def _inert(self, text: str) -> str:
        """A server's text on one short line, without the key and what could steer a terminal."""
        if self._secret:
            text = self._secret.masked(text)
        text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
        return f"{text[:300]}…" if len(text) > 300 else text
