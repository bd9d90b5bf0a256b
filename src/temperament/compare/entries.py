"""One method of a comparison after the other: found, tuned, measured and controlled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from temperament.atomic import ensure_folder
from temperament.compare.candidates import Candidate, Workshop
from temperament.compare.clock import Clock
from temperament.compare.full import Further
from temperament.compare.measuring import Figures, Measuring, Poles, Worn, as_json
from temperament.compare.settings import BOTH, PROMPT, Settings, Texts
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.budget import Choice, Point
from temperament.evaluation.controls import RANDOM_SEEDS
from temperament.evaluation.generation import Judge
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger, Progress
from temperament.models import LoadedModel
from temperament.personas import notes_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A method's part of the summary, the pair that was measured, and its answers by pole."""

    summary: dict[str, Any]
    worn: Worn
    answers: Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class _Tuned:
    """A pair at the strength the budget allows; ``strength`` None and no points for one that is worn or not."""

    poles: Poles
    strength: float | None = None
    fits: bool = True
    points: tuple[Point, ...] = ()
    choices: tuple[Choice, ...] = ()


class Entries:
    """Finds, tunes, measures and controls methods, each from what ``folder`` holds of it where that fits."""

    def __init__(
        self,
        lm: LoadedModel,
        settings: Settings,
        texts: Texts,
        judge: Judge | None,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        ledger = Ledger(lm, ensure_folder(folder / "records"), progress)
        self.settings = settings
        self.measuring = Measuring(ledger, texts, judge, settings.seed)
        self.further = Further(self.measuring, texts, settings) if settings.full else None
        # the same methods with other settings are timed apart
        run = repr((lm.fingerprint, lm.dtype, replace(settings, methods=(), options={}), settings.options))
        self.clock = Clock(folder / "seconds" / hashlib.sha256(run.encode()).hexdigest()[:12])
        self._workshop = Workshop(lm, texts, settings.seed, folder, progress, settings.options)
        self._prompts: Poles | None = None

    def prompt_works(self) -> None:
        """From now on the prompt is a control, alone and with the method; one that cannot be worn would be none."""
        prompts = self._workshop.candidate(PROMPT)
        self._prompts = prompts.plus, prompts.minus

    def entry(self, name: str, tell: Tell) -> Entry:
        """All about one method; ``tell`` hears what a user must know about what was found."""
        with self.clock.timing(name, "extract"):
            candidate = self._workshop.candidate(name)
        for text in notes_of(candidate.details):
            tell(f"{name}: {text}")
        with self.clock.timing(name, "tune"):
            tuned = self._tune(candidate)
        with self.clock.timing(name, "measure"):
            worn = Worn.of(name, tuned.poles, tuned.strength)
            self.measuring.everything(worn)
            measures = self.measuring.on_test(worn) | self.measuring.elsewhere(worn)
            written, answers = self.measuring.written(worn)
            controls = {label: self._control(label, pair) for label, pair in self._controls(candidate, tuned, worn)}
            by_budget = {_label(choice.limit): self._at_budget(name, tuned.poles, choice) for choice in tuned.choices}
        if self.further:
            with self.clock.timing(name, "full"):
                written |= self.further.measure(worn)
        cost = measures["perplexity"]
        summary: dict[str, Any] = {
            "kind": candidate.kind,
            "equation": candidate.equation,
            "summary": candidate.summary,
            "bytes": candidate.bytes,
            "details": dict(candidate.details),
            "settings": dict(self.settings.options.get(name, {})),
            "strength": tuned.strength,
            "perplexity": cost.value,
            "perplexity_poles": {"plus": cost.extra["plus"], "minus": cost.extra["minus"]},
            "within_budget": tuned.fits and _within(cost, self.settings.budget),
            "measures": as_json(measures | written),
            "controls": {label: as_json(figures) for label, figures in controls.items()},
        }
        if tuned.points:
            summary |= {"tuning": [point.as_json() for point in tuned.points], "by_budget": by_budget}
        return Entry(summary, worn, answers)

    def _tune(self, candidate: Candidate) -> _Tuned:
        """The largest strength within the budget; where even the weakest that was tried is beyond it, that one."""
        poles = candidate.plus, candidate.minus
        if candidate.strongest is None:
            return _Tuned(poles)
        curve = self.measuring.curve(candidate.name, poles, candidate.strongest)
        choices = {limit: curve.choose(limit) for limit in self.settings.budgets}
        chosen = choices[self.settings.budget].largest
        strength = (chosen or curve.sorted[0]).strength
        return _Tuned(
            self.measuring.tuned(poles), strength, chosen is not None, tuple(curve.sorted), tuple(choices.values())
        )

    def _controls(self, candidate: Candidate, tuned: _Tuned, worn: Worn) -> Iterator[tuple[str, Worn]]:
        """The controls of a method at the same strength, each made when it is asked for."""
        name, seen = candidate.name, self.measuring.tuned
        if candidate.random:
            for seed in RANDOM_SEEDS:
                yield f"random-{seed}", Worn.of(f"{name}-random-{seed}", seen(candidate.random(seed)), tuned.strength)
        if candidate.shuffled:
            yield "shuffled", Worn.of(f"{name}-shuffled", seen(candidate.shuffled()), tuned.strength)
        if self._prompts:
            yield "prompt", Worn.of(PROMPT, self._prompts)
            yield BOTH, Worn.of(f"{name}-prompt", tuned.poles, tuned.strength, self._prompts)
        yield "swapped", Worn(f"{name}-swapped", worn.minus, worn.plus)

    def _control(self, label: str, worn: Worn) -> Figures:
        """Figures on test items; of prompt and method together, which one may want to wear, elsewhere too."""
        return self.measuring.on_test(worn) | (self.measuring.elsewhere(worn) if label == BOTH else {})

    def _at_budget(self, name: str, poles: Poles, choice: Choice) -> dict[str, Any]:
        """Test figures at the largest strength within a budget, and the best one by its validation figures."""
        if choice.largest is None or choice.best is None:
            return {"strength": None}
        strength = choice.largest.strength
        found = self.measuring.on_test(Worn.of(name, poles, strength))
        return {"strength": strength, "best_on_validation": choice.best.as_json(), **as_json(found)}


def _within(cost: Measured, budget: float) -> bool:
    """Whether the cost on test text agrees with a budget that was kept on validation text.

    Strengths are tuned to just below the budget, so that on other text every second one is a little beyond it: only a
    cost whose whole interval is beyond counts as too high.
    """
    return math.isfinite(cost.value) and not cost.low > budget


def _label(limit: float) -> str:
    """A budget as a key: two decimals, or as many as it takes."""
    return max(f"{limit:.2f}", f"{limit:.12g}", key=len)
