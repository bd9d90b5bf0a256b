"""What the statistics of both poles have in common, whatever was counted."""

from __future__ import annotations

from typing import Protocol

from temperament.calibration import Pole


class Pair(Protocol):
    """Statistics of both poles of one contrast on one model.

    ``provenance`` names what the numbers depend on, ``groups`` are the identities of the calibration texts, and
    ``hash`` is the SHA-256 of both, to which persona files refer.
    """

    @property
    def provenance(self) -> dict[str, str]: ...

    @property
    def groups(self) -> frozenset[str]: ...

    @property
    def hash(self) -> str: ...

    @property
    def tokens(self) -> dict[Pole, int]:
        """How many tokens of each pole were counted."""
        ...

    def shuffled(self) -> Pair:
        """The same texts with shuffled labels, without a further forward pass."""
        ...
