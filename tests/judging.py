"""What tests of judges and free answers share: a stub encoder, made-up texts of two poles, a model with one answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from temperament.models import LoadedModel

PLUS, MINUS = ("loud", "party", "crowd"), ("quiet", "book", "alone")
_FILLER = ("the", "day", "walk", "tea", "street", "bus", "garden", "work", "lamp", "rain")


def stub_embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Sum of one fixed random direction per word, (texts, 48), norm 1."""
    rows = [sum((_direction(word) for word in text.lower().split()), np.zeros(48)) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


@cache
def _direction(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.strip(".,").encode()).digest()[:4], "big")
    return np.random.default_rng(seed).normal(size=48)


def made_texts(words: Sequence[str], count: int, seed: int) -> list[str]:
    """``count`` different texts of six filler words, each with one of ``words`` where there are any."""
    rng = np.random.default_rng(seed)
    return [
        " ".join([*rng.choice(_FILLER, 6), *([str(rng.choice(list(words)))] if words else []), f"n{seed}x{index}"])
        for index in range(count)
    ]


@contextmanager
def always_writing(lm: LoadedModel, text: str) -> Iterator[None]:
    """Whatever comes before, ``lm`` (byte tokenizer) writes ``text`` and the end token, then anything."""
    script = [*lm.tokenizer(text, add_special_tokens=False).input_ids, lm.tokenizer.eos_token_id]
    place = 0

    def begin(*_: object) -> None:
        nonlocal place
        place = -1

    def write(_: object, __: object, output: object) -> None:
        nonlocal place
        place += 1
        logits: torch.Tensor = output.logits  # type: ignore[attr-defined]
        logits[:, -1] = -100.0
        logits[:, -1, script[min(place, len(script) - 1)]] = 100.0

    real = lm.model.generate

    def generate(*args: object, **settings: object) -> object:
        begin()
        return real(*args, **settings)  # type: ignore[operator]

    hook = lm.model.register_forward_hook(write)
    lm.model.generate = generate  # type: ignore[assignment]
    try:
        yield
    finally:
        hook.remove()
        del lm.model.generate
