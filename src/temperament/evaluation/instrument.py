"""Instruments: sets of items that are put to a model in whatever it wears, each giving one plain-JSON record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from temperament.models import LoadedModel

#: What one item gave: plain JSON values only, enough to compute every measure again without the model.
Record = dict[str, Any]


class Instrument(Protocol):
    """Items to put to a model, and how; what is measured is computed from the records by pure functions.

    ``hash`` identifies items and settings: equal hashes mean comparable records. ``groups`` are the identities
    (``calibration.contrast.group_key``) of texts that nothing worn may have been calibrated or tuned on.
    """

    @property
    def name(self) -> str: ...

    @property
    def hash(self) -> str: ...

    @property
    def groups(self) -> frozenset[str]: ...

    def __len__(self) -> int: ...

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        """Put the items at the positions ``todo`` to ``lm`` as it is, and yield (position, record) as they finish."""
        ...


def batches(order: Sequence[int], size: int, todo: Sequence[int]) -> Iterator[Sequence[int]]:
    """``size`` positions of ``order`` at a time, without those batches that hold nothing to do.

    Batches are the same whichever items are to do, so that an interrupted run ends with the records of an
    uninterrupted one: what a model computes depends, in bf16 visibly, on the batch.
    """
    wanted = frozenset(todo)
    for begin in range(0, len(order), size):
        batch = order[begin : begin + size]
        if not wanted.isdisjoint(batch):
            yield batch


def text_digest(parts: Iterable[str]) -> str:
    """SHA-256 over texts in order, for an instrument's ``hash``."""
    return hashlib.sha256("\x1e".join(parts).encode()).hexdigest()
