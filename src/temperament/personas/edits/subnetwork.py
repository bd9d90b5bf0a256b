"""Subnetwork edits: a few weights of one model that are gated, as delta-coded positions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from temperament.calibration import Pole
from temperament.container import checked_tensor
from temperament.errors import TemperamentError
from temperament.models import LinearSite, LoadedModel
from temperament.personas.edits.compressed import deflated, inflated
from temperament.personas.edits.edit import Content, expect_tensors
from temperament.personas.masks import pack

#: Byte planes of a gap; the upper ones are zeros, which take next to no room.
_PLANES = 8
#: Largest strength: 1 removes the weights, 2 turns their sign, 4 makes them three times as large besides.
STRONGEST = 4.0


class SubnetworkHeader(BaseModel):
    """The Linears through which positions count, as (name, outputs, inputs), and how many positions there are."""

    model_config = ConfigDict(extra="forbid", strict=True)
    linears: list[tuple[str, int, int]] = Field(min_length=1)
    count: int = Field(ge=1)


@dataclass(frozen=True, eq=False)
class SubnetworkEdit:
    """Weights that are multiplied by 1 − strength.

    ``linears`` are (name, outputs, inputs) of every targeted Linear; ``positions`` (n,) int64, ascending, count
    through all of them one after the other, row by row.
    """

    kind: ClassVar[str] = "subnetwork"
    bound: ClassVar[bool] = True
    strongest: ClassVar[float | None] = STRONGEST
    linears: tuple[tuple[str, int, int], ...]
    positions: Tensor

    @cached_property
    def total(self) -> int:
        """Number of weights that positions count through."""
        return sum(rows * columns for _, rows, columns in self.linears)

    def parts(self) -> Iterator[tuple[str, Tensor]]:
        """Name and flat positions within it of each Linear that has any."""
        begin = 0
        for name, rows, columns in self.linears:
            end = begin + rows * columns
            first, last = torch.searchsorted(self.positions, torch.tensor([begin, end])).tolist()
            if last > first:
                yield name, self.positions[first:last] - begin
            begin = end

    def kept(self, lm: LoadedModel) -> Iterator[Tensor | None]:
        """See ``Gated``."""
        parts = dict(self.parts())
        for linear in lm.linears:
            edited = parts.get(linear.name)
            if edited is None:
                yield None
                continue
            mask = torch.ones(linear.shape, dtype=torch.bool)
            mask.view(-1)[edited] = False
            yield pack(mask)

    def within(self, lm: LoadedModel, linears: Container[str]) -> SubnetworkEdit:  # noqa: ARG002 - as for masks
        """See ``Gated``."""
        starts = accumulate((rows * columns for _, rows, columns in self.linears), initial=0)
        spans = zip(self.linears, pairwise(starts), strict=True)
        inside = [torch.arange(0)]
        for (name, *_), span in spans:
            if name in linears:
                first, last = torch.searchsorted(self.positions, torch.tensor(span)).tolist()
                inside.append(self.positions[first:last])
        return SubnetworkEdit(self.linears, torch.cat(inside))

    def check(self, lm: LoadedModel) -> None:
        """Raise unless the Linears of this model are those that positions count through."""
        if self.linears != shapes_of(lm.linears):
            raise TemperamentError(
                f"the persona counts through {len(self.linears)} Linears with {self.total} weights, the model has "
                f"{len(lm.linears)} others",
                "wear it on the model it was made from",
            )

    @cached_property
    def identity(self) -> str:
        """SHA-256 over Linears and positions."""
        digest = hashlib.sha256(json.dumps(self.linears).encode())
        digest.update(self.positions.numpy().data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SubnetworkEdit) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def check_strength(self, name: str, strength: float) -> None:
        if not 0 <= strength <= STRONGEST:
            raise TemperamentError(
                f"strength {strength} of the subnetwork persona {name!r}",
                "use 0 to 4 (1 removes weights, 2 turns their sign); for the opposite effect wear the opposite pole",
            )

    def describe(self) -> dict[str, Any]:
        share = len(self.positions) / self.total
        return {"subnetwork": {"weights": len(self.positions), "share": share, "linears": len(self.linears)}}

    def content(self) -> Content:
        header = SubnetworkHeader(linears=list(self.linears), count=len(self.positions))
        return Content({"gaps": packed_gaps(self.positions)}, header.model_dump())

    @staticmethod
    def read(content: Content, pole: Pole) -> SubnetworkEdit:  # noqa: ARG004 - the positions are those of one pole
        """From a file's content; ValueError for anything that is not a set of positions."""
        header = SubnetworkHeader.model_validate_json(content.json)
        expect_tensors(content, "gaps")
        if any(rows < 1 or columns < 1 for _, rows, columns in header.linears):
            raise ValueError("a Linear has no weights")
        total = sum(rows * columns for _, rows, columns in header.linears)
        if header.count > total:
            raise ValueError(f"{header.count} positions are more than the {total} weights of the model")
        positions = unpacked_gaps(checked_tensor(content.tensors, "gaps", torch.uint8, 1), header.count)
        if positions[0] < 0 or positions[-1] >= total or (positions.diff() <= 0).any():  # gaps can overflow
            raise ValueError(f"a position lies outside the {total} weights of the model")
        return SubnetworkEdit(tuple(header.linears), positions)


def shapes_of(linears: tuple[LinearSite, ...]) -> tuple[tuple[str, int, int], ...]:
    """(name, outputs, inputs) of every Linear."""
    return tuple((linear.name, *linear.shape) for linear in linears)


def packed_gaps(positions: Tensor) -> Tensor:
    """Ascending positions as the gaps between them, byte plane by byte plane, compressed; uint8."""
    gaps = np.diff(positions.numpy(), prepend=-1) - 1
    planes = gaps.astype("<u8").view(np.uint8).reshape(-1, _PLANES).T
    return deflated(planes.tobytes(), 9)


def unpacked_gaps(packed: Tensor, count: int) -> Tensor:
    """The inverse of ``packed_gaps``; ValueError unless exactly ``count`` gaps are held."""
    data = inflated(packed, _PLANES * count, f"{count} positions")
    gaps = np.frombuffer(data, dtype=np.uint8).reshape(_PLANES, -1).T.copy().view("<u8").ravel()
    return torch.from_numpy(np.cumsum(gaps.astype(np.int64) + 1) - 1)
