"""Evidence: measures with confidence intervals, and the controls without which a figure means nothing."""

from temperament.evaluation.controls import CONTROLS
from temperament.evaluation.run import MEASURES, Evaluation, evaluate

__all__ = ["CONTROLS", "MEASURES", "Evaluation", "evaluate"]
