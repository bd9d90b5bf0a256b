"""How a question, an optional system prompt and a response become tokens, with or without a chat template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and response; ``start`` is the position of the first response token."""

    ids: tuple[int, ...]
    start: int


def _messages(prompt: str, system: str | None) -> list[dict[str, str]]:
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": prompt}]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str | None = None) -> tuple[int, ...]:
    """Tokens up to the point where the assistant's answer begins.

    With a chat template the template is used; one that refuses or drops a system message gets it at the head of
    the user's turn. Without one (base models) the form is a plain ``Question: … Answer:``.
    """
    return _prompt_ids(tokenizer, str(tokenizer.chat_template or ""), prompt, system)


@lru_cache(maxsize=256)  # a contrast asks one question hundreds of times
def _prompt_ids(tokenizer: PreTrainedTokenizerBase, template: str, prompt: str, system: str | None) -> tuple[int, ...]:
    if not template:
        head = f"{system}\n\n" if system else ""
        return tuple(tokenizer(f"{head}Question: {prompt}\nAnswer:").input_ids)
    try:
        text = _templated(tokenizer, _messages(prompt, system))
    except TemplateError:
        if not system:
            raise
        text = ""
    if system and system.strip() not in text:
        text = _templated(tokenizer, _messages(f"{system}\n\n{prompt}", None))
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def _templated(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    # enable_thinking is read by templates of reasoning models (Qwen3) and ignored by all others.
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def response_ids(tokenizer: PreTrainedTokenizerBase, response: str) -> tuple[int, ...]:
    """Tokens of a response as it stands behind the prompt; the plain form puts a space before it."""
    text = response if tokenizer.chat_template else f" {response}"
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, system: str | None, limit: int) -> Encoded:
    """Prompt and response as one sequence of at most ``limit`` tokens.

    Too long a response loses its end; behind a prompt of ``limit`` tokens or more nothing of it is left.
    """
    head = prompt_ids(tokenizer, prompt, system)
    return Encoded((head + response_ids(tokenizer, response))[:limit], min(len(head), limit))
