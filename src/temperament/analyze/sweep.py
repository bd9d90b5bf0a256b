"""How a neuron persona's effect and cost depend on γ or on the threshold, with and without f (NPTI Fig. 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from temperament.calibration import Contrast, RolePlay
from temperament.errors import TemperamentError
from temperament.evaluation import Evaluation, evaluate
from temperament.models import LoadedModel
from temperament.personas import extract
from temperament.personas.neuron_personas import NoNeuronsError
from temperament.signatures import NeuronSignaturePair, Writing

Progress = Callable[[str, int, int], None]
Over = Literal["gamma", "threshold"]
OVER: tuple[Over, ...] = ("gamma", "threshold")

#: One random control per point: a sweep shows a course, the evaluation of a chosen point has them all.
CONTROLS = ("random-0",)


@dataclass(frozen=True)
class SweepPoint:
    """One value, with or without f: how many neurons it edits, and what the pair then measures."""

    value: float
    weighted: bool
    neurons: Mapping[str, int]
    result: Evaluation

    def as_json(self) -> dict[str, Any]:
        found = self.result.as_json()
        return {
            "value": self.value,
            "weighted": self.weighted,
            "neurons": dict(self.neurons),
            "measures": found["measures"],
            "controls": found["controls"],
        }


@dataclass(frozen=True)
class Sweep:
    """All points of a sweep, in the order of their values, and where they were measured."""

    over: Over
    points: tuple[SweepPoint, ...]
    skipped: tuple[float, ...]
    provenance: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "over": self.over,
            "points": [point.as_json() for point in self.points],
            "skipped": list(self.skipped),
            "provenance": dict(self.provenance),
        }


def sweep(
    lm: LoadedModel,
    data: Contrast | RolePlay,
    test: Contrast,
    *,
    over: Over,
    values: Sequence[float],
    settings: Mapping[str, Any] | None = None,
    signatures: NeuronSignaturePair | None = None,
    writing: Writing | None = None,
    seed: int = 42,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Measure separation, AUC and perplexity at each value of ``over``, with and without f(δ).

    All points come from one set of statistics. ``test`` should be validation texts: whoever picks a value from a
    sweep has tuned on them. Values at which no neuron is left are skipped and named. With a ``folder`` statistics
    and records are kept there, and no item is scored twice.
    """
    settings = dict(settings or {})
    if over in settings or "weighted" in settings:
        raise TemperamentError(f"a sweep over {over} sets {over} and weighted itself", "leave them out of --set")
    if over == "threshold" and {"count", "share"} & set(settings):
        raise TemperamentError("a sweep over threshold leaves no room for count or share", "leave them out of --set")
    points: list[SweepPoint] = []
    skipped: list[float] = []
    for value in sorted(set(values)):
        for weighted in (True, False):
            step = f"{over} {value:g}, {'with' if weighted else 'without'} f"
            try:
                found = extract(
                    lm,
                    data,
                    method="neurons",
                    seed=seed,
                    writing=writing,
                    signatures=signatures,
                    folder=folder / "signatures" if folder else None,
                    progress=partial(progress, "statistics") if progress else None,
                    settings={**settings, over: value, "weighted": weighted},
                )
            except NoNeuronsError:
                skipped.append(value)
                break
            if isinstance(found.signatures, NeuronSignaturePair):
                signatures = found.signatures
            result = evaluate(
                lm,
                found.plus,
                found.minus,
                test,
                measures=("separation", "auc", "perplexity"),
                controls=CONTROLS,
                folder=folder / "evaluation" if folder else None,
                progress=partial(_labelled, progress, step) if progress else None,
            )
            counts = {pole: int(found.details["neurons"][pole]) for pole in ("plus", "minus")}
            points.append(SweepPoint(value, weighted, counts, result))
    if not points:
        raise TemperamentError(
            f"no neuron is left at any of the values {', '.join(f'{value:g}' for value in skipped)}",
            "give lower thresholds",
        )
    return Sweep(over, tuple(points), tuple(skipped), points[0].result.provenance)


def _labelled(progress: Progress, step: str, label: str, done: int, total: int) -> None:
    progress(f"{step}: {label}", done, total)
