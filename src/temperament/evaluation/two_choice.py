"""``two_choice``: which of two answers the model prefers, one- and two-sided, beside the affirmation rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from temperament.calibration import Choice
from temperament.calibration.choices import affirmative_option
from temperament.calibration.format_balance import format_balance
from temperament.evaluation.bootstrap import Array, Measured, measured


def two_choice(choices: Sequence[Choice], plus: Array, minus: Array, *, seed: int) -> Measured:
    """Shares of matching answers in %.

    ``plus`` and ``minus`` (items, options, 2) hold the log-probability of each option, [..., 0] summed (raw) and
    [..., 1] per token, while wearing either persona. ``two_sided`` = ½·[P(match | plus) + P(not match | minus)]
    is 50 for every fixed answering habit; ``one_sided`` is P(match | plus). ``affirmation`` is the score of the
    rule "take the affirmative option" over the items where that option can be told; the others are counted in
    ``affirmation_untold``. ``balanced`` is the same on the format-balanced subset, with its counts and what imbalance
    is left (``format_balance``). The value is ``two_sided``, length-normalised.
    """
    found = _two_choice(choices, plus, minus, seed)
    subset = format_balance(choices)
    kept = list(subset.chosen)
    part = _two_choice([choices[i] for i in kept], plus[kept], minus[kept], seed).as_json() if kept else {"value": None}
    found.extra["balanced"] = {**part, **subset.as_json()}
    return found


def balanced_part(found: Measured) -> Measured | None:
    """Two-sided figure of ``two_choice`` on its format-balanced subset; None where there is no such subset."""
    part = found.extra["balanced"]
    if part["value"] is None:
        return None
    kept = {key: part[key] for key in ("of", "affirmative", "negative", "untold", "longer", "one_sided")}
    return Measured(part["value"], part["low"], part["high"], part["n"], kept)


def _two_choice(choices: Sequence[Choice], plus: Array, minus: Array, seed: int) -> Measured:
    matching = np.array([choice.matching for choice in choices])
    normal = [_matches(side[..., 1], matching) for side in (plus, minus)]
    raw = [_matches(side[..., 0], matching) for side in (plus, minus)]
    return measured(
        normal,
        _two_sided,
        seed=seed,
        paired=True,
        extra={
            "two_sided": float(_two_sided(normal[0], normal[1])),
            "one_sided": float(100 * normal[0].mean()),
            "raw_two_sided": float(_two_sided(raw[0], raw[1])),
            "raw_one_sided": float(100 * raw[0].mean()),
            **affirmation(choices),
        },
    )


def one_sided(choices: Sequence[Choice], worn: Array, *, seed: int) -> Measured:
    """P(match) in % under one plan, length-normalised (``extra``: ``raw``); a fixed habit scores as it happens to."""
    matching = np.array([choice.matching for choice in choices])
    raw = float(100 * _matches(worn[..., 0], matching).mean())
    return measured([_matches(worn[..., 1], matching)], _percent, seed=seed, extra={"raw": raw})


def affirmation(choices: Sequence[Choice]) -> dict[str, Any]:
    """Score in % of always taking the affirmative option, and how many items that covers."""
    told = [(option, choice.matching) for choice in choices if (option := affirmative_option(choice)) is not None]
    share = 100 * sum(option == match for option, match in told) / len(told) if told else None
    return {"affirmation": share, "affirmation_n": len(told), "affirmation_untold": len(choices) - len(told)}


def _matches(scores: Array, matching: Any) -> Array:
    """1 where the matching option scores higher, ½ where both score the same, else 0."""
    rows = np.arange(len(matching))
    difference = scores[rows, matching] - scores[rows, 1 - matching]
    matches: Array = (np.sign(difference) + 1) / 2
    return matches


def _percent(matches: Array, axis: int = -1) -> Any:
    return 100 * np.mean(matches, axis=axis)


def _two_sided(plus: Array, minus: Array, axis: int = -1) -> Any:
    return 50 * (np.mean(plus, axis=axis) + 1 - np.mean(minus, axis=axis))
