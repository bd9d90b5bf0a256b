"""``transfer``: whether an effect holds on another instrument and behind another question, or was style."""

from __future__ import annotations

from dataclasses import replace

from temperament.calibration import Contrast
from temperament.errors import TemperamentError
from temperament.evaluation.statements import Statements

#: A second question that every statement may answer, in other words than ``NEUTRAL_PROMPT``.
SECOND_PROMPT = "If someone asked what you are like, what would you say?"


def with_prompt(contrast: Contrast, prompt: str) -> Contrast:
    """The same texts as replies to ``prompt``; each keeps its group, so that leaks are still found."""
    if not prompt.strip():
        raise TemperamentError("the question is empty", "give some text to answer")
    asked = _questions(contrast)
    if len(asked) > 1:
        raise TemperamentError(
            f"the texts of {contrast.name!r} answer {len(asked)} different questions", "change only a shared question"
        )
    plus, minus = (tuple(replace(item, prompt=prompt) for item in pole) for pole in (contrast.plus, contrast.minus))
    return replace(contrast, plus=plus, minus=minus)


def transfer_statements(contrast: Contrast, prompt: str = SECOND_PROMPT) -> dict[str, Statements]:
    """The instruments for another instrument's statements: ``same`` question as there, and ``changed`` question.

    Texts that answer questions of their own have no ``changed`` one.
    """
    found = {"same": Statements(contrast, f"transfer-{contrast.name}")}
    if len(_questions(contrast)) == 1:
        found["changed"] = Statements(with_prompt(contrast, prompt), f"transfer-{contrast.name}-question")
    return found


def _questions(contrast: Contrast) -> set[str]:
    return {item.prompt for item in (*contrast.plus, *contrast.minus)}
