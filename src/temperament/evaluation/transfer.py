"""``transfer``: whether an effect holds on another instrument and behind another question, or was style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from temperament.calibration import NEUTRAL_PROMPT, Contrast, Example
from temperament.errors import TemperamentError
from temperament.evaluation.auc import auc
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.instrument import Record
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes

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


def item_contrast(name: str, items: Iterable[tuple[str, int]]) -> Contrast:
    """Questionnaire items (text, key ±1) as first-person sentences; those keyed + are the plus pole.

    Items are verb phrases without their subject, as in public item pools; one that already begins with I or My
    stays as it is.
    """
    poles: dict[int, list[Example]] = {1: [], -1: []}
    for text, key in items:
        if not text.strip() or key not in poles:
            raise TemperamentError(f"the item {text!r} has the key {key!r}", "expected a text and the key 1 or -1")
        sentence = item_sentence(text)
        poles[key].append(Example(NEUTRAL_PROMPT, sentence, group=sentence))
    if not all(poles.values()):
        raise TemperamentError(
            f"{name} has {len(poles[1])} items keyed + and {len(poles[-1])} keyed −", "give some of both"
        )
    return Contrast(name, tuple(poles[1]), tuple(poles[-1]), split="test")


def item_sentence(text: str) -> str:
    """'Keep my promises.' as 'I keep my promises.'"""
    words = text.strip().rstrip(".").split()
    if words[0].split("'")[0] not in ("I", "My"):
        words = ["I", words[0][:1].lower() + words[0][1:], *words[1:]]
    return " ".join(words) + "."


def transfer(plus: Sequence[Record], minus: Sequence[Record], *, seed: int) -> Measured:
    """Separation in nats per token on the other instrument, from its records wearing plus and wearing minus.

    ``extra`` holds the ``auc`` with its interval. To be read beside the same figures on the own instrument.
    """
    high, low = statement_changes(plus, minus)
    found, area = separation(high, low, seed=seed), auc(high, low, seed=seed)
    return replace(found, extra={"auc": area.value, "auc_interval": [area.low, area.high]})
