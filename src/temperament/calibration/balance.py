"""Checks that the two poles of a contrast differ in what they say, not in length, negation or repeated wording.

A calibration set whose poles differ in surface form teaches surface form. The checks are deliberately
crude: a rule as simple as "count the words" or "look for *not*" must be unable to tell the poles apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import mannwhitneyu

_WORD = re.compile(r"[a-z']+")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nothing|nobody|nowhere|neither|nor|without|hardly|barely|rarely|seldom|cannot)\b|n't\b"
)


def words(text: str) -> list[str]:
    """Lower-case words of ``text``; typographic apostrophes count as plain ones."""
    return _WORD.findall(text.lower().replace("’", "'"))


def is_negated(text: str) -> bool:
    """Whether the text holds a negating word (*not*, *n't*, *never*, *without*, *hardly* ...)."""
    return _NEGATION.search(text.lower().replace("’", "'")) is not None


@dataclass(frozen=True)
class Balance:
    """How well crude surface rules separate two poles.

    ``length_auc`` and ``negation_auc`` are ROC AUCs of the rules "more words" and "contains a negation"
    for telling the plus pole from the minus pole; .5 means the rule knows nothing.
    """

    length_auc: float
    negation_auc: float
    mean_words: tuple[float, float]
    negated_share: tuple[float, float]


def _auc(plus: Sequence[float], minus: Sequence[float]) -> float:
    return float(mannwhitneyu(plus, minus).statistic) / (len(plus) * len(minus))


def balance(plus: Sequence[str], minus: Sequence[str]) -> Balance:
    """Measure how far length and negation give the pole away."""
    lengths = [[float(len(words(text))) for text in pole] for pole in (plus, minus)]
    negated = [[float(is_negated(text)) for text in pole] for pole in (plus, minus)]
    return Balance(
        length_auc=_auc(lengths[0], lengths[1]),
        negation_auc=_auc(negated[0], negated[1]),
        mean_words=(sum(lengths[0]) / len(plus), sum(lengths[1]) / len(minus)),
        negated_share=(sum(negated[0]) / len(plus), sum(negated[1]) / len(minus)),
    )


def repeated_runs(texts: Iterable[str], *, length: int = 5, limit: int = 3) -> dict[str, int]:
    """Word runs of ``length`` that occur more than ``limit`` times over all texts, with their counts."""
    counts: Counter[str] = Counter()
    for text in texts:
        tokens = words(text)
        counts.update(" ".join(tokens[i : i + length]) for i in range(len(tokens) - length + 1))
    return {run: count for run, count in counts.items() if count > limit}


def repeated_frames(texts: Iterable[str], *, length: int = 3, limit: int = 3) -> dict[str, int]:
    """Sentence openings of ``length`` words shared by more than ``limit`` texts, with their counts."""
    counts = Counter(" ".join(words(text)[:length]) for text in texts)
    return {frame: count for frame, count in counts.items() if count > limit}
