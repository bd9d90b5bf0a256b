"""The guard on free answers: where they go round in circles a strength is too large, whatever neutral text says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from temperament.calibration.builtin import TRAITS, questions
from temperament.evaluation.budget import MOST_REPEAT
from temperament.evaluation.fluency import excess_repeat
from temperament.evaluation.generation import Generation
from temperament.evaluation.instrument import Record

#: Questions asked at every strength that is tried, in one batch, and tokens of an answer.
QUESTIONS, TOKENS = 20, 40


def trait_questions(trait: str | None, use: Literal["identification", "test"], count: int) -> tuple[str, ...]:
    """Built-in questions of the trait, or of all of them, evenly taken; fewer than ``count`` if there are no more."""
    found = [text for name in ([trait] if trait else [t.name for t in TRAITS]) for text in questions(name, use=use)]
    return tuple(found[:: max(1, len(found) // count)][:count])


def tuning_answers(trait: str | None) -> Generation:
    """Short answers to questions of a trait (None: of all traits) that no measurement asks."""
    asked = trait_questions(trait, "identification", QUESTIONS)
    return Generation(asked, max_tokens=TOKENS, batch=QUESTIONS, label="generation-validation")


def loops(worn: Sequence[Record], base: Sequence[Record]) -> float:
    """How much more the worn answers repeat themselves than the unworn ones, as a share of an answer (−1 to 1)."""
    after, before = ([str(record["answer"]) for record in side] for side in (worn, base))
    return excess_repeat(after, before)


def goes_round(fluency: Mapping[str, Any]) -> bool:
    """Whether answers of either pole repeat themselves too much beside unworn ones, by ``fluency`` as plain JSON."""
    shares = [fluency.get(f"{side}_repeat") for side in ("plus", "minus", "unworn")]
    plus, minus, base = (math.nan if share is None else float(share) for share in shares)
    return max(plus - base, minus - base) > MOST_REPEAT
