"""Two personas beside their random controls, and which layers and modules tell them apart best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from temperament.analyze.hidden_states import Apart, Band
from temperament.personas.overlap import Overlap

By = Literal["layers", "modules", "linears"]
BY: tuple[By, ...] = ("layers", "modules", "linears")


@dataclass(frozen=True)
class RandomPair:
    """The random control of a pair: as many edits chosen without meaning; ``base`` compares each pole to unworn."""

    overlap: Overlap
    apart: Apart | None
    base: tuple[Band, Band] | None


@dataclass(frozen=True)
class PersonaPair:
    """Two personas: what they share, and how far apart what the model computes is where there were texts.

    ``opposite`` says that they are the poles of one extraction, plus first. ``why`` says why such a pair has no random
    control.
    """

    first: str
    second: str
    opposite: bool
    overlap: Overlap
    apart: Apart | None = None
    random: tuple[RandomPair, ...] = ()
    why: str | None = None

    @property
    def name(self) -> str:
        return f"{self.first} / {self.second}"


@dataclass(frozen=True)
class Separating:
    """One layer, kind of module or Linear of a pair.

    ``share`` of its weights differ, ``chance`` is what independent edits of the same size give. ``distance`` is how far
    apart the mean hidden states behind a layer are, or (the mean over) a Linear's mean outputs, relative to the unworn
    model's. Both for the pair and for its random controls (their mean); None where there were no texts or no control.
    """

    name: str
    share: float
    chance: float
    distance: float | None
    random_share: float | None
    random_distance: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def separating(pair: PersonaPair, depth: int, by: By) -> list[Separating]:
    """All places of one kind, those that tell the two apart best first: by distance, or by share without texts."""
    chosen: dict[str, dict[str, Any]]
    if by == "layers":
        chosen = {f"layer {layer}": {"layer": layer} for layer in range(depth)}
    elif by == "modules":
        chosen = {kind: {"kind": kind} for kind in pair.overlap.kinds}
    else:
        sites = pair.overlap.linears
        chosen = {f"layer {site.layer} {site.kind}": {"layer": site.layer, "kind": site.kind} for site in sites}

    def distance(found: Apart | None, where: dict[str, Any]) -> float | None:
        if found is None:
            return None
        if by == "layers":
            return float(found.distance.value[where["layer"]])
        own = [
            found.outputs[linear.name]
            for linear in pair.overlap.linears
            if all(getattr(linear, key) == wanted for key, wanted in where.items())
        ]
        return float(np.mean(own))

    places = [
        Separating(
            name,
            pair.overlap.ratio(**where),
            pair.overlap.by_chance.ratio(**where),
            distance(pair.apart, where),
            _mean([control.overlap.ratio(**where) for control in pair.random]),
            _mean([distance(control.apart, where) for control in pair.random]),
        )
        for name, where in chosen.items()
    ]
    return sorted(places, key=lambda place: -(place.share if place.distance is None else place.distance))


def _mean(values: list[float] | list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
