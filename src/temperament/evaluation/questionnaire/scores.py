"""Scores from the records of a questionnaire: traits, facets, T, acquiescence, consistency, and effects.

Scores are item means from 1 to 5, 3 the middle; items with key −1 are reversed (6 − answer). A domain whose keys are
out of balance moves with a mere habit of agreeing, so each score is given beside its ``balanced`` form, the mean of
the two keys' means, on which no constant answer has any influence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from temperament.calibration.items import SCALES
from temperament.calibration.questionnaire_items import find_domain
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.instrument import Record
from temperament.evaluation.questionnaire.norms import Norms

Records = Sequence[Record]


def keyed(record: Record) -> float:
    """The expected answer in the trait's direction, 1–5."""
    return float(record["expected"] if record["key"] > 0 else 6 - record["expected"])


def domain_scores(records: Records, norms: Norms | None = None, seed: int = 0) -> dict[str, Measured]:
    """Score 1–5 of every trait or axis that has items, with its interval over items.

    ``extra``: ``balanced`` (None without items of both keys), ``t`` (None without norms or where items are missing)
    and the number of items per key.
    """
    found = {}
    for trait in SCALES:
        own = [record for record in records if record["domain"] == trait]
        if own:
            value = float(_values(own).mean())
            extra = {
                "balanced": _balanced(own),
                "t": norms.t(trait, value, len(own)) if norms else None,
                "items": {"plus": len(_of_key(own, 1)), "minus": len(_of_key(own, -1))},
            }
            found[trait] = measured([_values(own)], np.mean, seed=seed, extra=extra)
    return found


def facet_scores(records: Records, norms: Norms | None = None) -> dict[str, dict[str, Any]]:
    """Score 1–5, T and number of items of every facet, in the order of its code; none where items name no facet."""
    found = {}
    for facet in sorted({record["facet"] for record in records} - {""}):
        own = [record for record in records if record["facet"] == facet]
        value = float(_values(own).mean())
        found[facet] = {"value": value, "t": norms.t(facet, value, len(own)) if norms else None, "n": len(own)}
    return found


def acquiescence(records: Records, seed: int = 0) -> Measured:
    """Mean raw agreement over + and − keyed items: 3 for no habit, 5 for always agreeing.

    Both keys of a trait weigh the same and so do traits: a trait answered high or low leaves the index at 3. Traits
    without items of both keys are left out; an error if that leaves none.
    """
    samples = []
    for trait in SCALES:
        pair = [_raw([record for record in records if record["domain"] == trait], key) for key in (1, -1)]
        if all(len(sample) for sample in pair):
            samples += pair
    if not samples:
        raise TemperamentError("no trait has items of both keys", "acquiescence needs agreement with opposite items")
    return measured(samples, _mean_of_means, seed=seed, extra={"traits": len(samples) // 2})


def consistency(records: Records, seed: int = 0) -> Measured:
    """Mean over items of the standard deviation of the expected answer over presentations; 0 is full consistency.

    ``extra``: ``order_gap``, the mean |ascending − descending|; ``argmax_agreement``, the share of items whose
    likeliest answer is the same in both orders of every wording; ``mass``, the mean probability of any label.
    """
    _some(records)
    spreads = np.array([np.std([row["expected"] for row in record["presentations"].values()]) for record in records])
    gaps, same = [], []
    for record in records:
        rows = record["presentations"]
        pairs = [(rows[name], rows[other]) for name in rows if (other := _other_order(name)) in rows]
        gaps += [abs(first["expected"] - second["expected"]) for first, second in pairs]
        same += [all(first["argmax"] == second["argmax"] for first, second in pairs)] if pairs else []
    extra = {
        "order_gap": float(np.mean(gaps)) if gaps else None,
        "argmax_agreement": float(np.mean(same)) if same else None,
        "mass": float(np.mean([record["mass"] for record in records])),
    }
    return measured([spreads], np.mean, seed=seed, extra=extra)


def effect(first: Records, second: Records, domain: str, seed: int = 0) -> Measured:
    """Score of ``domain`` in the first records minus the second, from −4 to 4, its interval paired over items.

    Plus and minus records give the effect of a pair, worn and unworn ones that of one plan. ``extra``: ``balanced``,
    the same difference of balanced scores, which a changed habit of agreeing leaves at 0.
    """
    trait = find_domain(domain)
    sides = [[record for record in records if record["domain"] == trait] for records in (first, second)]
    _some(sides[0])
    identities = [[(record["item"], record["text"], record["key"]) for record in side] for side in sides]
    if identities[0] != identities[1]:
        raise TemperamentError(f"the two sides' items of {trait} differ", "put the same questionnaire to both")
    pair = [_balanced(side) for side in sides]
    balanced = None if pair[0] is None or pair[1] is None else pair[0] - pair[1]
    return measured(
        [_values(sides[0]), _values(sides[1])], _difference, seed=seed, paired=True, extra={"balanced": balanced}
    )


def effects(first: Records, second: Records, seed: int = 0) -> dict[str, Measured]:
    """The effect on every trait that has items: one row of the matrix of specificity."""
    present = {record["domain"] for record in (*first, *second)}
    return {trait: effect(first, second, trait, seed) for trait in SCALES if trait in present}


def _values(records: Records) -> Array:
    return np.array([keyed(record) for record in records])


def _of_key(records: Records, key: int) -> list[Record]:
    return [record for record in records if record["key"] == key]


def _raw(records: Records, key: int) -> Array:
    return np.array([record["expected"] for record in _of_key(records, key)], dtype=float)


def _balanced(records: Records) -> float | None:
    plus, minus = _of_key(records, 1), _of_key(records, -1)
    return float((_values(plus).mean() + _values(minus).mean()) / 2) if plus and minus else None


def _mean_of_means(*samples: Array, axis: int = -1) -> Any:
    return sum(np.mean(sample, axis=axis) for sample in samples) / len(samples)


def _difference(first: Array, second: Array, axis: int = -1) -> Any:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def _other_order(name: str) -> str | None:
    return name.removesuffix("-ascending") + "-descending" if name.endswith("-ascending") else None


def _some(records: Records) -> None:
    if not records:
        raise TemperamentError("there are no records to score", "put a questionnaire with such items to the model")
