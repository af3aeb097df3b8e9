"""A server that speaks OpenAI's chat completions, asked: several rows at once, within its limits, and no row twice."""

import asyncio
import fcntl
import json
import math
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.cache import keyed_folder
from curate.errors import AssayError
from curate.hashing import digest
from curate.progress import Progress, silent
from curate.rows.renderer import Message
from curate.store import locked
from evaluation.judge.answer import Generated
from evaluation.settings import Endpoint

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response
    from tenacity import RetryCallState

VERSION = 1
"""Of the request and of how an answer is read; what another one asked is asked, and paid for, again."""
SEED = 0
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
MOST = 1 << 31
"""More tokens than an answer can have."""
UNFIT = frozenset({400, 403, 422})
"""Status codes with which a parameter is refused (403: OpenAI's answer to `logprobs` of a reasoning model)."""


def ask(
    endpoint: Endpoint,
    conversations: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int,
    schema: Mapping[str, Any] | None = None,
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
        schema: the JSON Schema that the server is told to hold its answers to (`response_format`, strict).
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
    keys = [digest([VERSION, endpoint.url, endpoint.model, list(messages), wanted]) for messages in conversations]
    rows = Counter(keys)  # equal conversations are asked once
    folder = _folder(endpoint, cache)
    with _turn(folder, lambda done: progress(f"{what} (another run's turn)", done, 1, "runs")), _kept(folder) as kept:
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
            client = _Client(endpoint, wanted, keep, refuses)
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
    with _kept(_folder(endpoint, cache)) as kept:
        return kept.refused()


def _folder(endpoint: Endpoint, cache: Path) -> Path:
    """Where the answers of a model of a server are kept."""
    folder = keyed_folder(cache / "endpoints", digest([endpoint.url, endpoint.model]))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _parameters(max_new_tokens: int, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is asked for besides the messages."""
    parameters: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": 0, "seed": SEED, "logprobs": True}
    if schema is not None:
        form = {"name": "answer", "strict": True, "schema": schema}
        parameters["response_format"] = {"type": "json_schema", "json_schema": form}
    return parameters


@contextmanager
def _turn(folder: Path, tell: Callable[[int], None]) -> Iterator[None]:
    """Wait until no other run asks the same model: its limits hold for all, and its answers need not be asked again."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder, fcntl.LOCK_NB))
        except BlockingIOError:
            tell(0)
            held.enter_context(locked(folder))
            tell(1)
        yield


class _Kept:
    """Answers on disk: a row each of an SQLite table, written by a transaction each, so that no crash can halve one."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL, refused TEXT NOT NULL)"
        )

    def __contains__(self, key: str) -> bool:
        return self._database.execute("SELECT 1 FROM answers WHERE key = ?", [key]).fetchone() is not None

    def __getitem__(self, key: str) -> Generated:
        [answer] = self._database.execute("SELECT answer FROM answers WHERE key = ?", [key]).fetchone()
        return Generated(**json.loads(answer))

    def add(self, key: str, answer: Generated, refused: Iterable[str]) -> None:
        """Keep an answer, and which parameters it was asked without."""
        row = [key, json.dumps(asdict(answer)), json.dumps(sorted(refused))]  # ASCII: half a character is escaped
        self._database.execute("INSERT INTO answers VALUES (?, ?, ?)", row)

    def refused(self) -> list[str]:
        """All the parameters that answers were asked without."""
        rows = self._database.execute("SELECT DISTINCT refused FROM answers").fetchall()
        return sorted({name for [names] in rows for name in json.loads(names)})


@contextmanager
def _kept(folder: Path) -> Iterator[_Kept]:
    """The answers kept in a folder.

    Raises:
        AssayError: the disk is full, or the file is not as it was written.
    """
    file = folder / "answers.sqlite"
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            yield _Kept(database)
    except sqlite3.Error as error:
        raise AssayError(
            f"{file}: {error}.",
            remedy="Make room on the disk. A file that is broken may be deleted: its rows are then asked again.",
        ) from None


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


class _Client:
    """One run's conversation with an endpoint.

    Args:
        endpoint: where, and how fast.
        wanted: parameters to ask with, as long as the server takes them.
        keep: called with each answer as it comes, its key and the parameters that were left away.
        refuses: called with each parameter that is found to be refused.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        wanted: Mapping[str, Any],
        keep: Callable[[str, Generated, Iterable[str]], None],
        refuses: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._keep = keep
        self._refuses = refuses
        self._refused: set[str] = set()
        self._sent: set[asyncio.Task[None]] = set()  # requests that the server is at work on
        self._secret = _api_key(endpoint)

    async def ask(self, questions: Mapping[str, Sequence[Message]]) -> None:
        """Ask all questions, given by their keys.

        Raises:
            _Failure: of one of them; no other is begun after it, and those under way are heard out.
        """
        from aiolimiter import AsyncLimiter
        from httpx2 import AsyncClient, Limits

        endpoint, secret = self._endpoint, self._secret
        # A bucket of one: begun evenly, so that no minute has more of them, its burst included.
        pace = AsyncLimiter(1, 60 / endpoint.requests_per_minute) if endpoint.requests_per_minute else nullcontext()
        async with AsyncClient(
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
            limits=Limits(max_connections=endpoint.concurrency),
            timeout=None,  # each request has one, for all of it
            follow_redirects=False,  # the key is for this server
        ) as http:
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
            while True:
                async with pace:
                    request = asyncio.create_task(self._request(http, key, messages))
                self._sent.add(request)
                request.add_done_callback(self._sent.discard)
                try:
                    return await asyncio.shield(request)
                except _ParameterRefused:
                    continue

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, _Failure) and error.passing),
            stop=stop_after_attempt(1 + self._endpoint.retries),
            wait=wait,
            reraise=True,
        )
        for key, messages in waiting:
            await retrying(attempt, key, messages)

    async def _request(self, http: "AsyncClient", key: str, messages: Sequence[Message]) -> None:
        """Send one request, and keep its answer.

        Raises:
            _ParameterRefused: it is worth sending again at once.
            _Failure: it is not.
        """
        from httpx2 import InvalidURL, RequestError

        endpoint = self._endpoint
        refused = frozenset(self._refused)
        sent = {name: value for name, value in self._wanted.items() if name not in refused}
        if "max_tokens" in refused:
            sent["max_completion_tokens"] = self._wanted["max_tokens"]
        body = json.dumps({"model": endpoint.model, "messages": list(messages), **sent})
        began = time.perf_counter()
        try:
            async with asyncio.timeout(endpoint.timeout):
                response = await http.post(
                    f"{endpoint.url}/chat/completions", content=body, headers={"Content-Type": "application/json"}
                )
        except TimeoutError:
            raise self._passing(f"no answer within {endpoint.timeout:g} s") from None
        except InvalidURL as error:
            raise _Failure(f"no URL: {error}", "Mend `url`.") from None
        except RequestError as error:
            raise self._passing(f"no connection: {type(error).__name__} {self._inert(str(error))}") from None
        seconds = round(time.perf_counter() - began, 4)
        if response.status_code == 200:
            try:
                answer = _read(response.content, seconds)
            except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
                raise self._passing(f"no chat completion, but: {self._words(response)}") from None
        else:
            complaint = _complaint(response)
            if response.status_code == 400 and complaint.get("code") == "content_filter":  # Azure's, of a prompt
                answer = Generated("", seconds=seconds)
            else:
                named = complaint.get("param") or self._words(response)
                unfit = [name for name in OPTIONAL if name in sent and re.search(rf"\b{name}\b", str(named))]
                if response.status_code in UNFIT and unfit:
                    for name in set(unfit) - self._refused:
                        self._refused.add(name)
                        self._refuses(name)
                    raise _ParameterRefused
                raise self._refusal(response)
        self._keep(key, answer, refused)

    def _passing(self, why: str, after: float = 0.0) -> _Failure:
        tries = f"after {1 + self._endpoint.retries} tries, " if after <= PATIENCE else ""
        return _Failure(
            f"{tries}{why}",
            "Start the command again when the server is well. If it only needs longer: a higher `timeout`, more "
            "`retries`, less `concurrency`, or `requests_per_minute`.",
            passing=after <= PATIENCE,
            after=after,
        )

    def _refusal(self, response: "Response") -> _Failure:
        """What an answer of another status than 200 means."""
        status = response.status_code
        why = f"status {status} {response.reason_phrase}: {self._words(response)}"
        if status in PASSING or status >= 500:
            after = _retry_after(response)
            return self._passing(f"{why} (to be asked again after {after:g} s)" if after > PATIENCE else why, after)
        if status in (401, 403):
            name = self._endpoint.key
            return _Failure(
                why,
                f"Set the environment variable {name} to a key that may use this model."
                if name
                else "Name the environment variable that holds the key: `key: NAME`.",
            )
        if status == 404:
            return _Failure(why, "Mend `url` (up to and with /v1) or `model` (as the server lists it at /v1/models).")
        if response.is_redirect:
            return _Failure(
                why, f"Redirects are not followed. Name as `url` where it is: {response.headers['location']}"
            )
        if "response_format" in self._wanted:
            return _Failure(why, "A server that cannot hold answers to this schema is asked with `constrained: false`.")
        return _Failure(why, "Mend what the server objects to.")

    def _words(self, response: "Response") -> str:
        """What the server says, as a short text that does nothing and does not hold the key."""
        complaint = _complaint(response)
        said = complaint.get("message") or complaint.get("detail") or response.text
        text = said if isinstance(said, str) else json.dumps(said)
        if text.lstrip().startswith("<"):
            from resiliparse.extract.html2text import extract_plain_text

            text = extract_plain_text(text)
        return self._inert(text) or "(nothing)"

    def _inert(self, text: str) -> str:
        """A server's text on one short line, without the key and what could steer a terminal."""
        if self._secret:
            text = text.replace(self._secret, "(the key)")
        text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
        return f"{text[:300]}…" if len(text) > 300 else text


def _api_key(endpoint: Endpoint) -> str | None:
    """The key from the environment.

    Raises:
        AssayError: the variable is not set, or holds what no header can.
    """
    if endpoint.key is None:
        return None
    secret = os.environ.get(endpoint.key, "").strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        wrong = "holds characters that no key has" if secret else "is not set"
        raise AssayError(
            f"{endpoint.url}, model {endpoint.model!r}: the environment variable {endpoint.key} {wrong}.",
            remedy=f"export {endpoint.key}=...; the recipe names the variable, never the key.",
        )
    return secret


def _read(content: bytes, seconds: float) -> Generated:
    """The answer that a chat completion holds. What a model was thinking (`reasoning_content`) is not part of it.

    Raises:
        ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError: it is no chat completion.
    """
    body = json.loads(content)
    choice = body["choices"][0]
    message = choice["message"]
    text = message.get("content") or message.get("refusal") or ""
    if not isinstance(text, str):
        raise TypeError
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
        # Rounding makes a probability of one a little more; what is no number is no probability.
        logprob=min(math.fsum(logprobs), 0.0) if logprobs and all(map(math.isfinite, logprobs)) else None,
    )


def _complaint(response: "Response") -> dict[str, Any]:
    """The error of a body: OpenAI's `{"error": {"message", "param", "code"}}`, or FastAPI's `{"detail"}`."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    error = body.get("error", body) if isinstance(body, dict) else body
    return error if isinstance(error, dict) else {"message": error}


def _retry_after(response: "Response") -> float:
    """Seconds that the server wants to be left alone: Retry-After, a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "")
    try:
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # nothing of either, or a date without a zone
        return 0.0
