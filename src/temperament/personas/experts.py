"""Experts that the texts hardly reach: they stay as they are, in both poles, and are named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.methods.experts import ExpertParameters
from temperament.models import LoadedModel
from temperament.personas.kind import Origin
from temperament.signatures import SaliencyPair, SignaturePair


@dataclass(frozen=True)
class Experts:
    """How many counted tokens of either pole reached each expert, and below how many it counts as rarely seen."""

    tokens: dict[str, dict[Pole, int]]
    least: int

    @property
    def rare(self) -> tuple[str, ...]:
        """Experts that see fewer tokens than ``least`` of either pole, in block order."""
        return tuple(name for name, seen in self.tokens.items() if min(seen.values()) < self.least)

    def as_json(self) -> dict[str, Any]:
        """What a report and a persona file say; ``tokens`` are the fewest and the most that an expert saw of a pole."""
        counts = {pole: [seen[pole] for seen in self.tokens.values()] for pole in POLES}
        return {
            "of": len(self.tokens),
            "least_tokens": self.least,
            "unmasked": list(self.rare),
            "tokens": {str(pole): [min(values), max(values)] for pole, values in counts.items()},
        }


def seen_experts(lm: LoadedModel, pair: SignaturePair | SaliencyPair, parameters: ExpertParameters) -> Experts | None:
    """What the texts of a pair showed each expert; None for a model without experts."""
    tokens: dict[str, dict[Pole, int]] = {}
    for site in lm.inputs:
        if site.expert is None or site.expert in tokens:
            continue
        if isinstance(pair, SaliencyPair):
            if not pair.covers(site.linears[:1]):
                continue
            tokens[site.expert] = {pole: pair.seen_in(site.linears[0], pole) for pole in POLES}
        else:
            tokens[site.expert] = {pole: pair.seen_at(site.offset, pole) for pole in POLES}
    return Experts(tokens, parameters.least) if tokens else None


def with_experts(origin: Origin, experts: Experts | None) -> Origin:
    """The provenance of both poles, with what was left unmasked and why."""
    if experts is None:
        return origin
    return {pole: {**facts, "experts": experts.as_json()} for pole, facts in origin.items()}
