"""Run a comparison: find, tune, measure and control every method, then say what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temperament.atomic import ensure_folder, write_bytes
from temperament.compare.candidates import Candidate, Workshop
from temperament.compare.clock import Clock
from temperament.compare.findings import Findings
from temperament.compare.full import Further
from temperament.compare.measuring import Figures, Measuring, Poles, Worn, as_json
from temperament.compare.settings import BOTH, PROMPT, Settings, Texts, read_texts
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.budget import Choice, Point
from temperament.evaluation.controls import RANDOM_SEEDS
from temperament.evaluation.generation import Judge
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.local_judge import contrast_judge, trait_judge
from temperament.models import LoadedModel
from temperament.personas import notes_of

Progress = Callable[[str, int, int], None]
Tell = Callable[[str], None]


def compare(
    lm: LoadedModel,
    settings: Settings,
    folder: Path,
    *,
    command: str = "",
    progress: Progress | None = None,
    note: Tell | None = None,
) -> dict[str, Any]:
    """Compare methods on one contrast and return the summary (``summary.json``), plain JSON values.

    Every method is tuned on validation items to the largest strength within the budget, then measured once on test
    items, beside its controls. Personas, signatures and the record of every item are kept in ``folder``, so that an
    interrupted comparison goes on where it stopped. A method that fails is named with its reason; the others go on.
    """
    texts, tell = read_texts(settings), note or (lambda _: None)
    judge = _judge(texts, tell)
    ledger = Ledger(lm, ensure_folder(folder / "records"), progress)
    measuring = Measuring(ledger, texts, judge, settings.seed)
    further = Further(measuring, texts, settings) if settings.full else None
    workshop = Workshop(lm, texts, settings.seed, folder, progress)
    clock = Clock(folder / "seconds.json")
    base = measuring.base_perplexity(), measuring.unworn_answers()
    findings = Findings(lm, settings, texts, judge, command, *base)
    one = _One(measuring, settings, clock, further)
    pairs: dict[str, Worn] = {}
    for name in settings.names:
        try:
            with clock.timing(name, "extract"):
                candidate = workshop.candidate(name)
            for text in notes_of(candidate.details):
                tell(f"{name}: {text}")
            entry, pairs[name], findings.answers[name] = one.entry(candidate)
            if name == PROMPT:
                one.prompt = (candidate.plus, candidate.minus)
        except TemperamentError as error:
            tell(f"{name}: {error}")
            entry = {"kind": "", "error": str(error)}
        findings.methods[name] = {**entry, "seconds": clock.of(name)}
        _write(folder, findings.as_json(clock.total))
    if further:
        try:
            findings.specificity = further.specificity(pairs)
        except TemperamentError as error:
            tell(f"specificity: {error}")
    return _write(folder, findings.as_json(clock.total))


def _judge(texts: Texts, tell: Tell) -> Judge | None:
    """The local judge of the trait, or one trained on the judge's texts; None, with a note, where it cannot be had."""
    try:
        if texts.judge:
            judge = contrast_judge(texts.judge)
        elif texts.trait:
            judge = trait_judge(texts.trait)
        else:
            return None  # the notes of the texts say why
    except TemperamentError as error:
        tell(f"free answers are not judged: {error}")
        return None
    seen = (texts.calibration, texts.validation, texts.test, texts.transfer, texts.items)
    judge.check_disjoint(key for contrast in seen if contrast for key in contrast.group_keys)
    return judge


@dataclass(frozen=True)
class _Tuned:
    """A pair at the strength the budget allows; ``strength`` None and no points for one that is worn or not."""

    poles: Poles
    strength: float | None = None
    fits: bool = True
    points: tuple[Point, ...] = ()
    choices: tuple[Choice, ...] = ()


@dataclass
class _One:
    """Tunes, measures and controls one method after the other; ``prompt`` is the pair of prompts, once it is known."""

    measuring: Measuring
    settings: Settings
    clock: Clock
    further: Further | None
    prompt: Poles | None = None

    def entry(self, candidate: Candidate) -> tuple[dict[str, Any], Worn, Mapping[str, Any]]:
        """A method's part of the summary, the pair that was measured, and its answers."""
        name = candidate.name
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
        entry: dict[str, Any] = {
            "kind": candidate.kind,
            "equation": candidate.equation,
            "summary": candidate.summary,
            "bytes": candidate.bytes,
            "details": dict(candidate.details),
            "strength": tuned.strength,
            "perplexity": cost.value,
            "perplexity_poles": {"plus": cost.extra["plus"], "minus": cost.extra["minus"]},
            "within_budget": tuned.fits and _within(cost, self.settings.budget),
            "measures": as_json(measures | written),
            "controls": {label: as_json(figures) for label, figures in controls.items()},
        }
        if tuned.points:
            entry |= {"tuning": [point.as_json() for point in tuned.points], "by_budget": by_budget}
        return entry, worn, answers

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
        if self.prompt:
            yield "prompt", Worn.of(PROMPT, self.prompt)
            yield BOTH, Worn.of(f"{name}-prompt", tuned.poles, tuned.strength, self.prompt)
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


def _write(folder: Path, summary: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(summary, ensure_ascii=False, indent=1, allow_nan=False)
    write_bytes(folder / "summary.json", text.encode())
    return summary
