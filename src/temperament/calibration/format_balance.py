"""Format-balanced two-choice tests: a subset on which saying yes and taking the longer answer score 50 %.

In many published tests the matching answer is usually the affirmative one, so that a persona and a readiness to agree
score the same. The largest subset is taken in which as many matching answers are affirmative as negative, and in which
answers that are longer than their rival by about as many words match as often as not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from temperament.calibration.balance import words
from temperament.calibration.choices import affirmative_option
from temperament.calibration.contrast import Choice

#: Upper ends of the bins of |difference in words|; answers of equal length need no counterpart.
_BINS = (1, 2, 4, 8, 16, 10**9)

#: (1 affirmative, −1 negative, 0 untold; bin of the difference; 1 the matching answer is longer, −1 shorter, 0 neither)
Cell = tuple[int, int, int]


@dataclass(frozen=True)
class FormatBalance:
    """Positions of the chosen items in ascending order, of how many, and what imbalance is left.

    ``affirmative`` and ``negative`` count items whose matching answer says yes or no, ``untold`` those of which that
    cannot be told; they stay in, and a hidden habit may be among them. ``longer`` is the score in % of taking the
    longer answer (ties half), ``mean_words`` are those of matching and of other answers.
    """

    chosen: tuple[int, ...]
    total: int
    affirmative: int
    negative: int
    untold: int
    longer: float | None
    mean_words: tuple[float, float] | None

    @property
    def complete(self) -> bool:
        """Whether the test was balanced as it stood."""
        return len(self.chosen) == self.total

    def as_json(self) -> dict[str, Any]:
        return {
            "n": len(self.chosen),
            "of": self.total,
            "affirmative": self.affirmative,
            "negative": self.negative,
            "untold": self.untold,
            "longer": self.longer,
            "mean_words": list(self.mean_words) if self.mean_words else None,
        }


def format_balance(choices: Sequence[Choice]) -> FormatBalance:
    """The largest balanced subset; which items of equal form are taken depends on the hash of their text alone."""
    cells: dict[Cell, list[int]] = {}
    for position, choice in enumerate(choices):
        cells.setdefault(_cell(choice), []).append(position)
    chosen: list[int] = []
    for cell, count in _counts({cell: len(own) for cell, own in cells.items()}).items():
        ordered = sorted(cells[cell], key=lambda position: hashlib.sha256(choices[position].text.encode()).digest())
        chosen += ordered[:count]
    chosen.sort()
    return _described(choices, chosen)


def _cell(choice: Choice) -> Cell:
    option = affirmative_option(choice)
    polarity = 0 if option is None else 1 if option == choice.matching else -1
    difference = _lengths(choice)[0] - _lengths(choice)[1]
    place = next(index for index, end in enumerate(_BINS) if abs(difference) <= end)
    return polarity, place if difference else -1, int(np.sign(difference))


def _counts(sizes: dict[Cell, int]) -> dict[Cell, int]:
    """How many items of every cell, as many as possible: an integer programme over at most 39 cells.

    A preference of a thousandth for cells in a fixed order settles which of several largest answers it is.
    """
    cells = sorted(sizes)
    if not cells:
        return {}
    rows = [[polarity for polarity, _, _ in cells]]
    rows += [[sign if own == place else 0 for _, own, sign in cells] for place in range(len(_BINS))]
    limits = [sizes[cell] for cell in cells]
    preference = 1e-3 * np.arange(len(cells)) / (len(cells) * max(1, sum(limits)))
    found = milp(
        preference - 1,
        constraints=LinearConstraint(np.array(rows, dtype=float), 0, 0),
        integrality=np.ones(len(cells)),
        bounds=Bounds(0, np.array(limits, dtype=float)),
    )
    return {cell: round(count) for cell, count in zip(cells, found.x, strict=True)}


def _lengths(choice: Choice) -> tuple[int, int]:
    """Words of the matching and of the other answer."""
    return len(words(choice.options[choice.matching])), len(words(choice.options[1 - choice.matching]))


def _described(choices: Sequence[Choice], chosen: Sequence[int]) -> FormatBalance:
    kept = [choices[position] for position in chosen]
    polarity = [_cell(choice)[0] for choice in kept]
    lengths = np.array([_lengths(choice) for choice in kept], dtype=float).reshape(-1, 2)
    signs = np.sign(lengths[:, 0] - lengths[:, 1])
    return FormatBalance(
        tuple(chosen),
        len(choices),
        polarity.count(1),
        polarity.count(-1),
        polarity.count(0),
        float(50 * (1 + signs.mean())) if kept else None,
        (float(lengths[:, 0].mean()), float(lengths[:, 1].mean())) if kept else None,
    )
