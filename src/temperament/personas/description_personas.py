"""Description personas (P², a baseline of NPTI): a system prompt that describes a person in some detail."""

from __future__ import annotations

import random
from typing import Any

from temperament.calibration import Example, RolePlay
from temperament.calibration.builtin import CONTRASTS, TRAITS, descriptions, neutral_texts
from temperament.calibration.contrast import POLES, group_key
from temperament.models import LoadedModel
from temperament.personas.edits import PromptEdit
from temperament.personas.kind import Origin, Poles, Task, method_of, with_edits
from temperament.personas.persona import Persona
from temperament.personas.text_kind import TextKind
from temperament.signatures import Pair
from temperament.signatures.texts import TextPair

#: What stands before and after the descriptions, by what the texts are.
_FRAMES = {
    "descriptions": "This is a description of you.",
    "responses": "These are things that you say about yourself.",
}
_CLOSING = (
    "That is the person you are. Whatever you are asked, answer as this person, out of the same habits, likings and "
    "feelings, and in the same way of speaking."
)


class DescriptionKind(TextKind):
    """The method whose personas are prompts made of descriptions, or of statements where there are none."""

    name = "description"

    def texts(self, task: Task) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
        """Written descriptions of the trait if it is a built-in one or a role to play, else the contrast's texts."""
        found = _described(task)
        if found is None:
            return super().texts(task)
        plus, minus = (tuple(Example("", text, text) for text in pole) for pole in found)
        return plus, minus, "descriptions"

    def groups(self, task: Task) -> frozenset[str]:
        plus, minus, _ = self.texts(task)
        return frozenset(group_key(example.group) for example in (*plus, *minus))

    def pair(
        self,
        lm: LoadedModel,  # noqa: ARG002 - a prompt fits every model
        task: Task,
        pair: TextPair,
        name: str,
        origin: Origin,
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        plus, minus = description_pair(pair, task.parameters.count, name, origin)
        words = {persona.pole: len(_text(persona).split()) for persona in (plus, minus)}
        return plus, minus, {self.name: {**words, "from": pair.provenance["texts"]}}

    def rebuild(
        self,
        lm: LoadedModel,  # noqa: ARG002 - a prompt fits every model
        pair: TextPair,
        plus: Persona,
        minus: Persona,
    ) -> Poles:
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        return description_pair(pair, method_of(plus)[1].count, "rebuilt", origin)

    def randomised(
        self,
        lm: LoadedModel,  # noqa: ARG002 - a prompt fits every model
        plus: Persona,
        minus: Persona,
        seed: int,
        pair: Pair | None,  # noqa: ARG002 - the personas say enough
    ) -> Poles:
        """Neutral text of as many words in the place of the descriptions."""

        def neutral(persona: Persona) -> PromptEdit:
            return PromptEdit(_neutral(_text(persona), f"{seed} {persona.pole}"))

        return with_edits(plus, minus, f"random-{seed}", neutral)


def description_pair(pair: TextPair, count: int, name: str, origin: Origin) -> Poles:
    """Prompts of both poles, each made of ``count`` texts at the same seeded positions."""
    opening = _FRAMES[pair.provenance["texts"]]
    total = min(len(pair.plus), len(pair.minus))
    seed = f"description {pair.provenance['seed']}"
    chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))
    plus, minus = (
        Persona(
            f"{name}-{pole}",
            pole,
            PromptEdit("\n\n".join((opening, *(pair.pole(pole)[index].response for index in chosen), _CLOSING))),
            origin[pole],
            pair.groups,
            pair,
        )
        for pole in POLES
    )
    return plus, minus


def _described(task: Task) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    if isinstance(task.data, RolePlay):
        return task.data.plus, task.data.minus
    trait = CONTRASTS.get(task.data.name)
    # a user's own file may have the name of a trait, and its poles another meaning
    return descriptions(trait.name) if trait and trait in TRAITS and trait.prompts == task.data.prompts else None


def _neutral(text: str, seed: str) -> str:
    opening, closing = text.partition("\n\n")[0], text.rpartition("\n\n")[2]
    words = len(text.split()) - len(opening.split()) - len(closing.split())
    passages = list(neutral_texts())
    random.Random(f"neutral {seed}").shuffle(passages)
    found: list[str] = []
    while len(found) < words:
        found += " ".join(passages).split()
    return "\n\n".join((opening, " ".join(found[:words]), closing))


def _text(persona: Persona) -> str:
    if not isinstance(persona.edit, PromptEdit):
        raise ValueError("not a prompt persona")
    return persona.edit.text
