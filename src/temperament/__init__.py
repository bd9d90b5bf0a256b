"""Find the personalities already inside a language model, wear one at run time, and prove that it works."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.api import contrast, evaluate, extract, open
    from temperament.calibration import Contrast, Example
    from temperament.evaluation import Evaluation
    from temperament.language_model import LanguageModel, load
    from temperament.personas import Persona, Plan
    from temperament.signatures import SignaturePair

__version__ = "0.1.0"

#: Where each public name lives; imported on first use, so that ``temperament --help`` does not load torch.
_HOMES = {
    "Contrast": "temperament.calibration",
    "Evaluation": "temperament.evaluation",
    "Example": "temperament.calibration",
    "LanguageModel": "temperament.language_model",
    "Persona": "temperament.personas",
    "Plan": "temperament.personas",
    "SignaturePair": "temperament.signatures",
    "contrast": "temperament.api",
    "evaluate": "temperament.api",
    "extract": "temperament.api",
    "load": "temperament.language_model",
    "open": "temperament.api",
}

__all__ = [
    "Contrast",
    "Evaluation",
    "Example",
    "LanguageModel",
    "Persona",
    "Plan",
    "SignaturePair",
    "TemperamentError",
    "contrast",
    "evaluate",
    "extract",
    "load",
    "open",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'temperament' has no attribute {name!r}")
