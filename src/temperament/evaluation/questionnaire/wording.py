"""How an item is put: the question, the words of the scale, the labels of the options and their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from temperament.calibration.items import Item
from temperament.calibration.questionnaire_items import first_person
from temperament.errors import TemperamentError

Order = Literal["ascending", "descending"]
Labels = Literal["letters", "numerals"]

#: Values of the five options.
VALUES = (1, 2, 3, 4, 5)
_LABELS: dict[Labels, tuple[str, ...]] = {"letters": tuple("ABCDE"), "numerals": tuple("12345")}
_ASK: dict[Labels, str] = {"letters": "Reply with one letter.", "numerals": "Reply with one number."}


@dataclass(frozen=True)
class Wording:
    """A question about an item, and its scale from least to most agreement.

    ``{text}`` stands for the item as printed, ``{sentence}`` for the item as a first-person sentence.
    """

    name: str
    question: str
    scale: tuple[str, str, str, str, str]


WORDINGS = (
    Wording(
        "fits",
        "Think of how you usually are. How well does this statement fit you?\n{sentence}",
        ("not at all", "only a little", "in part", "well", "completely"),
    ),
    Wording(
        "true",
        'A form about personality has this line: "{text}" How true is it of you?',
        ("clearly false", "rather false", "neither true nor false", "rather true", "clearly true"),
    ),
    Wording(
        "say",
        'Would you say this about yourself? "{sentence}"',
        ("certainly not", "probably not", "undecided", "probably", "certainly"),
    ),
)


@dataclass(frozen=True)
class Presentation:
    """One way to put every item. ``order`` is that of the values 1–5 from the first option to the last."""

    wording: Wording
    labels: Labels
    order: Order

    @property
    def name(self) -> str:
        return f"{self.wording.name}-{self.labels}-{self.order}"

    @property
    def values(self) -> tuple[int, ...]:
        """Values of the options as they stand, first to last."""
        return VALUES if self.order == "ascending" else VALUES[::-1]

    @property
    def responses(self) -> tuple[str, ...]:
        """What the model may reply, in the order of the values 1–5."""
        labels = _LABELS[self.labels]
        return labels if self.order == "ascending" else labels[::-1]

    def prompt(self, item: Item) -> str:
        question = self.wording.question.format(text=item.text, sentence=first_person(item.text))
        options = zip(_LABELS[self.labels], self.values, strict=True)
        lines = [f"{label}. {self.wording.scale[value - 1]}" for label, value in options]
        return "\n".join((question, *lines, _ASK[self.labels]))

    @property
    def identity(self) -> str:
        """Everything that the prompt is made of besides the item."""
        return "\x1f".join((self.name, self.wording.question, *self.wording.scale, _ASK[self.labels]))


def _crossed(*pairs: tuple[int, Labels]) -> tuple[Presentation, ...]:
    """Every wording and label style in both orders, so that a habit of place or label cancels exactly."""
    orders: tuple[Order, ...] = ("ascending", "descending")
    return tuple(Presentation(WORDINGS[index], labels, order) for index, labels in pairs for order in orders)


#: Sets of presentations by name: one wording, three with either label style, three with both.
PRESENTATIONS: dict[str, tuple[Presentation, ...]] = {
    "quick": _crossed((0, "letters")),
    "standard": _crossed((0, "letters"), (1, "numerals"), (2, "letters")),
    "full": _crossed(*((index, labels) for index in range(3) for labels in _LABELS)),
}


def find_presentations(name: str) -> tuple[Presentation, ...]:
    """The set of presentations of that name, or an error that lists all names."""
    if name not in PRESENTATIONS:
        raise TemperamentError(f"there are no presentations {name!r}", f"use one of {', '.join(PRESENTATIONS)}")
    return PRESENTATIONS[name]
