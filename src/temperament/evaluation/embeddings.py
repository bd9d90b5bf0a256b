"""Sentence embeddings for the local judge."""

from __future__ import annotations

from collections.abc import Sequence

from temperament import embeddings
from temperament.embeddings import ENCODER, WIDTH, Embed, Embeddings
from temperament.errors import TemperamentError

__all__ = ["ENCODER", "WIDTH", "Embed", "Embeddings", "embed", "needs_judge"]

JUDGE_EXTRA = "pip install 'temperament[judge]'"


def embed(texts: Sequence[str]) -> Embeddings:
    """``temperament.embeddings.embed``; a ``TemperamentError`` with the extra where packages are absent."""
    try:
        return embeddings.embed(texts)
    except ImportError as error:
        raise needs_judge(error) from None


def needs_judge(error: ImportError) -> TemperamentError:
    """What to say when one of the optional packages of embeddings and local judge cannot be imported."""
    return TemperamentError(f"the local judge needs a package that is absent ({error})", JUDGE_EXTRA)
