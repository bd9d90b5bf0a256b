"""What a kind of edit must provide so that every row of a batch can wear its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from temperament.models import LoadedModel
from temperament.personas import Edit
from temperament.wear.positions import Positions

E = TypeVar("E", bound=Edit)

#: What one row of a batch wears: edits and their weights.
Row = tuple[tuple[E, float], ...]


class RowKind(ABC, Generic[E]):
    """How edits of one type are combined and attached; one row for a whole batch, or one for each of its rows."""

    #: The type of the edits, E.
    edit: ClassVar[type[Any]]
    #: Whether one edit holds both poles, so that wearing the minus pole is a negative weight.
    signed: ClassVar[bool] = True
    #: Whether an edit is attached here also when a whole batch wears it; else it is worn in the weights then.
    whole_batch: ClassVar[bool] = True

    def check(self, rows: tuple[Row[E], ...]) -> None:
        """``TemperamentError`` if edits of these rows cannot be worn together."""

    @abstractmethod
    def attach(self, lm: LoadedModel, rows: tuple[Row[E], ...], positions: Positions) -> None:
        """Put the hooks on; what takes each of them off goes to ``lm.hooks`` in the same statement."""


def distinct(rows: tuple[Row[E], ...], device: torch.device) -> tuple[list[Row[E]], Tensor]:
    """The different rows, and for each row its place among them, (rows,) int64: plans that recur share a table."""
    unique = list(dict.fromkeys(rows))
    return unique, torch.tensor([unique.index(row) for row in rows], device=device)
