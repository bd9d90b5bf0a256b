"""Answer a question, or go on with a dialogue, through the plain transformers ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.models.dialogue import dialogue_ids


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
    if not messages or not messages[-1].content.strip():
        raise TemperamentError("the question is empty", "give some text to answer")
    try:
        "".join(message.content for message in messages).encode()
    except UnicodeEncodeError:
        raise TemperamentError("the question is not valid text", "write it in UTF-8") from None
    if max_tokens < 1:
        raise TemperamentError(f"{max_tokens} new tokens were asked for", "give 1 or more")
    turns = tuple((message.role, message.content) for message in messages)
    ids = dialogue_ids(lm.tokenizer, turns, lm.system_prompt)
    room = lm.max_tokens - len(ids)
    if room < 1:
        raise TemperamentError(
            f"the dialogue has {len(ids)} tokens, the model takes {lm.max_tokens}",
            "start a new one or shorten the question",
        )
    tokens = torch.tensor([ids], device=lm.device)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if seed is not None:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 0.95}
    with torch.random.fork_rng(devices=[lm.device] if lm.device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        output = lm.model.generate(  # type: ignore[operator]
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=min(max_tokens, room),
            repetition_penalty=repetition_penalty,
            pad_token_id=lm.tokenizer.pad_token_id or lm.tokenizer.eos_token_id,
            streamer=streamer,
            **sampling,
        )
    return str(lm.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)).strip()
