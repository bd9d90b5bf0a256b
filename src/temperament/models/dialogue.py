"""How a question, an optional system prompt and a response become tokens, with or without a chat template."""

from __future__ import annotations

from dataclasses import dataclass

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


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str | None = None) -> list[int]:
    """Tokens up to the point where the assistant's answer begins.

    With a chat template the template is used; a template that refuses a system message gets it at the head of
    the user's turn. Without one (base models) the form is a plain ``Question: … Answer:``.
    """
    if not tokenizer.chat_template:
        head = f"{system}\n\n" if system else ""
        return list(tokenizer(f"{head}Question: {prompt}\nAnswer:").input_ids)
    try:
        return _templated(tokenizer, _messages(prompt, system))
    except TemplateError:
        if not system:
            raise
        return _templated(tokenizer, _messages(f"{system}\n\n{prompt}", None))


def _templated(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    # enable_thinking is read by templates of reasoning models (Qwen3) and ignored by all others.
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    return list(tokenizer(text, add_special_tokens=False).input_ids)  # type: ignore[arg-type]


def response_ids(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """Tokens of a response as it stands behind the prompt; the plain form puts a space before it."""
    text = response if tokenizer.chat_template else f" {response}"
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, system: str | None, limit: int) -> Encoded:
    """Prompt and response as one sequence of at most ``limit`` tokens; too long a response loses its end."""
    head = prompt_ids(tokenizer, prompt, system)
    return Encoded(tuple((head + response_ids(tokenizer, response))[:limit]), len(head))
