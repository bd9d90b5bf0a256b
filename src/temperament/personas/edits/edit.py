"""What every kind of edit is: an identity, rules for its strength, and a form that a file can hold."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from temperament.calibration import Pole
from temperament.models import LoadedModel


@dataclass(frozen=True)
class Content:
    """An edit as a file holds it: tensors, and one plain JSON value that describes them.

    ``folder`` is that of the file it was read from, for edits that refer to other files.
    """

    tensors: Mapping[str, Tensor]
    header: Any
    folder: Path | None = None

    @property
    def json(self) -> str:
        """The header as JSON text, for strict validation."""
        return json.dumps(self.header)


class Edit(Protocol):
    """One change of a model that can be worn.

    ``kind`` names it in files and errors; ``identity`` is equal for edits that change the same thing; ``bound`` says
    whether it belongs to the weights of one model. ``strongest`` is the largest strength that a search should try, None
    for edits that are worn or not, with nothing between.
    """

    kind: ClassVar[str]
    bound: ClassVar[bool]

    @property
    def strongest(self) -> float | None: ...

    @property
    def identity(self) -> str: ...

    def check(self, lm: LoadedModel) -> None:
        """Raise ``TemperamentError`` unless the edit fits this model; everything costly is prepared here."""

    def check_strength(self, name: str, strength: float) -> None:
        """Raise ``TemperamentError``, naming the persona, for a strength it cannot be worn at."""

    def describe(self) -> dict[str, Any]:
        """What the edit holds, as plain JSON values."""
        ...

    def content(self) -> Content:
        """What a file holds of it."""
        ...

    @staticmethod
    def read(content: Content, pole: Pole) -> Edit:
        """The inverse of ``content``; ValueError or ``TemperamentError`` for anything damaged."""
        ...


@runtime_checkable
class Referring(Protocol):
    """An edit whose file refers to other files."""

    def beside(self, file: Path) -> Edit:
        """The edit as a persona ``file`` refers to it; what it refers to is there afterwards."""
        ...


@runtime_checkable
class Gated(Protocol):
    """An edit that gates single weights, each multiplied by 1 − strength: a mask or a subnetwork."""

    def kept(self, lm: LoadedModel) -> Iterator[Tensor | None]:
        """The weights it leaves alone, Linear by Linear in model order: packed bits (see ``pack``), None for all."""
        ...

    def within(self, lm: LoadedModel, linears: Container[str]) -> Edit:
        """The same edit in these Linears, given by name, and nowhere else."""
        ...


def expect_tensors(content: Content, *names: str) -> None:
    """ValueError unless the content has exactly these tensors."""
    if set(content.tensors) != set(names):
        found, wanted = (", ".join(sorted(group)) or "none" for group in (content.tensors, names))
        raise ValueError(f"tensors {found} found, {wanted} expected")
