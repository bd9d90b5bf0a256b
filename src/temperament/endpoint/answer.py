"""One answer of an endpoint, how it is read from a chat completion, and the file that keeps answers."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from temperament.atomic import ensure_folder, write_bytes
from temperament.errors import TemperamentError, WriteError

#: What reasoning models write before their answer.
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """One answer, or the ``reason`` why there is none (``text`` is then None).

    Token counts are None where the endpoint gave none; ``cut`` says that the answer met ``max_tokens``; ``cached``
    that it was read from disk and nothing was sent.
    """

    text: str | None
    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cut: bool = False
    cached: bool = False


def read_answer(body: Any) -> Answer | None:
    """The answer in a chat completion, or None if it is none; a refusal or an empty one has no text but a reason."""
    try:
        choice = body["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
        usage = body.get("usage") or {}
        counts = [_whole(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    if not isinstance(content, str | None):
        return None
    text: str | None = _THOUGHT.sub("", writable(content or "")).strip()
    reason = None
    if refusal:
        text, reason = None, f"refused: {writable(str(refusal))[:200]}"
    elif finish == "content_filter":
        text, reason = None, "withheld by a content filter"
    elif text is not None and text.startswith("<think>"):
        text, reason = None, "cut off before the answer began"
    elif not text:
        text, reason = None, "empty answer"
    return Answer(text, reason, counts[0], counts[1], cut=finish == "length")


def writable(text: str) -> str:
    """A text without halves of surrogate pairs, which no file and no terminal takes."""
    return text.encode("utf-8", "replace").decode()


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def fault(body: Any) -> str:
    """Why a body is no chat completion, in the words of its error if it holds one."""
    told = body.get("error") if isinstance(body, dict) else None
    message = told.get("message") if isinstance(told, dict) else told
    return f"not a chat completion: {writable(str(message))[:200]}" if message else "not a chat completion"


class Answers:
    """Answers by key: in memory, and with a path as one flushed JSON line each."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._known, self._lock = path, dict[str, Answer](), threading.Lock()
        self._stream = None
        if path is None:
            return
        ensure_folder(path.parent)
        lines, whole = self._read(path)
        if not whole:  # what cannot be read is dropped, so that new lines do not join a torn one
            write_bytes(path, b"".join(line + b"\n" for line in lines))
        try:
            self._stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise WriteError(path, error.strerror, "choose another folder") from None

    def _read(self, path: Path) -> tuple[list[bytes], bool]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return [], True
        except OSError as error:
            raise TemperamentError(f"{path} cannot be read: {error.strerror}", "choose another file") from None
        *lines, tail = data.split(b"\n")
        good: list[bytes] = []
        for line in lines:
            try:
                row = json.loads(line)
                answer = Answer(**row["answer"], cached=True)
                if not isinstance(answer.text, str | None) or (answer.text is None and not answer.reason):
                    continue
                self._known[row["key"]] = answer
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            good.append(line)
        return good, not tail and len(good) == len(lines)

    def get(self, key: str) -> Answer | None:
        return self._known.get(key)

    def forget(self, key: str) -> None:
        """Take an answer as not given; where a later line of the file has the same key, that one counts."""
        with self._lock:
            self._known.pop(key, None)

    def add(self, key: str, answer: Answer) -> None:
        row = {name: value for name, value in asdict(answer).items() if name != "cached"}
        line = json.dumps({"key": key, "answer": row}, ensure_ascii=True) + "\n"
        with self._lock:
            self._known[key] = Answer(**row, cached=True)
            if self._stream:
                try:
                    self._stream.write(line)
                    self._stream.flush()
                except OSError as error:
                    raise WriteError(self._path, error.strerror) from None

    def close(self) -> None:
        """Afterwards nothing is kept on disk any more."""
        with self._lock:
            stream, self._stream = self._stream, None
        if stream:
            stream.close()
