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
    def of(name: str, poles: Poles, strength: float = 1.0, under: Poles | None = None) -> Worn:
        """A pair at a strength, with another pair (a prompt) worn under it."""
        plus, minus = (Plan.of(persona, strength) for persona in poles)
        if under:
            plus, minus = Plan.of(under[0]) + plus, Plan.of(under[1]) + minus
        return Worn(name, plus, minus)


class Measuring:
    """All instruments of a comparison, run through one ledger, so that nothing is scored twice."""

    def __init__(self, ledger: Ledger, texts: Texts, judge: Judge | None, seed: int) -> None:
        self.ledger, self.judge, self.seed = ledger, judge, seed
        self.validation = Statements(_statements(texts.validation), "validation")
        self.tuning_text = Passages(neutral_passages(split="validation"), "neutral-validation")
        self.test = Statements(_statements(texts.test), "test")
        self.text = Passages(neutral_passages(), "neutral-test")
        self.transfer = transfer_statements(texts.transfer) if texts.transfer else {}
        self.generation = Generation(texts.questions)

    def effect_and_cost(self, worn: Worn, statements: Statements, text: Passages) -> Figures:
        """Separation, AUC, likelihood of the own words, and perplexity of a pair of plans."""
        sides = self._sides(statements, worn)
        change = statement_changes(*sides)
        plus, minus = (passage_array(side) for side in self._sides(text, worn))
        return {
            "separation": separation(*change, seed=self.seed),
            "auc": auc(*change, seed=self.seed),
            "own_words": own_words(*sides, self._unworn(statements), seed=self.seed),
            "perplexity": perplexity(plus, minus, passage_array(self._unworn(text)), seed=self.seed),
        }

    def on_test(self, worn: Worn) -> Figures:
        """The figures on test items that every control has too."""
        return self.effect_and_cost(worn, self.test, self.text)

    def curve(self, name: str, poles: Poles, strongest: float) -> Curve:
        """Effect and cost by strength, on validation items only."""

        def measure(strength: float) -> Point:
            worn = Worn.of(f"{name}-{strength:g}", poles, strength)
            found = self.effect_and_cost(worn, self.validation, self.tuning_text)
            return Point(strength, found["perplexity"].value, found["separation"].value)

        return Curve(measure, strongest)

    def tuned(self, poles: Poles) -> Poles:
        """The same personas, which from now on count the validation texts among those they have seen."""
        plus, minus = (replace(persona, groups=persona.groups | self.validation.groups) for persona in poles)
        return plus, minus

    def elsewhere(self, worn: Worn) -> Figures:
        """Separation and AUC on the other instrument, with its own and with a changed question."""
        found: Figures = {}
        for question, statements in self.transfer.items():
            change = statement_changes(*self._sides(statements, worn))
            suffix = "" if question == "same" else "_question"
            found[f"transfer_separation{suffix}"] = separation(*change, seed=self.seed)
            found[f"transfer_auc{suffix}"] = auc(*change, seed=self.seed)
        return found

    def written(self, worn: Worn) -> tuple[Figures, dict[str, Sequence[Record]]]:
        """What free answers show: the judge's effect and their fluency; and the answers themselves."""
        plus, minus = self._sides(self.generation, worn)
        base = self._unworn(self.generation)
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

    def base_perplexity(self) -> float:
        """Perplexity of the unworn model on the neutral test text."""
        base = passage_array(self._unworn(self.text))
        return float(perplexity(base, base, base, seed=self.seed).extra["base"])

    def _sides(self, instrument: Instrument, worn: Worn) -> tuple[list[Record], list[Record]]:
        return (
            self.ledger.run(instrument, worn.plus, f"{worn.name}-plus"),
            self.ledger.run(instrument, worn.minus, f"{worn.name}-minus"),
        )

    def _unworn(self, instrument: Instrument) -> list[Record]:
        return self.ledger.run(instrument, Plan(), "unworn")


def _statements(contrast: Contrast) -> Contrast:
    return replace(contrast, choices=())


def as_json(figures: Mapping[str, Measured]) -> dict[str, object]:
    """Figures as plain JSON values."""
    return {name: figure.as_json() for name, figure in figures.items()}
