"""Methods side by side: every method and baseline on one contrast, at one budget, with one set of controls."""

from temperament.compare.run import compare
from temperament.compare.settings import Settings

__all__ = ["Settings", "compare"]
