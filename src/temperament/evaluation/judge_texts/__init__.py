"""Our own texts that teach a local judge a trait: what people of either pole answer to everyday open questions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from temperament.errors import TemperamentError

#: Traits that have texts.
JUDGED_TRAITS: tuple[str, ...] = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")


@dataclass(frozen=True)
class JudgeText:
    """A matched pair of spoken answers of 20 to 55 words on one topic, by somebody high (plus) and low (minus).

    Within a trait no topic stands twice, so the splits share none.
    """

    split: Literal["train", "held-out"]
    topic: str
    plus: str
    minus: str


@cache
def judge_texts(trait: str) -> tuple[JudgeText, ...]:
    """The 60 pairs of a trait: 42 to train a probe on and 18 held out to measure it.

    Errors:
        TemperamentError: the trait has no texts.
    """
    if trait not in JUDGED_TRAITS:
        raise TemperamentError(f"there are no judge texts for {trait!r}", f"choose one of {', '.join(JUDGED_TRAITS)}")
    text = (files("temperament.evaluation.judge_texts") / f"{trait}.jsonl").read_text(encoding="utf-8")
    return tuple(JudgeText(**json.loads(line)) for line in text.splitlines())
