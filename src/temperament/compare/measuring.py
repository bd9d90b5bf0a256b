"""What is put to a model in a comparison, and the figures of one pair of plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from temperament.calibration import Contrast
from temperament.compare.settings import Texts
from temperament.evaluation.auc import auc
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.budget import Curve, Point
from temperament.evaluation.fluency import AnswerScores, fluency
from temperament.evaluation.generation import Generation, Judge, generation_effect
from temperament.evaluation.instrument import Instrument, Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.loops import loops, tuning_answers
from temperament.evaluation.own_words import own_words
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import neutral_passages, perplexity
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes
from temperament.evaluation.transfer import transfer_statements
from temperament.personas import Persona, Plan

Poles = tuple[Persona, Persona]
Figures = dict[str, Measured]


@dataclass(frozen=True)
class Worn:
    """A pair of plans under one name: what stands for plus and what stands for minus."""

    name: str
    plus: Plan
    minus: Plan

    @staticmethod
    def of(name: str, poles: Poles, strength: float | None = None, under: Poles | None = None) -> Worn:
        """A pair at a strength (None: worn or not), with another pair (a prompt) worn under it.

        The strength is part of the name, so that the same plans have the same name whatever they are measured for.
        """
        plus, minus = (Plan.of(persona, 1.0 if strength is None else strength) for persona in poles)
        if under:
            plus, minus = Plan.of(under[0]) + plus, Plan.of(under[1]) + minus
        return Worn(name if strength is None else f"{name}-{strength:g}", plus, minus)


class Measuring:
    """All instruments of a comparison, run through one ledger, so that nothing is scored twice."""

    def __init__(self, ledger: Ledger, texts: Texts, judge: Judge | None, seed: int) -> None:
        self.ledger, self.judge, self.seed = ledger, judge, seed
        self.validation = Statements(_statements(texts.validation), "validation")
        self.tuning_text = Passages(neutral_passages(split="validation")[::2], "neutral-validation")  # 20: often asked
        self.test = Statements(_statements(texts.test), "test")
        self.text = Passages(neutral_passages(), "neutral-test")
        self.elsewhere_on = _elsewhere(texts)
        self.generation = Generation(texts.questions)
        self.tuning_answers = tuning_answers(texts.trait)

    def on_test(self, worn: Worn) -> Figures:
        """Effect and cost on test items, and whether the own words gain: the figures that every control has too."""
        self._wear_once(worn, [self.test, self.text])
        plus, minus, base = self.sides(self.test, worn)
        return {
            **self._effect(worn, self.test),
            "own_words": own_words(plus, minus, base, seed=self.seed),
            "perplexity": self._cost(worn, self.text),
        }

    def everything(self, worn: Worn) -> None:
        """Put every instrument to a pair, each side worn once; the figures then come from the records."""
        self._wear_once(worn, [self.test, self.text, *self.elsewhere_on.values(), self.generation])

    def curve(self, name: str, poles: Poles, strongest: float) -> Curve:
        """Effect and cost by strength, on validation items only; answers are asked for where they decide."""

        def measure(strength: float) -> Point:
            worn = Worn.of(name, poles, strength)
            self._wear_once(worn, [self.tuning_text, self.validation])
            cost, effect = self._cost(worn, self.tuning_text), self._effect(worn, self.validation)["separation"]
            return Point(strength, cost.value, effect.value)

        def repeat(strength: float) -> float:
            """How much more the answers of the worse pole repeat themselves than those of the unworn model."""
            plus, minus, base = self.sides(self.tuning_answers, Worn.of(name, poles, strength))
            return max(loops(plus, base), loops(minus, base))

        return Curve(measure, strongest, repeat)

    def tuned(self, poles: Poles) -> Poles:
        """The same personas, which from now on count the texts of tuning among those they have seen."""
        seen = self.validation.groups | self.tuning_text.groups | self.tuning_answers.groups
        plus, minus = (replace(persona, groups=persona.groups | seen) for persona in poles)
        return plus, minus

    def elsewhere(self, worn: Worn) -> Figures:
        """Separation and AUC on the other instruments, with their own question and, for texts, with a changed one."""
        self._wear_once(worn, [*self.elsewhere_on.values()])
        return {
            measure.format(name): figure
            for measure, statements in self.elsewhere_on.items()
            for name, figure in self._effect(worn, statements).items()
        }

    def written(self, worn: Worn) -> tuple[Figures, dict[str, Sequence[Record]]]:
        """What free answers show: the judge's effect and their fluency; and the answers themselves."""
        plus, minus, base = self.sides(self.generation, worn)
        found: Figures = {}
        if self.judge:
            found["generation"] = generation_effect(plus, minus, base, self.judge, seed=self.seed)
        scored = [
            self.ledger.run(AnswerScores(side), Plan(), f"{worn.name}-{pole}")
            for pole, side in (("plus", plus), ("minus", minus), ("unworn", base))
        ]
        found["fluency"] = fluency(scored[0], scored[1], scored[2], seed=self.seed)
        return found, {"plus": plus, "minus": minus}

    def unworn_answers(self) -> Sequence[Record]:
        return self._unworn(self.generation)

    def unworn_tuning(self) -> None:
        """Put what strengths are tuned on to the unworn model, which every method is compared with."""
        self.ledger.run_all([self.tuning_text, self.tuning_answers], Plan(), "unworn")

    def sides(self, instrument: Instrument, worn: Worn) -> tuple[list[Record], list[Record], list[Record]]:
        """Records wearing plus, wearing minus, and unworn."""
        return *self._pair(instrument, worn), self._unworn(instrument)

    def base_perplexity(self) -> float:
        """Perplexity of the unworn model on the neutral test text."""
        base = passage_array(self._unworn(self.text))
        return float(perplexity(base, base, base, seed=self.seed).extra["base"])

    def _effect(self, worn: Worn, statements: Statements) -> Figures:
        change = statement_changes(*self._pair(statements, worn))
        return {"separation": separation(*change, seed=self.seed), "auc": auc(*change, seed=self.seed)}

    def _cost(self, worn: Worn, text: Passages) -> Measured:
        plus, minus, base = map(passage_array, self.sides(text, worn))
        return perplexity(plus, minus, base, seed=self.seed)

    def _wear_once(self, worn: Worn, instruments: Sequence[Instrument]) -> None:
        for pole, plan in (("plus", worn.plus), ("minus", worn.minus)):
            self.ledger.run_all(instruments, plan, f"{worn.name}-{pole}")

    def _pair(self, instrument: Instrument, worn: Worn) -> tuple[list[Record], list[Record]]:
        return (
            self.ledger.run(instrument, worn.plus, f"{worn.name}-plus"),
            self.ledger.run(instrument, worn.minus, f"{worn.name}-minus"),
        )

    def _unworn(self, instrument: Instrument) -> list[Record]:
        return self.ledger.run(instrument, Plan(), "unworn")


def _elsewhere(texts: Texts) -> dict[str, Statements]:
    """Statements of other instruments, by the pattern of their figures' names."""
    found: dict[str, Statements] = {}
    if texts.transfer:
        for question, statements in transfer_statements(texts.transfer).items():
            found["transfer_{}" if question == "same" else "transfer_{}_question"] = statements
    if texts.items:
        found["items_{}"] = Statements(texts.items, "transfer-items")
    return found


def _statements(contrast: Contrast) -> Contrast:
    return replace(contrast, choices=())


def as_json(figures: Mapping[str, Measured]) -> dict[str, object]:
    """Figures as plain JSON values."""
    return {name: figure.as_json() for name, figure in figures.items()}
