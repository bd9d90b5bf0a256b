"""What a questionnaire's records say, as one plain-JSON value: scores by side, habits, and the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temperament.calibration.builtin import AXES
from temperament.evaluation.axis_types import MIDDLE, type_of
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.instrument import Record
from temperament.evaluation.questionnaire.norms import Norms
from temperament.evaluation.questionnaire.scores import (
    acquiescence,
    consistency,
    domain_scores,
    effects,
    facet_scores,
)


def questionnaire_summary(
    sides: Mapping[str, Sequence[Record]], norms: Norms | None = None, seed: int = 0
) -> dict[str, Any]:
    """Scores of every side (``unworn``, and ``worn`` if anything is), and under ``change`` those of worn − unworn.

    ``acquiescence`` is None where no trait has items of both keys, ``type`` (four letters) unless all four axes have
    items.
    """
    found: dict[str, Any] = {
        "norms": norms.name if norms else None,
        "sides": {name: _side(records, norms, seed) for name, records in sides.items()},
    }
    if "worn" in sides:
        found["change"] = _json(effects(sides["worn"], sides["unworn"], seed))
    return found


def _side(records: Sequence[Record], norms: Norms | None, seed: int) -> dict[str, Any]:
    keys = {(record["domain"], record["key"]) for record in records}
    both = any((trait, 1) in keys and (trait, -1) in keys for trait, _ in keys)
    scores = domain_scores(records, norms, seed)
    typed = all(axis.name in scores for axis in AXES)
    return {
        "traits": _json(scores),
        "type": type_of({axis.name: scores[axis.name].value - MIDDLE for axis in AXES}) if typed else None,
        "facets": facet_scores(records, norms),
        "acquiescence": acquiescence(records, seed).as_json() if both else None,
        "consistency": consistency(records, seed).as_json(),
    }


def _json(figures: Mapping[str, Measured]) -> dict[str, Any]:
    return {name: figure.as_json() for name, figure in figures.items()}
