"""The sixteen types worn as compositions of four axis personas, and how often the type worn is the one measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from temperament.calibration import resolve_contrast
from temperament.calibration.builtin import AXES
from temperament.calibration.contrast import POLES
from temperament.calibration.items import axes_items
from temperament.errors import TemperamentError
from temperament.evaluation.axis_types import (
    CHANCE,
    NAMES,
    TYPES,
    Switch,
    Values,
    poles_of,
    questionnaire_values,
    statement_values,
    switch,
    type_of,
)
from temperament.evaluation.controls import prompt_pair, random_pair
from temperament.evaluation.instrument import Instrument
from temperament.evaluation.ledger import Ledger, Progress
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import neutral_passages, perplexity_ratio
from temperament.evaluation.questionnaire import PRESENTATIONS, Presentation, Questionnaire
from temperament.evaluation.specificity import trait_statements
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan, extract, package_versions
from temperament.signatures import Pair

#: Both poles of every axis.
Pairs = Mapping[str, tuple[Persona, Persona]]

#: What success is read from: the measure, and whether its scores are changes against the unworn model.
READINGS: dict[str, tuple[str, bool]] = {
    "questionnaire": ("questionnaire", False),
    "questionnaire, change": ("questionnaire", True),
    "statements, change": ("statements", True),
}
_RANDOM_SEED = 0
#: Passages of neutral text: the cost is read over sixteen types, so some of them do.
_PASSAGES = 12


@dataclass(frozen=True)
class Sitting:
    """What one plan, or none, gave: values per item and axis by measure, and its neutral text, (passages, 2)."""

    values: Mapping[str, Values]
    passages: Any


@dataclass(frozen=True)
class Condition:
    """The sixteen types under one set of personas: success by reading, and the perplexity ratio of every type."""

    switches: Mapping[str, Switch]
    perplexity: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        return {
            "success": {reading: found.as_json() for reading, found in self.switches.items()},
            "perplexity": dict(self.perplexity),
        }


@dataclass(frozen=True)
class TypesPoint:
    """One value of what was varied: the personas worn, and random edits of the same size."""

    value: float
    worn: Condition
    random: Condition | None


@dataclass(frozen=True)
class TypesStudy:
    """All points in the order of their values, beside the system prompts; ``own`` is the unworn model's type."""

    method: str
    over: str
    points: tuple[TypesPoint, ...]
    prompt: Condition
    own: str
    own_scores: Mapping[str, Mapping[str, float]]
    provenance: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "over": self.over,
            "points": [
                {
                    "value": point.value,
                    "worn": point.worn.as_json(),
                    "random": point.random.as_json() if point.random else None,
                }
                for point in self.points
            ],
            "prompt": self.prompt.as_json(),
            "unworn": {"type": self.own, "scores": {name: dict(row) for name, row in self.own_scores.items()}},
            "chance": dict(CHANCE),
            "provenance": dict(self.provenance),
        }


def compose(pairs: Pairs, name: str, strength: float = 1.0) -> Plan:
    """A type as a plan: the fitting pole of every axis, all at one strength; masks multiply their gates."""
    worn = [pairs[axis][POLES.index(pole)] for axis, pole in poles_of(name).items()]
    return reduce(Plan.__add__, (strength * persona for persona in worn))


def types_study(
    lm: LoadedModel,
    *,
    method: str = "contrastive-saliency",
    over: str = "strength",
    values: Sequence[float] = (1.0,),
    strength: float = 1.0,
    sparsity: float | None = None,
    settings: Mapping[str, Any] | None = None,
    presentations: Sequence[Presentation] = PRESENTATIONS["quick"],
    names: Sequence[str] = TYPES,
    random: bool = True,
    limit: int | None = None,
    seed: int = 42,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TypesStudy:
    """Extract the four axes with one method, wear every type, and measure all four axes under each.

    ``over`` is ``strength``, ``sparsity`` or a setting of the method; every value is computed from the same statistics.
    The questionnaire and the test statements of every axis (``limit`` per pole) are put to each type, to as many random
    edits of the same size (unless ``random`` is false), to four system prompts together and to the unworn model. With a
    ``folder`` statistics and records are kept there, and no item is scored twice.
    """
    settings = dict(settings or {})
    if over in settings or (over == "sparsity" and sparsity is not None):
        raise TemperamentError(f"the study varies {over} and is given one {over} besides", "name it once")
    if not values or not names:
        raise TemperamentError("a study of no values or no types", "give one or more")
    bench = _Bench(lm, presentations, limit, seed, folder, progress)
    base = bench.sitting(Plan(), "unworn")
    # before the rest: prompts that do not fit the model's context are found out before hours of work
    prompts = {axis: prompt_pair(resolve_contrast(axis, seed=seed)) for axis in NAMES}
    prompt = bench.condition(prompts, names, 1.0, "prompt", base)
    signatures: dict[str, Pair] = {}
    points: list[TypesPoint] = []
    pairs: dict[str, tuple[Persona, Persona]] = {}
    randoms: dict[str, tuple[Persona, Persona]] = {}
    for value in sorted(set(values)):
        share = value if over == "strength" else strength
        if not points or over != "strength":
            own = settings if over in ("strength", "sparsity") else {**settings, over: value}
            kept = value if over == "sparsity" else sparsity
            for axis in NAMES:
                pairs[axis] = bench.pair(axis, method, kept, own, signatures)
                if random:
                    randoms[axis] = random_pair(lm, *pairs[axis], _RANDOM_SEED, signatures[axis])
        label = f"{over}-{value:g}"
        points.append(
            TypesPoint(
                value,
                bench.condition(pairs, names, share, label, base),
                bench.condition(randoms, names, share, f"random-{label}", base) if random else None,
            )
        )
    scores = {
        measure: {axis: float(items.mean()) for axis, items in base.values[measure].items()} for measure in base.values
    }
    return TypesStudy(
        method,
        over,
        tuple(points),
        prompt,
        type_of(scores["questionnaire"]),
        scores,
        {
            "model": {"name": lm.name, "revision": lm.revision, "fingerprint": lm.fingerprint, "dtype": str(lm.dtype)},
            "axes": {
                axis: {key: persona.provenance.get(key) for key in ("method", "data", "signatures")}
                for axis, (persona, _) in pairs.items()
            },
            "strength": None if over == "strength" else strength,
            "sparsity": sparsity,
            "types": list(names),
            "items": bench.items,
            "seed": seed,
            "versions": package_versions(),
        },
    )


class _Bench:
    """The instruments, the ledger and the extraction of every axis."""

    def __init__(
        self,
        lm: LoadedModel,
        presentations: Sequence[Presentation],
        limit: int | None,
        seed: int,
        folder: Path | None,
        progress: Progress | None,
    ) -> None:
        self._lm, self._folder, self._seed, self._progress = lm, folder, seed, progress
        self._ledger = Ledger(lm, folder / "records" if folder else None, progress)
        self._form = Questionnaire(axes_items(), tuple(presentations))
        tests = {axis.name: resolve_contrast(axis.name, split="test", limit=limit, seed=seed) for axis in AXES}
        self._statements = trait_statements(tests)
        self._passages = Passages(neutral_passages()[:_PASSAGES])
        self.items = {
            "questionnaire": len(self._form),
            "presentations": [presentation.name for presentation in presentations],
            "statements": {axis: len(column) for axis, column in self._statements.items()},
            "passages": len(self._passages),
        }

    def pair(
        self,
        axis: str,
        method: str,
        sparsity: float | None,
        settings: Mapping[str, Any],
        signatures: dict[str, Pair],
    ) -> tuple[Persona, Persona]:
        """Both poles of an axis; ``signatures`` receives its statistics, or has them already."""
        found = extract(
            self._lm,
            resolve_contrast(axis, seed=self._seed),
            method=method,
            sparsity=sparsity,
            seed=self._seed,
            signatures=signatures.get(axis),
            folder=self._folder / axis / "signatures" if self._folder else None,
            progress=partial(self._progress, f"{axis}: statistics") if self._progress else None,
            settings=settings,
        )
        signatures[axis] = found.signatures
        return found.plus, found.minus

    def sitting(self, plan: Plan, label: str) -> Sitting:
        """Everything that is put to the model in one plan."""
        instruments: list[Instrument] = [self._form, *self._statements.values(), self._passages]
        form, *rest, passages = self._ledger.run_all(instruments, plan, label)
        columns = dict(zip(self._statements, rest, strict=True))
        values = {"questionnaire": questionnaire_values(form), "statements": statement_values(columns)}
        return Sitting(values, passage_array(passages))

    def condition(self, pairs: Pairs, names: Sequence[str], strength: float, label: str, base: Sitting) -> Condition:
        """Every type under one set of personas."""
        sittings = {name: self.sitting(compose(pairs, name, strength), f"{label}-{name}") for name in names}
        switches = {
            reading: switch(
                {name: sitting.values[measure] for name, sitting in sittings.items()},
                base.values[measure] if change else None,
                seed=self._seed,
            )
            for reading, (measure, change) in READINGS.items()
        }
        costs = {name: perplexity_ratio(sitting.passages, base.passages) for name, sitting in sittings.items()}
        return Condition(switches, costs)


def median(costs: Mapping[str, float]) -> float:
    """Median over types."""
    return float(np.median(list(costs.values())))
