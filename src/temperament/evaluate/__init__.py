"""Evidence: measures with confidence intervals, and the controls without which a figure means nothing."""

from temperament.evaluate.run import CONTROLS, MEASURES, Evaluation, evaluate

__all__ = ["CONTROLS", "MEASURES", "Evaluation", "evaluate"]
