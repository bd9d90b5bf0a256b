"""Answer a question, or go on with a dialogue, through the plain transformers ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.models.dialogue import Turns
from temperament.models.generation import generate_ids


@dataclass(frozen=True)
class Message:
    """One turn of a dialogue."""

    role: Literal["user", "assistant"]
    content: str


def chat(
    lm: LoadedModel,
    prompt: str | Sequence[Message],
    *,
    max_tokens: int = 128,
    seed: int | None = None,
    temperature: float = 0.8,
    repetition_penalty: float = 1.1,
    streamer: Any = None,
) -> str:
    """The model's answer to a question or to a dialogue that ends with the user's turn.

    Greedy, unless a ``seed`` is given: then sampled at ``temperature``, reproducibly. ``streamer`` is a
    transformers streamer that receives tokens as they come.
    """
    messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    ids = check_dialogue(lm, tuple((message.role, message.content) for message in messages), max_tokens)
    answer = generate_ids(
        lm,
        [ids],
        max_tokens=min(max_tokens, lm.max_tokens - len(ids)),
        repetition_penalty=repetition_penalty,
        seed=seed,
        temperature=temperature,
        streamer=streamer,
    )
    return decode(lm, answer[0])


def decode(lm: LoadedModel, answer: Sequence[int]) -> str:
    """Tokens of an answer as text."""
    return str(lm.tokenizer.decode(list(answer), skip_special_tokens=True)).strip()


def check_dialogue(lm: LoadedModel, turns: Turns, max_tokens: int) -> tuple[int, ...]:
    """Tokens of a dialogue; an error unless it ends with a question and leaves room for an answer."""
    if not turns or not turns[-1][1].strip():
        raise TemperamentError("the question is empty", "give some text to answer")
    try:
        "".join(text for _, text in turns).encode()
    except UnicodeEncodeError:
        raise TemperamentError("the question is not valid text", "write it in UTF-8") from None
    if max_tokens < 1:
        raise TemperamentError(f"{max_tokens} new tokens were asked for", "give 1 or more")
    ids = lm.dialogue_ids(turns)
    if len(ids) >= lm.max_tokens:
        raise TemperamentError(
            f"the dialogue has {len(ids)} tokens, the model takes {lm.max_tokens}",
            "start a new one or shorten the question",
        )
    return ids
