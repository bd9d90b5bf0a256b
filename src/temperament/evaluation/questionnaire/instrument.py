"""The instrument: every item put to the model in several ways, its answer read from the options' probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from temperament.calibration.contrast import group_key
from temperament.calibration.items import Item
from temperament.calibration.questionnaire_items import first_person
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array
from temperament.evaluation.instrument import Record, batches, text_digest
from temperament.evaluation.questionnaire.wording import PRESENTATIONS, VALUES, Presentation
from temperament.evaluation.score import score_responses
from temperament.evaluation.scored_items import encode_reply
from temperament.models import LoadedModel

#: Items put to the model at a time; their records are complete, and kept, before the next begin.
_ITEMS = 8


@dataclass(frozen=True)
class Questionnaire:
    """Items answered on a scale from 1 (least agreement) to 5.

    A presentation's answer is Σ p(option) · value, p being the softmax over the five labels' log-probabilities; a
    record's ``expected`` is the mean over presentations, before any reversal by key. ``argmax`` is the likeliest
    value per presentation, ``mass`` the probability that the reply is any of the labels: where it is small, the
    model was answering something else.
    """

    items: tuple[Item, ...]
    presentations: tuple[Presentation, ...] = PRESENTATIONS["standard"]
    name: str = "questionnaire"

    def __post_init__(self) -> None:
        if not self.items or not self.presentations:
            raise TemperamentError("a questionnaire without items or presentations", "give one of each or more")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def hash(self) -> str:
        items = (f"{i.number}\x1f{i.domain}\x1f{i.facet}\x1f{i.key}\x1f{i.text}" for i in self.items)
        return text_digest(["questionnaire 1", *items, *(p.identity for p in self.presentations)])

    @property
    def groups(self) -> frozenset[str]:
        """Identities of the items as printed and as first-person sentences."""
        return frozenset(group_key(text) for item in self.items for text in (item.text, first_person(item.text)))

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        """Put the items at ``todo`` to ``lm``; the five options of a presentation share one row of the batch."""
        for part in batches(range(len(self)), _ITEMS, todo):
            rows = [
                encode_reply(lm, presentation.prompt(self.items[index]), response)
                for index in part
                for presentation in self.presentations
                for response in presentation.responses
            ]
            totals = np.array([score.total for score in score_responses(lm, rows)])
            for index, scores in zip(part, totals.reshape(len(part), -1, len(VALUES)), strict=True):
                if index in todo:
                    yield index, self._record(self.items[index], scores)

    def _record(self, item: Item, scores: Array) -> Record:
        """``scores`` (presentations, values) are log-probabilities of the five labels."""
        relative = np.exp(scores - scores.max(1, keepdims=True))
        shares = relative / relative.sum(1, keepdims=True)
        expected = shares @ np.array(VALUES, dtype=float)
        return {
            "item": item.number,
            "text": item.text,
            "domain": item.domain,
            "facet": item.facet,
            "key": item.key,
            "expected": float(expected.mean()),
            "mass": float(np.exp(scores).sum(1).mean()),
            "presentations": {
                presentation.name: {
                    "expected": float(expected[row]),
                    "argmax": VALUES[int(scores[row].argmax())],
                    "log_probability": scores[row].tolist(),
                }
                for row, presentation in enumerate(self.presentations)
            },
        }
