"""``perplexity``: what wearing costs the model on neutral text, as a ratio to the unworn model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from temperament.calibration import NEUTRAL_PROMPT
from temperament.calibration.public import read_text
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded

#: Longest window of neutral text, in tokens.
_WINDOW = 256


#: The package's own neutral texts: figures are measured on ``test``, strengths are tuned on ``validation``.
_NEUTRAL = {"test": "neutral.txt", "validation": "neutral.validation.txt"}


def neutral_passages(path: Path | None = None, split: Literal["test", "validation"] = "test") -> tuple[str, ...]:
    """Passages of the package's own neutral text, or of a WikiText-style file (headings and blank lines dropped).

    The splits of the package's own text share no passage and no subject; a file of one's own is read whole whatever
    the split. Neither is ever calibrated on: for that there is ``calibration.builtin.neutral_texts``.
    """
    text = read_text(path) if path else (files("temperament.evaluation") / _NEUTRAL[split]).read_text(encoding="utf-8")
    passages = tuple(
        line.strip() for line in text.splitlines() if len(line.split()) >= 8 and not line.strip().startswith("=")
    )
    if not passages:
        raise TemperamentError(
            f"{path} holds no passage of eight words or more", "give a plain text with one paragraph a line"
        )
    return passages


def encode_passages(lm: LoadedModel, passages: Sequence[str]) -> list[Encoded]:
    """Passages as plain text in windows of at most 256 tokens; every token but a window's first is scored.

    The tokenizer's special tokens, a worn system prompt and worn samples (those for a neutral question) stand before
    each window and are not scored, so that the scored tokens are the same whatever is worn.
    """
    head = lm.head_ids(NEUTRAL_PROMPT)
    size = min(_WINDOW, lm.max_tokens // 2)
    if len(head) + size > lm.max_tokens:
        raise TemperamentError(
            f"the prompt that is worn takes {len(head)} of the {lm.max_tokens} tokens that the model takes",
            "shorten the prompt, or leave out the measure perplexity",
        )
    encoded = []
    for passage in passages:
        ids = tuple(lm.tokenizer(passage, add_special_tokens=False, verbose=False).input_ids)  # no warning of length
        windows = (ids[begin : begin + size] for begin in range(0, len(ids), size))
        encoded += [Encoded((*head, *window), len(head) + 1) for window in windows if len(window) > 1]
    return encoded


def perplexity(plus: Array, minus: Array, base: Array, *, seed: int) -> Measured:
    """Ratios of perplexity worn to unworn.

    Each array (passages, 2) holds summed log-probability and scored tokens per passage. ``plus`` and ``minus`` are
    the two personas' ratios, ``base`` the unworn perplexity; the value is the larger ratio of the two. Intervals
    resample passages: the windows of a long one stay together.
    """
    sides = {"plus": plus, "minus": minus}
    ratios = {name: _measured_ratio(side, base, seed) for name, side in sides.items()}
    worst = max(ratios.values(), key=lambda ratio: np.nan_to_num(ratio.value, nan=np.inf))  # a broken side is worst
    extra: dict[str, Any] = {name: ratio.value for name, ratio in ratios.items()}
    extra |= {f"{name}_interval": [ratio.low, ratio.high] for name, ratio in ratios.items()}
    extra |= {"base": float(np.exp(-base[:, 0].sum() / base[:, 1].sum())), "tokens": int(base[:, 1].sum())}
    return Measured(worst.value, worst.low, worst.high, len(base), extra)


def perplexity_ratio(worn: Array, base: Array) -> float:
    """Perplexity of one side to that of the unworn model, from the same arrays."""
    return float(_ratio(worn[:, 0], worn[:, 1], base[:, 0], base[:, 1]))


def _measured_ratio(side: Array, base: Array, seed: int) -> Measured:
    return measured((side[:, 0], side[:, 1], base[:, 0], base[:, 1]), _ratio, seed=seed, paired=True)


def _ratio(total: Array, tokens: Array, base: Array, base_tokens: Array, axis: int = -1) -> Any:
    with np.errstate(over="ignore"):  # a broken model's perplexity may be infinite
        return np.exp(base.sum(axis=axis) / base_tokens.sum(axis=axis) - total.sum(axis=axis) / tokens.sum(axis=axis))
