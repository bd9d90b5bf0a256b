"""Calibration and test texts: contrasts with two poles, built in or read from published file formats."""

from temperament.calibration.contrast import NEUTRAL_PROMPT, Choice, Contrast, Example, Pole, Split
from temperament.calibration.resolve import resolve_contrast

__all__ = ["NEUTRAL_PROMPT", "Choice", "Contrast", "Example", "Pole", "Split", "resolve_contrast"]
