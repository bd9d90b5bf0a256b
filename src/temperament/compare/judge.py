"""The local judge of a comparison."""

from __future__ import annotations

from collections.abc import Callable

from temperament.compare.settings import Texts
from temperament.errors import TemperamentError
from temperament.evaluation.generation import Judge
from temperament.evaluation.local_judge import contrast_judge, trait_judge


def comparison_judge(texts: Texts, tell: Callable[[str], None]) -> Judge | None:
    """The local judge of the trait, or one trained on the judge's texts; None, with a note, where it cannot be had."""
    try:
        if texts.judge:
            judge = contrast_judge(texts.judge)
        elif texts.trait:
            judge = trait_judge(texts.trait)
        else:
            return None  # the notes of the texts say why
    except TemperamentError as error:
        tell(f"free answers are not judged: {error}")
        return None
    seen = (texts.calibration, texts.validation, texts.test, texts.transfer, texts.items)
    judge.check_disjoint(key for contrast in seen if contrast for key in contrast.group_keys)
    return judge
