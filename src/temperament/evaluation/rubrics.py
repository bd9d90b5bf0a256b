"""Rubrics of 1 to 5 for a judge: how strongly an answer shows one pole of a trait, and how fluent it is."""

from __future__ import annotations

from dataclasses import dataclass

from temperament.calibration import Contrast, Pole
from temperament.calibration.builtin import find_trait

SCORES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Rubric:
    """What is judged, and what each of the scores 1 to 5 stands for."""

    name: str
    subject: str
    anchors: tuple[str, str, str, str, str]

    def __str__(self) -> str:
        return "\n".join(
            (self.subject, *(f"{score}: {text}" for score, text in zip(SCORES, self.anchors, strict=True)))
        )


FLUENCY = Rubric(
    "fluency",
    "Judge the language of the answer alone: whether it reads as whole, connected, natural text that replies to the "
    "question. What the person thinks or feels does not count.",
    (
        "broken: word salad, endless repetition, or nothing to do with the question",
        "hard to follow: whole stretches repeat, contradict themselves or lose the thread",
        "understandable, with clear slips, odd turns or repetition",
        "reads well, with a small slip or a stiff phrase here and there",
        "reads like a careful native writer throughout",
    ),
)

_NEITHER = "no sign of either side, or as much of the one as of the other"

#: Of each trait: marks of a strong and a mild plus pole, then of a mild and a strong minus pole.
_MARKS: dict[str, tuple[str, str, str, str]] = {
    "openness": (
        "is driven by curiosity: seeks the unknown, plays with ideas, is moved by beauty, doubts custom",
        "tries something new or takes up an idea, within limits",
        "prefers the familiar and the useful, though not firmly",
        "holds to the tried and the concrete: turns down novelty, has no time for art or theory",
    ),
    "conscientiousness": (
        "plans, keeps order and duty above comfort, finishes with care what was begun",
        "makes some effort at order or punctuality",
        "lets things slide a little, or decides as it comes",
        "acts without plan or care: puts off, forgets, leaves undone, shrugs at rules",
    ),
    "extraversion": (
        "goes towards people: starts the talk, takes the lead, enjoys crowds, noise and speed",
        "joins in gladly once others have begun",
        "stays rather at the edge, or keeps it short",
        "draws back from people: avoids company, says little, wants to be alone and undisturbed",
    ),
    "agreeableness": (
        "thinks the best of others, gives way, helps at a cost, forgives",
        "is friendly and considerate where it costs little",
        "is somewhat cool, guarded or stubborn",
        "is out for itself: distrusts, attacks, gloats or drives a hard bargain without regard",
    ),
    "neuroticism": (
        "is overcome by worry, anger, shame or gloom and sees no way to bear it",
        "is uneasy or touchy, but copes",
        "stays fairly calm, with a passing doubt",
        "is untroubled: takes strain lightly, keeps a cool head, soon forgets a setback",
    ),
}


def trait_rubric(trait: str, pole: Pole) -> Rubric:
    """How strongly an answer shows ``pole`` of a built-in trait; the minus pole's scale is the plus pole's reversed."""
    known = find_trait(trait)
    if known is None:
        raise ValueError(trait)
    strong, mild, unlike, opposite = _MARKS[trait]
    plus, minus = known.poles
    scale = (
        f"{minus}: {opposite}",
        f"rather {minus}: {unlike}",
        _NEITHER,
        f"rather {plus}: {mild}",
        f"{plus}: {strong}",
    )
    return _directed(trait, pole, (plus, minus), scale)


def contrast_rubric(name: str, prompts: tuple[str, str], pole: Pole) -> Rubric:
    """The same for any contrast, told by a description of each of its poles."""
    plus, minus = (f"“{' '.join(prompt.split())}”" for prompt in prompts)
    scale = (
        f"unmistakably the voice of the second person, described as {minus}",
        "leans towards the second person",
        _NEITHER,
        "leans towards the first person",
        f"unmistakably the voice of the first person, described as {plus}",
    )
    return _directed(name, pole, ("the first person", "the second person"), scale)


def rubric_of(contrast: Contrast, pole: Pole) -> Rubric:
    """The rubric of a contrast: written anchors for a built-in trait, else from the prompts of its poles."""
    base = contrast.name.removesuffix("-scenes")
    return (
        trait_rubric(base, pole) if find_trait(base) else contrast_rubric(contrast.name, contrast.pole_prompts(), pole)
    )


def _directed(name: str, pole: Pole, poles: tuple[str, str], scale: tuple[str, str, str, str, str]) -> Rubric:
    """The scale from the minus to the plus pole, turned round for the minus pole."""
    towards, away = poles if pole == "plus" else poles[::-1]
    anchors = scale if pole == "plus" else (scale[4], scale[3], scale[2], scale[1], scale[0])
    subject = (
        f"Judge what the answer shows of its writer: how far it is {towards} rather than {away}. Go by what the writer "
        "does, wants and feels in it, not by how well it is written, and not by whether you approve."
    )
    return Rubric(name, subject, anchors)
