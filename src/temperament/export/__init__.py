"""Export: what a mask says about a model as an ordinary checkpoint, with the persona baked in, smaller, or both."""

from temperament.export.checkpoint import check_exportable, export, read_worn
from temperament.export.cut import Cut, Scores, choose, magnitude, random_scores, removal
from temperament.export.energy import importance
from temperament.export.sizes import Sizes, plan_sizes
from temperament.export.smaller import smaller

__all__ = [
    "Cut",
    "Scores",
    "Sizes",
    "check_exportable",
    "choose",
    "export",
    "importance",
    "magnitude",
    "plan_sizes",
    "random_scores",
    "read_worn",
    "removal",
    "smaller",
]
