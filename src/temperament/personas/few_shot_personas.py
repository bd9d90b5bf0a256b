"""Few-shot personas (a baseline of NPTI): the samples most relevant to a question are shown before it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temperament.calibration import Example, Pole
from temperament.calibration.contrast import POLES
from temperament.models import LoadedModel
from temperament.personas.edits import FewShotEdit
from temperament.personas.kind import Origin, Poles, Task, method_of, with_edits
from temperament.personas.persona import Persona
from temperament.personas.text_kind import TextKind
from temperament.retrieval import Engine, check_engine, find_engine
from temperament.signatures import Pair
from temperament.signatures.texts import TextPair


class FewShotKind(TextKind):
    """The method whose personas are samples."""

    name = "few-shot"

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        task = super().prepare(lm, task)
        engine = task.parameters.retrieval or find_engine()
        check_engine(engine)
        return replace(task, parameters=task.parameters.model_copy(update={"retrieval": engine}))

    def pair(
        self,
        lm: LoadedModel,  # noqa: ARG002 - samples fit every model
        task: Task,
        pair: TextPair,
        name: str,
        origin: Origin,
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        parameters = task.parameters
        plus, minus = few_shot_pair(pair, parameters.k, parameters.retrieval, name, origin)
        return plus, minus, {self.name: {"plus": len(pair.plus), "minus": len(pair.minus), "k": parameters.k}}

    def rebuild(
        self,
        lm: LoadedModel,  # noqa: ARG002 - samples fit every model
        pair: TextPair,
        plus: Persona,
        minus: Persona,
    ) -> Poles:
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        return few_shot_pair(pair, method_of(plus)[1].k, _edit(plus).retrieval, "rebuilt", origin)

    def randomised(
        self,
        lm: LoadedModel,  # noqa: ARG002 - samples fit every model
        plus: Persona,
        minus: Persona,
        seed: int,
        pair: Pair | None,  # noqa: ARG002 - the personas say enough
    ) -> Poles:
        """As many samples, the same for every question, with equally many of either pole under both personas."""
        pools = _edit(plus).samples, _edit(minus).samples

        def drawn(persona: Persona) -> FewShotEdit:
            return _drawn(_edit(persona), pools, seed, persona.pole)

        return with_edits(plus, minus, f"random-{seed}", drawn)


def few_shot_pair(pair: TextPair, k: int, engine: Engine, name: str, origin: Origin) -> Poles:
    """The samples of both poles, ``k`` of which are shown at a time."""
    edits = [FewShotEdit(_samples(pair.pole(pole)), k, engine) for pole in POLES]
    plus, minus = (
        Persona(f"{name}-{pole}", pole, edit, origin[pole], pair.groups, pair)
        for pole, edit in zip(POLES, edits, strict=True)
    )
    return plus, minus


def _samples(examples: Sequence[Example]) -> tuple[tuple[str, str], ...]:
    return tuple((example.prompt, example.response) for example in examples)


def _drawn(edit: FewShotEdit, pools: Sequence[Sequence[tuple[str, str]]], seed: int, pole: Pole) -> FewShotEdit:
    odd = seed % 2  # which pole gives one more where k is odd
    generator = random.Random(f"few-shot {seed} {pole}")
    counts = (edit.k + odd) // 2, (edit.k + 1 - odd) // 2
    drawn = [
        sample
        for pool, count in zip(pools, counts, strict=True)
        for sample in generator.sample(sorted(pool), min(count, len(pool)))
    ]
    generator.shuffle(drawn)
    return replace(edit, samples=tuple(drawn))


def _edit(persona: Persona) -> FewShotEdit:
    if not isinstance(persona.edit, FewShotEdit):
        raise ValueError("not a few-shot persona")
    return persona.edit
