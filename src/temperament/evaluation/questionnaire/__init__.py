"""The measure ``questionnaire``: a model's answers to personality items, scored by the rules made for people."""

from temperament.calibration.items import Item, read_items, resolve_items
from temperament.evaluation.questionnaire.instrument import Questionnaire
from temperament.evaluation.questionnaire.norms import Norms, find_norms, read_norms
from temperament.evaluation.questionnaire.scores import (
    acquiescence,
    consistency,
    domain_scores,
    effect,
    effects,
    facet_scores,
)
from temperament.evaluation.questionnaire.wording import PRESENTATIONS, Presentation, Wording, find_presentations

__all__ = [
    "PRESENTATIONS",
    "Item",
    "Norms",
    "Presentation",
    "Questionnaire",
    "Wording",
    "acquiescence",
    "consistency",
    "domain_scores",
    "effect",
    "effects",
    "facet_scores",
    "find_norms",
    "find_presentations",
    "read_items",
    "read_norms",
    "resolve_items",
]
