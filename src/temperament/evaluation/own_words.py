"""``own_words``: whether a persona makes its own pole's statements likelier, or only the other pole's less likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.instrument import Record
from temperament.evaluation.statements import statement_arrays


def own_words(plus: Sequence[Record], minus: Sequence[Record], base: Sequence[Record], *, seed: int) -> Measured:
    """Mean change of log-probability, worn against unworn, of high statements under plus and low ones under minus.

    In nats per token, each pole weighing one half. Separation alone cannot tell a persona from an edit that forbids
    the other pole's words and harms its own as well: there this is below 0. ``extra`` has both poles, and in
    ``other_words`` the same for the statements of the opposite pole.
    """
    (high, low), (high_minus, low_minus) = statement_arrays(plus), statement_arrays(minus)
    high_base, low_base = statement_arrays(base)
    own = (high - high_base, low_minus - low_base)
    other = (low - low_base, high_minus - high_base)
    extra: dict[str, Any] = {
        "plus": float(own[0].mean()),
        "minus": float(own[1].mean()),
        "other_words": float(_mean(*other)),
    }
    return measured(own, _mean, seed=seed, extra=extra)


def _mean(first: Array, second: Array, axis: int = -1) -> Any:
    return (np.mean(first, axis=axis) + np.mean(second, axis=axis)) / 2
