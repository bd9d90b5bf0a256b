"""Calibration and test texts: contrasts with two poles, built in or read from published file formats."""

from temperament.calibration.contrast import NEUTRAL_PROMPT, Choice, Contrast, Example, Pole, Split
from temperament.calibration.resolve import few_texts, resolve_contrast, resolve_roleplay
from temperament.calibration.roleplay import RolePlay, Scene

__all__ = [
    "NEUTRAL_PROMPT",
    "Choice",
    "Contrast",
    "Example",
    "Pole",
    "RolePlay",
    "Scene",
    "Split",
    "few_texts",
    "resolve_contrast",
    "resolve_roleplay",
]
