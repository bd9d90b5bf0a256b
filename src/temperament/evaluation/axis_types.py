"""Sixteen types as signs on four axes: scores and margins of what was measured, and how often it is what was worn.

A score is the mean of one value per item: the keyed answer less 3 (questionnaire), or how much likelier a plus
statement is than a minus statement (statements). Its sign is the measured pole; its margin is the score in the
direction of the intended pole, so that a margin above 0 is a success (PS Fig. 2 and 4, Table 15).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from temperament.calibration.builtin import AXES, Axis
from temperament.calibration.contrast import Pole
from temperament.evaluation.bootstrap import RESAMPLES, Array, Measured, measured
from temperament.evaluation.instrument import Record
from temperament.evaluation.statements import statement_arrays

#: The middle of the questionnaire's scale.
MIDDLE = 3.0
NAMES: tuple[str, ...] = tuple(axis.name for axis in AXES)
#: The sixteen types, such as ``ISTJ``.
TYPES: tuple[str, ...] = tuple("".join(letters) for letters in itertools.product(*(axis.letters for axis in AXES)))
#: Success in % of a fixed type, whatever is worn: it is one of the sixteen, and right on half of the axes.
CHANCE = {"types": 100 / len(TYPES), "axes": 50.0}

#: One value per item of every axis.
Values = Mapping[str, Array]


def poles_of(name: str) -> dict[str, Pole]:
    """The pole of every axis that a type is made of."""
    if name not in TYPES:
        raise ValueError(f"{name!r} is no type")
    return {
        axis.name: "plus" if letter == axis.letters[0] else "minus" for axis, letter in zip(AXES, name, strict=True)
    }


def _lettered(name: str) -> Iterator[tuple[Axis, str]]:
    return zip(AXES, name, strict=True)


def type_of(scores: Mapping[str, float]) -> str:
    """The four letters of scores around 0; ``–`` where one is exactly 0 or no number."""
    letters = []
    for axis in AXES:
        score = scores[axis.name]
        letters.append(axis.letters[0] if score > 0 else axis.letters[1] if score < 0 else "–")
    return "".join(letters)


def questionnaire_values(records: Sequence[Record]) -> dict[str, Array]:
    """The answer of every item towards its axis's plus pole, less the middle: −2 to 2."""

    def toward(row: Record) -> float:  # a broken model gives no number
        return float("nan") if row["expected"] is None else float(row["key"] * (row["expected"] - MIDDLE))

    return {name: np.array([toward(row) for row in records if row["domain"] == name]) for name in NAMES}


def statement_values(records: Mapping[str, Sequence[Record]]) -> dict[str, Array]:
    """Nats per token by which each plus statement of an axis is likelier than the minus statement beside it."""
    found = {}
    for name in NAMES:
        plus, minus = statement_arrays(records[name])
        if len(plus) != len(minus):
            raise ValueError(f"{name} has {len(plus)} plus and {len(minus)} minus statements")
        found[name] = plus - minus
    return found


@dataclass(frozen=True)
class Switch:
    """How far wearing the types switches what is measured.

    ``scores[type][axis]`` is the score less the reference (0, or the unworn score), ``axes`` and ``types`` the shares
    in % of the 64 axes and of the 16 types whose measured poles are the intended ones, ``per_axis`` the same share of
    one axis, and ``effect`` the mean score over the types with the plus pole less that over the others, which no
    constant shift moves. Intervals resample the items of each axis, the same for all types.
    """

    scores: Mapping[str, Mapping[str, float]]
    axes: Measured
    types: Measured
    per_axis: Mapping[str, Measured]
    effect: Mapping[str, Measured]

    def margin(self, name: str, axis: str) -> float:
        """The score of an axis in the direction that the type intends."""
        return self.scores[name][axis] * _sign(name, axis)

    def measured_type(self, name: str) -> str:
        """The type that was measured while ``name`` was worn."""
        return type_of(self.scores[name])

    def as_json(self) -> dict[str, Any]:
        return {
            "axes": self.axes.as_json(),
            "types": self.types.as_json(),
            "per_axis": {axis: share.as_json() for axis, share in self.per_axis.items()},
            "effect": {axis: effect.as_json() for axis, effect in self.effect.items()},
            "by_type": {
                name: {
                    "measured": self.measured_type(name),
                    "scores": dict(scores),
                    "margins": {axis: self.margin(name, axis) for axis in scores},
                }
                for name, scores in self.scores.items()
            },
        }


def switch(worn: Mapping[str, Values], base: Values | None, *, seed: int) -> Switch:
    """Success of the types in ``worn``; with ``base``, what the unworn model gave, scores are changes against it."""
    names = list(worn)
    values = {
        axis: np.stack([worn[name][axis] - (base[axis] if base else 0.0) for name in names]) for axis in NAMES
    }  # (types, items)
    signs = {axis: np.array([_sign(name, axis) for name in names]) for axis in NAMES}
    rng = np.random.default_rng(seed)
    hits, resampled = {}, {}
    for axis, rows in values.items():
        hits[axis] = (rows.mean(1) * signs[axis] > 0).astype(float)
        items = rng.integers(rows.shape[1], size=(RESAMPLES, rows.shape[1]))
        resampled[axis] = (rows[:, items].mean(2) * signs[axis][:, None] > 0).astype(float)  # (types, resamples)
    whole, wholes = np.stack(list(hits.values())), np.stack(list(resampled.values()))  # (axes, types[, resamples])
    return Switch(
        {name: {axis: float(values[axis][row].mean()) for axis in NAMES} for row, name in enumerate(names)},
        _share(whole.mean(), wholes.mean((0, 1)), whole.size),
        _share(whole.all(0).mean(), wholes.all(0).mean(0), len(names)),
        {axis: _share(hits[axis].mean(), resampled[axis].mean(0), len(names)) for axis in NAMES},
        {axis: _effect(values[axis], signs[axis], seed) for axis in NAMES},
    )


def _effect(values: Array, signs: Array, seed: int) -> Measured:
    if abs(signs.sum()) == len(signs):  # fewer than sixteen types may leave a pole out
        return Measured(float("nan"), float("nan"), float("nan"), values.shape[1])
    return measured([values[signs > 0].mean(0) - values[signs < 0].mean(0)], np.mean, seed=seed)


def _share(value: float, resampled: Array, count: int) -> Measured:
    """In %; the interval is widened to hold the share itself, from which resampled signs near 0 stray to one side."""
    low, high = np.percentile(100 * resampled, [2.5, 97.5])
    share = float(100 * value)
    return Measured(share, min(share, float(low)), max(share, float(high)), count)


def _sign(name: str, axis: str) -> int:
    return 1 if poles_of(name)[axis] == "plus" else -1
