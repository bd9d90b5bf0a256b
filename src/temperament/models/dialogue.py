"""How a question, an optional system prompt and a response become tokens, with or without a chat template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from temperament.errors import TemperamentError


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and response; ``start`` is the position of the first response token."""

    ids: tuple[int, ...]
    start: int


Turns = tuple[tuple[str, str], ...]

_LABELS = {"user": "Question", "assistant": "Answer"}
_HEADS = [f"\n{label}:" for label in _LABELS.values()]
#: Where an answer of the plain form ends: there the model begins to invent another turn.
NEXT_TURN = re.compile("|".join(_HEADS))
#: Most characters of such a beginning.
NEXT_TURN_LENGTH = max(map(len, _HEADS))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str | None = None) -> tuple[int, ...]:
    """Tokens of a single question up to the point where the assistant's answer begins."""
    return dialogue_ids(tokenizer, (("user", prompt),), system)


def dialogue_ids(tokenizer: PreTrainedTokenizerBase, turns: Turns, system: str | None = None) -> tuple[int, ...]:
    """Tokens of a dialogue of (role, text) turns up to the point where the assistant's answer begins.

    With a chat template the template is used; one that refuses or drops a system message gets it at the head of
    the user's turn. Without one (base models) the form is a plain ``Question: … Answer:``.
    """
    return _dialogue_ids(tokenizer, str(tokenizer.chat_template or ""), turns, system)


@lru_cache(maxsize=256)  # a contrast asks one question hundreds of times
def _dialogue_ids(
    tokenizer: PreTrainedTokenizerBase, template: str, turns: Turns, system: str | None
) -> tuple[int, ...]:
    if not template:
        text = f"{plain_head((), system)}{_plain(turns)}\n{_LABELS['assistant']}:"
        return tuple(tokenizer(text, verbose=False).input_ids)
    try:
        text = _templated(tokenizer, turns, system)
    except TemplateError as error:
        if not system:
            raise TemperamentError(
                f"the model's chat template cannot be rendered: {error}", "mend chat_template in the tokenizer's files"
            ) from error
        text = ""
    if system and system.strip() not in text:
        (role, opening), *rest = turns
        text = _templated(tokenizer, ((role, f"{system}\n\n{opening}"), *rest), None)
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def _templated(tokenizer: PreTrainedTokenizerBase, turns: Turns, system: str | None) -> str:
    messages = [{"role": role, "content": text} for role, text in turns]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    # enable_thinking is read by templates of reasoning models (Qwen3) and ignored by all others.
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def plain_head(earlier: Turns, system: str | None) -> str:
    """A system prompt and earlier turns as they stand before a text that is no dialogue; '' without them."""
    return "".join(f"{part}\n\n" for part in (system, _plain(earlier)) if part)


def _plain(turns: Turns) -> str:
    return "\n".join(f"{_LABELS[role]}: {text}" for role, text in turns)


def response_ids(tokenizer: PreTrainedTokenizerBase, response: str) -> tuple[int, ...]:
    """Tokens of a response as it stands behind the prompt; the plain form puts a space before it."""
    text = response if tokenizer.chat_template else f" {response}"
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    response: str,
    system: str | None,
    limit: int,
    earlier: Turns = (),
) -> Encoded:
    """Prompt, behind ``earlier`` turns, and response as one sequence of at most ``limit`` tokens.

    Too long a response loses its end; behind a prompt of ``limit`` tokens or more nothing of it is left.
    """
    head = dialogue_ids(tokenizer, (*earlier, ("user", prompt)), system)
    return Encoded((head + response_ids(tokenizer, response))[:limit], min(len(head), limit))
