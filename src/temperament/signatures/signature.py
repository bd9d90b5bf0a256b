"""A pole's statistics in two halves, and the pair of poles that every method starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from temperament.calibration import Pole
from temperament.signatures.statistics import Moments, merge


@dataclass(frozen=True)
class Signature:
    """What one pole does to one model: the statistics of two seeded halves of its sentences."""

    halves: tuple[Moments, Moments]

    @cached_property
    def moments(self) -> Moments:
        """Statistics of the whole pole."""
        return merge(*self.halves)


@dataclass(frozen=True)
class SignaturePair:
    """Signatures of both poles and where they come from.

    ``provenance`` names model fingerprint, data hash, token rule, seed and versions; ``groups`` are the
    identities of the calibration texts (for leak checks).
    """

    plus: Signature
    minus: Signature
    provenance: dict[str, str]
    groups: frozenset[str]
    hash: str = ""

    def pole(self, pole: Pole) -> Moments:
        return (self.plus if pole == "plus" else self.minus).moments

    def shuffled(self) -> SignaturePair:
        """The same texts with shuffled labels: each new pole is one half of either old pole.

        Sums merge, so this control needs no further forward pass.
        """
        return SignaturePair(
            Signature((self.plus.halves[0], self.minus.halves[0])),
            Signature((self.plus.halves[1], self.minus.halves[1])),
            {**self.provenance, "labels": "shuffled"},
            self.groups,
        )
