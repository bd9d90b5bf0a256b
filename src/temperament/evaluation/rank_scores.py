"""What rankings say: mean ranks, first places, pairwise wins and whether judges agree, each beside its chance level."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.ranking import Rankings

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RankScores:
    """Figures of a ranking; intervals are over items, each item being the mean of its judges.

    ``mean_rank`` (1 = always first), ``first`` (% of first places, shared by ties) and ``wins`` ((a, b): % of
    comparisons that a wins, ties half) by method. ``concordance`` is Kendall's W of the items on the methods: 1, they
    all rank them alike. ``agreement`` is the mean over items of Kendall's W of the judges on the answers, None with
    fewer than two. ``extra["chance"]`` is what rankings at random give on average. ``missing``: incomplete rows.
    """

    mean_rank: dict[str, Measured]
    first: dict[str, Measured]
    wins: dict[tuple[str, str], Measured]
    concordance: Measured
    agreement: Measured | None
    missing: dict[str, int]
    items: int
    criterion: str

    def as_json(self) -> dict[str, Any]:
        return {
            "criterion": self.criterion,
            "items": self.items,
            "mean_rank": {name: figure.as_json() for name, figure in self.mean_rank.items()},
            "first": {name: figure.as_json() for name, figure in self.first.items()},
            "wins": [{"method": a, "over": b, **figure.as_json()} for (a, b), figure in self.wins.items()],
            "concordance": self.concordance.as_json(),
            "agreement": self.agreement.as_json() if self.agreement else None,
            "missing": self.missing,
        }


def score_rankings(rankings: Rankings, *, seed: int = 0) -> RankScores:
    """Scores over the items that at least one judge ranked completely."""
    ranked: Mask = np.isfinite(rankings.ranks.sum(axis=2))  # (judges, items)
    used = ranked.any(axis=0)
    if not used.any():
        raise TemperamentError("no row of any sheet is ranked completely", "fill in every rank of a row")
    ranks, ranked = rankings.ranks[:, used], ranked[:, used]
    names, count = rankings.methods, len(rankings.methods)
    item_ranks = _over_judges(ranks)
    best: Mask = np.equal(ranks, np.min(ranks, axis=2, keepdims=True))
    first = _over_judges(
        np.where(ranked[..., None], 100 * best / np.maximum(best.sum(axis=2, keepdims=True), 1), np.nan)
    )
    wins = {}
    for a, b in combinations(range(count), 2):
        won = 50 * (1 + np.sign(ranks[..., b] - ranks[..., a]))
        wins[names[a], names[b]] = _mean(_over_judges(won), seed, 50.0)
    return RankScores(
        {name: _mean(item_ranks[:, at], seed, (count + 1) / 2) for at, name in enumerate(names)},
        {name: _mean(first[:, at], seed, 100 / count) for at, name in enumerate(names)},
        wins,
        _concordance(item_ranks, seed),
        _agreement(ranks, ranked, seed),
        rankings.missing,
        int(used.sum()),
        rankings.criterion,
    )


def kendalls_w(ranks: Array) -> float:
    """Kendall's coefficient of concordance of mid-ranks (rankers, objects), corrected for ties; nan if all tie."""
    return float(_w(*ranks.T, _ties(ranks)))


def _ties(ranks: Array) -> Array:
    """Σ(t³ − t) over the groups of equal ranks, by ranker."""
    groups = (np.unique(row, return_counts=True)[1] for row in ranks)
    return np.array([float((sizes**3 - sizes).sum()) for sizes in groups])


def _w(*samples: Array, axis: int = -1) -> Any:
    """W from the ranks of each object, and the tie terms last, over rankers along ``axis``."""
    *objects, ties = samples
    rankers, count = ties.shape[axis], len(objects)
    sums = np.stack([np.sum(own, axis=axis) for own in objects])
    spread = ((sums - rankers * (count + 1) / 2) ** 2).sum(axis=0)
    whole = rankers**2 * (count**3 - count) - rankers * np.sum(ties, axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, 12 * spread / whole, np.nan)


def _concordance(item_ranks: Array, seed: int) -> Measured:
    """Of items with one ranking each: that of their judges' mean ranks."""
    rows = np.stack([rankdata(row, method="average") for row in item_ranks])
    extra = {"chance": 1 / len(rows)}
    if np.isnan(kendalls_w(rows)):
        return Measured(float("nan"), float("nan"), float("nan"), len(rows), extra)
    return measured([*rows.T, _ties(rows)], _w, seed=seed, paired=True, extra=extra)


def _agreement(ranks: Array, ranked: Mask, seed: int) -> Measured | None:
    """Mean W over the items that several judges ranked; items on which every judge ties all answers have none."""
    found: list[tuple[float, float]] = []
    for item in range(ranks.shape[1]):
        rows = ranks[ranked[:, item], item]
        if len(rows) > 1:
            found.append((kendalls_w(rows), 1 / len(rows)))
    known = [pair for pair in found if not np.isnan(pair[0])]
    if not known:
        return None
    values, chance = np.array(known).T
    return _mean(values, seed, float(chance.mean()))


def _over_judges(values: Array) -> Array:
    """Mean over the judges that ranked an item: (judges, items, ...) to (items, ...)."""
    mean: Array = np.nanmean(values, axis=0)
    return mean


def _mean(values: Array, seed: int, chance: float) -> Measured:
    return measured([values], np.mean, seed=seed, extra={"chance": chance})
