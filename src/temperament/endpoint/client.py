"""Questions to an OpenAI-compatible endpoint: answers kept on disk, tokens and cost counted, failures missing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from temperament.endpoint.answer import Answer, Answers, fault, read_answer, writable
from temperament.errors import TemperamentError

#: A dialogue: {"role": "system" | "user" | "assistant", "content": text} in order.
Messages = Sequence[Mapping[str, str]]

#: Longest wait for one answer, in seconds; sockets take no endless one.
_LONGEST = 86_400
#: How long answers on their way are waited for once nothing more is sent, in seconds.
_MOMENT = 1.0

_UNKNOWN_MODEL = re.compile(r"not exist|not found|not a valid model|unknown model|invalid model|no such model", re.I)
_REFUSED_OPTION = re.compile(
    r"\b(temperature|seed)\b.*(unsupported|not support|only the default)"
    r"|(unsupported|not support).*\b(temperature|seed)\b",
    re.I,
)


@dataclass(frozen=True)
class Settings:
    """What is asked of the model beside the messages; None leaves a setting to the endpoint."""

    max_tokens: int = 512
    temperature: float | None = 0.0
    seed: int | None = 0


@dataclass(frozen=True)
class Prices:
    """Price per million tokens, in any currency; None is unknown."""

    prompt: float | None = None
    completion: float | None = None


@dataclass(frozen=True)
class Usage:
    """What was sent and what it cost since the endpoint was opened.

    ``requests`` counts every request sent, repeated ones too; tokens are those of answers received, ``uncounted``
    the answers that came without token counts. ``cost`` is None (unknown) without prices or with uncounted answers.
    """

    requests: int
    answers: int
    cached: int
    missing: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    cost: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        cost = "unknown" if self.cost is None else f"{self.cost:.4f}"
        tokens = f"{self.prompt_tokens} + {self.completion_tokens}"
        if self.uncounted:
            tokens += f" and those of {self.uncounted} uncounted answers"
        return (
            f"{self.requests} requests, {self.cached} answers from before, {self.missing} unanswered, "
            f"{tokens} tokens, cost {cost}"
        )


class Endpoint:
    """A model behind an OpenAI-compatible URL; use it in a ``with`` block, or ``close()`` it.

    The key is read from the environment variable ``key_variable``; servers that need none get a placeholder.
    Failed requests are sent again up to ``retries`` times with the growing pauses of the ``openai`` package (it obeys
    Retry-After), then the answer is missing with a reason; where none at all comes, that is an error. A refused key, a
    wrong URL and an unknown model raise at the first request. ``cache`` is a file of JSON lines: whatever was answered
    once is never asked again, from any URL, if model, messages and settings are the same, unless ``forget`` is called.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        settings: Settings | None = None,
        prices: Prices | None = None,
        cache: Path | None = None,
        timeout: float = 120.0,
        retries: int = 4,
        concurrency: int = 4,
    ) -> None:
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
        except ValueError:  # brackets that do not close, a port beyond 65535
            known = False
        if not known:
            raise TemperamentError(f"{url!r} is no endpoint", "give a URL such as http://localhost:8000/v1")
        if not model.strip():
            raise TemperamentError("no model was named for the endpoint", "give the name the endpoint knows it by")
        if concurrency < 1 or retries < 0 or not 0 < timeout <= _LONGEST:
            raise TemperamentError(
                f"concurrency {concurrency}, retries {retries}, timeout {timeout}",
                "give a concurrency of 1 or more, retries of 0 or more and a timeout of up to a day, in seconds",
            )
        self.url, self.model, self.settings = url, model, settings or Settings()
        if self.settings.max_tokens < 1:
            raise TemperamentError(f"{self.settings.max_tokens} tokens were asked for", "give 1 or more")
        self._prices, self._concurrency, self._key_variable = prices or Prices(), concurrency, key_variable
        self._key = os.environ.get(key_variable, "").strip()
        self._thread = threading.local()
        self._lock, self._proved, self._limit_name = threading.Lock(), False, "max_tokens"
        self._counts = dict.fromkeys(
            ("requests", "answers", "cached", "missing", "prompt_tokens", "completion_tokens", "uncounted"), 0
        )
        self._client = self._open_client(timeout, retries)
        self._cache = Answers(cache)

    def _open_client(self, timeout: float, retries: int) -> Any:
        try:
            import openai
        except ImportError:
            raise TemperamentError(
                "an endpoint is reached through the openai package, which is not installed",
                "pip install 'temperament[endpoint]'",
            ) from None
        self._openai = openai
        http = openai.DefaultHttpxClient(event_hooks={"request": [self._before_request]})
        return openai.OpenAI(
            api_key=self._key or "none", base_url=self.url, timeout=timeout, max_retries=retries, http_client=http
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()
        self._cache.close()

    @property
    def usage(self) -> Usage:
        with self._lock:
            counts, prices = dict(self._counts), self._prices
        cost = None
        if prices.prompt is not None and prices.completion is not None and not counts["uncounted"]:
            cost = (counts["prompt_tokens"] * prices.prompt + counts["completion_tokens"] * prices.completion) / 1e6
        return Usage(cost=cost, **counts)

    def known(self, messages: Messages) -> Answer | None:
        """The answer on disk, if there is one."""
        return self._cache.get(self._identity(messages))

    def forget(self, messages: Messages) -> None:
        """Ask this again, although it was answered: the answer was of no use."""
        self._cache.forget(self._identity(messages))

    def ask(self, messages: Messages) -> Answer:
        """One answer; from disk if it was given before."""
        return self.ask_all([messages])[0]

    def ask_all(
        self, dialogues: Sequence[Messages], progress: Callable[[int, int], None] | None = None
    ) -> list[Answer]:
        """One answer per dialogue, in order, up to ``concurrency`` at a time; equal dialogues are asked once.

        The first request goes alone, so that a wrong key or URL costs one. ``progress`` gets (done, total).
        """
        keys = [self._identity(messages) for messages in dialogues]
        repeats = Counter(keys)
        known = {key: self._cache.get(key) for key in repeats}
        found = {key: answer for key, answer in known.items() if answer}
        todo = [item for item in dict(zip(keys, dialogues, strict=True)).items() if item[0] not in found]
        done = sum(repeats[key] for key in found)
        self._count("cached", done)

        def finish(key: str, answer: Answer) -> None:
            nonlocal done
            found[key] = answer
            done += repeats[key]
            if progress:
                progress(done, len(keys))

        if progress and keys:
            progress(done, len(keys))
        if todo and not self._proved:
            key, messages = todo.pop(0)
            finish(key, self._send(key, messages))
        with closing(self._send_all(todo)) as answers:
            for key, answer in answers:
                finish(key, answer)
        if keys and not self._proved and not any(answer.cached for answer in found.values()):
            reason = next(iter(found.values())).reason
            raise TemperamentError(
                f"{self.url} answered none of {len(found)} requests ({reason})",
                "check the server, or give it more time with --timeout",
            )
        self._count("missing", sum(found[key].text is None for key in keys))
        return [found[key] for key in keys]

    def _send_all(self, todo: Sequence[tuple[str, Messages]]) -> Generator[tuple[str, Answer], None, None]:
        """Keys and answers as they come.

        Whatever ends this early also ends the sending: requests on their way get a moment to be answered and kept,
        and none is sent again. Nobody waits for a slow server, so the threads are daemons.
        """
        waiting: SimpleQueue[tuple[str, Messages]] = SimpleQueue()
        done: SimpleQueue[tuple[str, Answer | BaseException]] = SimpleQueue()
        stopped = threading.Event()
        for item in todo:
            waiting.put(item)

        def work() -> None:
            self._thread.stopped = stopped
            while not stopped.is_set():
                try:
                    key, messages = waiting.get_nowait()
                except Empty:
                    return
                try:
                    done.put((key, self._send(key, messages)))
                except BaseException as error:
                    done.put((key, error))
                    return

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self._concurrency, len(todo)))]
        try:
            for thread in threads:
                thread.start()
            for _ in todo:
                key, found = done.get()
                if isinstance(found, BaseException):
                    raise found
                yield key, found
        finally:
            stopped.set()
            end = time.monotonic() + _MOMENT
            for thread in threads:
                if thread.is_alive():
                    thread.join(max(0.0, end - time.monotonic()))

    def _before_request(self, _: object) -> None:
        if (stopped := getattr(self._thread, "stopped", None)) and stopped.is_set():
            raise InterruptedError("no request is sent any more")
        self._count("requests")

    def _identity(self, messages: Messages) -> str:
        parts = {"model": self.model, "messages": [dict(message) for message in messages], **asdict(self.settings)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _send(self, key: str, messages: Messages) -> Answer:
        options: dict[str, Any] = {self._limit_name: self.settings.max_tokens}
        for name in ("temperature", "seed"):
            value = getattr(self.settings, name)
            if value is not None:
                options[name] = value
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                model=self.model, messages=[dict(message) for message in messages], **options
            )
            body = json.loads(raw.http_response.text)
        except self._openai.APIError as error:
            reason = self._text_of(error)
            if "max_completion_tokens" in reason and "max_tokens" in options:
                self._limit_name = "max_completion_tokens"  # the same limit under the name that newer models take
                return self._send(key, messages)
            self._raise_if_hopeless(error, reason)
            return Answer(None, reason)
        except (ValueError, RecursionError):
            body = None
        answer = read_answer(body)
        if answer is None:
            if not self._proved and not isinstance(body, dict):
                raise TemperamentError(
                    f"{self.url} does not answer as an OpenAI-compatible endpoint",
                    "check the URL: it usually ends in /v1",
                )
            return Answer(None, self._hide(fault(body)))
        self._proved = True
        self._count_answer(answer)
        self._cache.add(key, answer)
        return answer

    def _raise_if_hopeless(self, error: Any, reason: str) -> None:
        """Raise for what no later request can mend; before the first answer a bad address counts as such."""
        status, code = getattr(error, "status_code", None), getattr(error, "code", None)
        if status == 401 or (status == 403 and not self._proved):
            state = "is refused" if self._key else "is not set"
            raise TemperamentError(
                f"{self.url} wants another key ({reason})", f"${self._key_variable} {state}: put a valid key there"
            )
        if status == 402 or code == "insufficient_quota":
            raise TemperamentError(f"{self.url} wants payment ({reason})", "what was answered so far is kept")
        if status == 400 and _REFUSED_OPTION.search(reason):
            raise TemperamentError(
                f"{self.model} refuses the settings ({reason})", "leave temperature and seed to the model"
            )
        if self._proved:
            return
        if status in (400, 404) and (
            code == "model_not_found" or (self.model in reason and _UNKNOWN_MODEL.search(reason))
        ):
            raise TemperamentError(f"{self.url} has no model {self.model!r} ({reason})", "name a model it serves")
        if status == 404:
            raise TemperamentError(f"{self.url} has no chat completions ({reason})", "the URL usually ends in /v1")
        timed_out = isinstance(error, self._openai.APITimeoutError)
        if isinstance(error, self._openai.APIConnectionError) and not timed_out:
            raise TemperamentError(
                f"{self.url} cannot be reached ({reason})", "check the URL and that the server is running"
            )

    def _text_of(self, error: Any) -> str:
        cause = error.__cause__ if isinstance(error, self._openai.APIConnectionError) else None
        return self._hide(writable(" ".join(f"{error} {cause or ''}".split())[:300]))

    def _hide(self, text: str) -> str:
        """``text`` without the key, should the server repeat it."""
        return text.replace(self._key, "(key)") if self._key else text

    def _count(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] += count

    def _count_answer(self, answer: Answer) -> None:
        self._count("answers")
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            self._count("uncounted")
        self._count("prompt_tokens", answer.prompt_tokens or 0)
        self._count("completion_tokens", answer.completion_tokens or 0)
