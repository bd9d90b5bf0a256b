"""Mixtures by weight: is what each persona does graded, and can it be told from the two ends?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from temperament.calibration import Contrast
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import neutral_passages, perplexity_ratio
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan, mix
from temperament.personas.mix import By, Rule


@dataclass(frozen=True)
class Step:
    """A mixture of ``weight`` of the first persona and the rest of the second.

    ``gains`` are by trait, in nats per token towards the persona's pole, against the unworn model; ``perplexity`` is
    the ratio to it.
    """

    weight: float
    gains: Mapping[str, Measured]
    perplexity: float


@dataclass(frozen=True)
class MixtureCurve:
    """Gains of both personas' traits by weight; the trait of the first persona comes first."""

    rule: str
    names: tuple[str, str]
    traits: tuple[str, str]
    steps: tuple[Step, ...]

    def line(self, trait: str, weight: float) -> float:
        """What the straight line between the two ends foretells."""
        first, last = self.steps[0].gains[trait].value, self.steps[-1].gains[trait].value
        return first + weight * (last - first)

    def miss(self, trait: str) -> float:
        """Largest distance of a mixture from that line, as a share of the distance between the ends."""
        span = abs(self.steps[-1].gains[trait].value - self.steps[0].gains[trait].value)
        furthest = max(abs(step.gains[trait].value - self.line(trait, step.weight)) for step in self.steps)
        return furthest / span if span else float("nan")

    def graded(self, trait: str) -> bool:
        """Whether every step goes the way the two ends point."""
        values = [step.gains[trait].value for step in self.steps]
        changes = [(after - before) * (values[-1] - values[0]) for before, after in pairwise(values)]
        return all(change > 0 for change in changes)

    def as_json(self) -> dict[str, Any]:
        steps = [
            {
                "weight": step.weight,
                "perplexity": step.perplexity,
                "gains": {trait: gain.as_json() for trait, gain in step.gains.items()},
            }
            for step in self.steps
        ]
        told = {trait: {"graded": self.graded(trait), "miss": self.miss(trait)} for trait in self.traits}
        return {"rule": self.rule, "personas": list(self.names), "steps": steps, "traits": told}


def mixture_curve(
    ledger: Ledger,
    lm: LoadedModel,
    personas: tuple[Persona, Persona],
    texts: tuple[Contrast, Contrast],
    weights: Sequence[float],
    *,
    rule: Rule = "rank",
    by: By = "magnitude",
    strength: float = 1.0,
    seed: int = 0,
) -> MixtureCurve:
    """Measure mixtures at ``weights`` from 0 (the second persona alone) to 1 (the first).

    ``texts`` hold statements on the trait of each persona. Parts that are no masks have ``strength`` times the weight.
    """
    if list(weights) != sorted(set(weights)) or weights[0] != 0 or weights[-1] != 1:
        raise TemperamentError(f"weights {list(weights)}", "give them in order, from 0 to 1")
    traits = {_label(text, texts): Statements(text, f"statements-{_label(text, texts)}") for text in texts}
    if len(traits) != 2:
        raise TemperamentError("both personas are measured on the same texts", "name the texts of two traits")
    passages = Passages(neutral_passages())
    base = ledger.run_all([passages, *traits.values()], Plan(), "unworn")
    steps = []
    for weight in weights:
        parts = [(persona, share) for persona, share in zip(personas, (weight, 1 - weight), strict=True) if share]
        mixed = mix(lm, Plan(tuple((persona, round(share * strength, 6)) for persona, share in parts)), rule, by=by)
        records = ledger.run_all([passages, *traits.values()], Plan.of(mixed), f"mix-{weight:g}")
        gains = {}
        for trait, persona, worn, plain in zip(traits, personas, records[1:], base[1:], strict=True):
            sides = (worn, plain) if persona.pole == "plus" else (plain, worn)
            gains[trait] = separation(*statement_changes(*sides), seed=seed)
        steps.append(Step(weight, gains, perplexity_ratio(passage_array(records[0]), passage_array(base[0]))))
    first, second = traits
    return MixtureCurve(rule, (personas[0].name, personas[1].name), (first, second), tuple(steps))


def _label(text: Contrast, texts: Sequence[Contrast]) -> str:
    """The name of the texts, without what both paths share."""
    name = text.name.rpartition("/")[2]
    return text.name if sum(other.name.rpartition("/")[2] == name for other in texts) > 1 else name
