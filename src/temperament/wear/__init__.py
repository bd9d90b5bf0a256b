"""Wearing a plan: every edit is owned by a context manager that restores the model bit by bit."""

from temperament.wear.session import wear

__all__ = ["wear"]
