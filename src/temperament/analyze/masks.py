"""What masks and subnetworks have in common and where they act, each figure beside chance and a random pair (PS §3.4).

Static figures come from the edits alone: differential ratio (PS Table 2) and Jaccard index (PS Table 13). With texts,
hidden states are compared layer by layer (PS Table 3) and the output of every Linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

from temperament.analyze.gated import check_gated, gates, is_pair, random_fault
from temperament.analyze.hidden_states import Apart, Band, Hidden, against_base, apart, hidden_states
from temperament.analyze.separating import BY, PersonaPair, RandomPair, separating
from temperament.calibration import Example
from temperament.errors import TemperamentError
from temperament.evaluation.controls import random_pair
from temperament.evaluation.ledger import Progress
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, Persona, Plan
from temperament.personas.overlap import Overlap, overlaps
from temperament.signatures.collect import Progress as Steps
from temperament.wear import wear


@dataclass(frozen=True)
class MaskAnalysis:
    """The analysis of some personas of one model; ``base`` compares each with the unworn model.

    ``kept`` says which Jaccard index is meant in tables and figures: that of kept entries, as in the paper, where all
    are masks; of edited entries where there are subnetworks, which keep nearly everything.
    """

    model: str
    depth: int
    personas: Mapping[str, Mapping[str, Any]]
    kept: bool
    pairs: tuple[PersonaPair, ...]
    base: Mapping[str, Band]
    texts: int

    @property
    def opposites(self) -> tuple[PersonaPair, ...]:
        """The pairs to look at closely: opposite poles, or the first pair where there are none."""
        return tuple(pair for pair in self.pairs if pair.opposite) or self.pairs[:1]

    @property
    def compared(self) -> str:
        """What the Jaccard index shown is one of."""
        return "entries kept" if self.kept else "weights edited"

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "personas": dict(self.personas),
            "jaccard_shown": "kept" if self.kept else "edited",
            "texts": self.texts,
            "cosine_with_base": {name: band.as_json() for name, band in self.base.items()},
            "pairs": [_pair_json(pair, self.depth) for pair in self.pairs],
        }


def analyze_masks(
    lm: LoadedModel,
    personas: Mapping[str, Persona],
    examples: Sequence[Example] = (),
    *,
    strengths: Mapping[str, float] | None = None,
    seeds: Sequence[int] = (0,),
    progress: Progress | None = None,
) -> MaskAnalysis:
    """Compare two or more mask or subnetwork personas, given by the labels they are shown under.

    Without ``examples`` nothing is run through the model. Every opposite pair gets a random control for each of
    ``seeds``, where one can be made: subnetworks need ``Persona.signatures`` for theirs. ``strengths`` are those worn,
    1 where none is given.
    """
    if len(personas) < 2:
        raise TemperamentError("one persona has nothing to be compared with", "give two or more")
    for persona in personas.values():
        check_gated(lm, persona)
    names, edits = list(personas), list(personas.values())
    order = [_ordered(edits, *pair) for pair in combinations(range(len(edits)), 2)]
    found = overlaps(lm, [gates(persona).kept(lm) for persona in edits], order)
    doses = {name: (strengths or {}).get(name, 1.0) for name in names}
    run = _Runs(lm, examples, progress)
    base = run("unworn", None, 1.0)
    states = {name: run(name, persona, doses[name]) for name, persona in personas.items()}

    def between(first: Hidden | None, second: Hidden | None) -> Apart | None:
        return apart(first, second, base) if first and second and base else None

    pairs = []
    for (i, j), overlap in zip(order, found, strict=True):
        opposite = is_pair(edits[i], edits[j])
        why = random_fault(edits[i]) if opposite else None
        random = []
        for seed in seeds if opposite and not why else ():
            poles = random_pair(lm, edits[i], edits[j], seed, edits[i].signatures)
            (own,) = overlaps(lm, [gates(pole).kept(lm) for pole in poles], [(0, 1)])
            first, second = (
                run(f"random-{seed} of {names[index]}", pole, doses[names[index]])
                for index, pole in zip((i, j), poles, strict=True)
            )
            bands = (against_base(first, base), against_base(second, base)) if first and second and base else None
            random.append(RandomPair(own, between(first, second), bands))
        pairs.append(
            PersonaPair(
                names[i],
                names[j],
                opposite,
                overlap,
                between(states[names[i]], states[names[j]]),
                tuple(random),
                why,
            )
        )
    return MaskAnalysis(
        lm.name,
        lm.depth,
        {
            name: _described(persona, doses[name], found, order, index)
            for index, (name, persona) in enumerate(personas.items())
        },
        all(isinstance(persona.edit, MaskEdit) for persona in edits),
        tuple(pairs),
        {name: against_base(state, base) for name, state in states.items() if state and base},
        len(examples),
    )


class _Runs:
    """Runs the texts under one persona after the other; None where there are no texts."""

    def __init__(self, lm: LoadedModel, examples: Sequence[Example], progress: Progress | None) -> None:
        self._lm, self._examples, self._progress = lm, examples, progress

    def __call__(self, label: str, persona: Persona | None, strength: float) -> Hidden | None:
        if not self._examples:
            return None
        steps: Steps | None = partial(self._progress, f"hidden states, {label}") if self._progress else None
        with wear(self._lm, Plan.of(persona, strength)):
            return hidden_states(self._lm, self._examples, steps)


def _ordered(personas: Sequence[Persona], i: int, j: int) -> tuple[int, int]:
    """The plus pole of an opposite pair first."""
    return (j, i) if is_pair(personas[j], personas[i]) else (i, j)


def _described(
    persona: Persona, strength: float, found: Sequence[Overlap], order: Sequence[tuple[int, int]], index: int
) -> dict[str, Any]:
    place, overlap = next((pair.index(index), own) for pair, own in zip(order, found, strict=True) if index in pair)
    count = overlap.edited[place]
    return {
        "kind": persona.kind,
        "pole": persona.pole,
        "method": (persona.provenance.get("method") or {}).get("name"),
        "strength": strength,
        "edited": count,
        "share": count / overlap.size.sum(),
    }


def _pair_json(pair: PersonaPair, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {"first": pair.first, "second": pair.second, "opposite": pair.opposite}
    result |= _static_json(pair.overlap, depth)
    result["by_chance"] = _static_json(pair.overlap.by_chance, depth)
    if pair.apart:
        result["states"] = pair.apart.as_json()
    result["random"] = [
        {
            **_static_json(control.overlap, depth),
            **({"states": control.apart.as_json()} if control.apart else {}),
            **({"cosine_with_base": [band.as_json() for band in control.base]} if control.base else {}),
        }
        for control in pair.random
    ]
    if pair.why:
        result["no_random_control"] = pair.why
    result["separating"] = {by: [place.as_json() for place in separating(pair, depth, by)] for by in BY}
    return result


def _static_json(overlap: Overlap, depth: int) -> dict[str, Any]:
    return {
        "differential_ratio": overlap.ratios,
        "jaccard": {"kept": overlap.jaccard(), "edited": overlap.jaccard(kept=False)},
        "by_layer": {
            part: [overlap.ratio(part=part, layer=layer) for layer in range(depth)] for part in ("attention", "mlp")
        },
        "by_module": {kind: overlap.ratio(kind=kind) for kind in overlap.kinds},
        "by_linear": {
            linear.name: share for linear, share in zip(overlap.linears, overlap.shares.tolist(), strict=True)
        },
    }
