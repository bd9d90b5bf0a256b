"""Questionnaire items as first-person sentences: test data of another instrument, for ``transfer``, and only that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from temperament.calibration.builtin import CONTRASTS
from temperament.calibration.contrast import NEUTRAL_PROMPT, Contrast, Example, Split
from temperament.calibration.items import DOMAINS, SCALES, Item, resolve_items
from temperament.errors import TemperamentError

#: Words that begin a whole sentence, which needs no subject put before it.
_SUBJECT = re.compile(
    r"(?:I|I['’](?:m|ve|d|ll)|My|Mine|It|It['’]s|There|Others|Other people|People|Someone|Everyone|Nothing)\b"
)


class QuestionnaireContrast(Contrast):
    """Questionnaire items of one trait: a test split that nothing may be calibrated or tuned on."""

    def select(self, split: Split) -> Contrast:
        """The items for test or all; every other split is refused."""
        if split not in ("test", "all"):
            raise TemperamentError(f"{self.name!r} has no {split} split: {_WHY}", _REMEDY)
        return self


_WHY = "questionnaire items are test data"
_REMEDY = "calibrate on other texts, such as a built-in contrast, and keep the items for measuring transfer"


def refuse_questionnaire(data: object) -> None:
    """Raise if ``data`` to calibrate on are questionnaire items."""
    if isinstance(data, QuestionnaireContrast):
        raise TemperamentError(f"{data.name!r} cannot be calibrated on: {_WHY}", _REMEDY)


def first_person(text: str) -> str:
    """An item as a sentence about oneself: "Am always late." becomes "I am always late."."""
    text = " ".join(text.split())
    if not _SUBJECT.match(text):
        text = f"I {text[:1].lower()}{text[1:]}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def find_domain(name: str) -> str:
    """The trait of a letter, or the trait or axis of a name, in any case; an error that lists them."""
    trait = DOMAINS.get(name.strip().upper(), name.strip().lower())
    if trait not in SCALES:
        raise TemperamentError(
            f"there is no domain {name!r}", f"use one of {', '.join(SCALES)}, or a trait's first letter"
        )
    return trait


def transfer_contrast(source: str | Path | Sequence[Item], domain: str) -> QuestionnaireContrast:
    """The items of ``domain`` as first-person replies to the neutral question, + keyed ones as the plus pole.

    ``source`` is a file, ``ffm`` or items already read. Every item belongs to the test split; extraction refuses
    the result.
    """
    trait = find_domain(domain)
    named = isinstance(source, str | Path)
    items = resolve_items(source) if isinstance(source, str | Path) else tuple(source)
    plus, minus = (
        tuple(
            Example(NEUTRAL_PROMPT, sentence, group=sentence, split="test")
            for item in items
            if item.domain == trait and item.key == key
            for sentence in (first_person(item.text),)
        )
        for key in (1, -1)
    )
    name = f"{Path(str(source)).stem if named else 'questionnaire'}-{trait}"
    if not plus or not minus:
        raise TemperamentError(
            f"{name} has {len(plus)} + keyed and {len(minus)} − keyed items", "transfer needs items of both keys"
        )
    return QuestionnaireContrast(name, plus, minus, split="test", prompts=CONTRASTS[trait].prompts)
