"""How the effect and the cost of a pair of personas depend on one thing that is varied."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from temperament.analyze.axes import Around, Axis, Step, Value
from temperament.analyze.reuse import Statistics
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.evaluation import Evaluation, evaluate
from temperament.evaluation.ledger import Progress
from temperament.models import LoadedModel
from temperament.personas import Extraction, extract
from temperament.personas.neuron_personas import NoNeuronsError
from temperament.signatures import Writing

#: One random control per point: a sweep shows a course, the evaluation of a chosen point has them all.
CONTROLS = ("random-0",)
MEASURES = ("separation", "auc", "perplexity")


@dataclass(frozen=True)
class SweepPoint:
    """What a pair measures at one value; ``details`` say how much it edits and where."""

    value: Value
    series: str
    details: Mapping[str, Any]
    result: Evaluation

    @property
    def cost(self) -> float:
        """Perplexity ratio of the worse pole."""
        return self.result.measures["perplexity"].value

    def as_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "series": self.series,
            "details": dict(self.details),
            **self.result.as_json(),
        }


@dataclass(frozen=True)
class Sweep:
    """All points of a sweep in the order of their values, and those that could not be made, with the reason."""

    axis: Axis
    points: tuple[SweepPoint, ...]
    skipped: tuple[tuple[Value, str], ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point.series for point in self.points))

    @property
    def values(self) -> tuple[Value, ...]:
        return tuple(dict.fromkeys(point.value for point in self.points))

    @property
    def title(self) -> str:
        """What was swept over and where it was measured; what is varied is not part of it."""
        found = self.points[0].result.provenance
        data, model = found["data"], found["model"]["name"]
        where = "" if self.axis.name == "contrast" else f"{data['name']}, "
        sizes = {tuple(point.result.provenance["data"]["items"][pole] for pole in POLES) for point in self.points}
        counts = [count for size in sizes for count in size]
        texts = (
            f"{counts[0]} + {counts[1]} texts" if len(sizes) == 1 else f"{min(counts)} to {max(counts)} texts a pole"
        )
        split = f"{data['split']} split, {texts}"
        return f"{self.axis.name}; " + ("" if self.axis.name == "model" else f"{model}; ") + where + split

    def as_json(self) -> dict[str, Any]:
        return {
            "over": self.axis.name,
            "points": [point.as_json() for point in self.points],
            "skipped": [{"value": value, "reason": reason} for value, reason in self.skipped],
        }


def plan_steps(axis: Axis, base: Sequence[Step], values: Sequence[Value], around: Around) -> list[Step]:
    """All steps, value by value; ``base`` has one step per method. A value that does not fit raises here."""
    return [
        replace(step, value=value) for value in values for start in base for step in axis.steps(start, value, around)
    ]


def sweep(
    lm: LoadedModel,
    axis: Axis,
    steps: Sequence[Step],
    *,
    load: Callable[[str], LoadedModel] | None = None,
    writing: Writing | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Extract and measure the pair of every step: separation, AUC and perplexity, beside a random pair of its size.

    Statistics serve every step that they fit, and grow with the calibration set where they are sums. The texts
    measured on should be validation texts: whoever picks a value from a sweep has tuned on them. Steps at which no
    neuron is left are skipped and named. ``load`` gives the model of a name, for a sweep over models. With a ``folder``
    statistics and records are kept there, and no item is scored twice.
    """
    points: list[SweepPoint] = []
    skipped: dict[Value, str] = {}
    with _kept(folder) as place:
        statistics = Statistics(place / "signatures", writing or Writing())
        at, name = lm, None
        for step in steps:
            if step.model != name:
                if step.model is None or load is None:
                    raise ValueError("a sweep over models needs a way to load them")
                at, name = load(step.model), step.model
            label = f"{axis.name} {shown(step.value)}, {step.series}"
            try:
                found = _extracted(at, step, statistics, progress and partial(progress, f"{label}: statistics"))
            except NoNeuronsError as error:
                skipped[step.value] = str(error)
                continue
            result = evaluate(
                at,
                found.plus,
                found.minus,
                step.test,
                measures=MEASURES,
                controls=CONTROLS,
                signatures=found.signatures,
                strength=step.strength,
                folder=place / "evaluation",
                progress=partial(_labelled, progress, label) if progress else None,
            )
            points.append(SweepPoint(step.value, step.series, found.details, result))
    if not points:
        raise TemperamentError(
            f"no neuron is left at any of the values {', '.join(map(shown, skipped))}", "give lower thresholds"
        )
    return Sweep(axis, tuple(points), tuple(skipped.items()))


def shown(value: Value) -> str:
    """A value as it is printed: numbers in few digits, files by their names."""
    if not isinstance(value, str):
        return f"{value:g}"
    return ", ".join(_SUFFIX.sub("", part.strip().rpartition("/")[2]) for part in value.split(","))


#: What a file of texts ends with, before the split that may be named behind it.
_SUFFIX = re.compile(r"\.(txt|jsonl?|csv)(?=#|\Z)")


def _extracted(
    lm: LoadedModel, step: Step, statistics: Statistics, progress: Callable[[int, int], None] | None
) -> Extraction:
    return extract(
        lm,
        step.data,
        method=step.method,
        sparsity=step.sparsity,
        tokens=step.tokens,
        seed=step.seed,
        writing=statistics.writing,
        signatures=statistics.of(lm, step, progress),
        settings=step.settings,
    )


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """The folder, or one for as long as the sweep lasts: the unworn model is scored once."""
    if folder:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def _labelled(progress: Progress, step: str, label: str, done: int, total: int) -> None:
    progress(f"{step}: {label}", done, total)
