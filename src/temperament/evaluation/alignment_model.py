"""A language model as what ``align`` works on: personas worn together, a questionnaire put through the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temperament.calibration.items import Item
from temperament.errors import TemperamentError
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.questionnaire.instrument import Questionnaire
from temperament.evaluation.questionnaire.wording import PRESENTATIONS, Presentation
from temperament.personas import Persona, Plan


class ModelScore:
    """``score`` and ``prompt`` of ``align`` for a model in a ledger.

    ``plans`` holds per trait what a strength of 1 wears in the plus and in the minus direction; a strength s wears
    |s| times the one of its sign. Mask personas take strengths from −1 to 1, prompts only −1, 0 and 1.
    """

    def __init__(
        self,
        ledger: Ledger,
        plans: Mapping[str, tuple[Plan | Persona, Plan | Persona]],
        presentations: tuple[Presentation, ...] = PRESENTATIONS["quick"],
    ) -> None:
        self._ledger, self._presentations = ledger, presentations
        self._plans = {trait: (Plan.of(plus), Plan.of(minus)) for trait, (plus, minus) in plans.items()}

    def plan(self, strengths: Mapping[str, float]) -> Plan:
        """Everything that these strengths wear together."""
        plan = Plan()
        for trait, value in strengths.items():
            if trait not in self._plans:
                raise TemperamentError(f"there is no persona for {trait}", f"give one pair for {', '.join(strengths)}")
            if value:
                plan = plan + abs(value) * self._plans[trait][0 if value > 0 else 1]
        return plan

    def __call__(self, strengths: Mapping[str, float], items: Sequence[Item], /) -> dict[int, float]:
        """Raw agreement, 1–5, by item number."""
        return self._answers(self.plan(strengths), items)

    def prompt(self, text: str, items: Sequence[Item]) -> dict[int, float]:
        """The same under a system prompt alone."""
        return self._answers(Plan.of(Persona.from_prompt(text)), items)

    def _answers(self, plan: Plan, items: Sequence[Item]) -> dict[int, float]:
        records = self._ledger.run(Questionnaire(tuple(items), self._presentations), plan, "alignment")
        return {record["item"]: record["expected"] for record in records}
