"""A pole's statistics in two halves, and the pair of poles that every method starts from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.signatures.statistics import Moments, merge


@dataclass(frozen=True)
class Signature:
    """What one pole does to one model: the statistics of two seeded halves of its sentences."""

    halves: tuple[Moments, Moments]

    @cached_property
    def moments(self) -> Moments:
        """Statistics of the whole pole."""
        return merge(*self.halves)


def union(first: SignaturePair, second: SignaturePair, provenance: dict[str, str]) -> SignaturePair:
    """Statistics of the union of two disjoint sets of texts of the same poles; ``provenance`` is that of the union.

    They equal those of one run over all texts but for the order of sums, and which texts make up a half.
    """
    plus, minus = (
        Signature((merge(a.halves[0], b.halves[0]), merge(a.halves[1], b.halves[1])))
        for a, b in ((first.plus, second.plus), (first.minus, second.minus))
    )
    parts = f"{first.provenance.get('parts', first.hash)} {second.hash}"
    return SignaturePair(plus, minus, {**provenance, "parts": parts}, first.groups | second.groups)


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

    @cached_property
    def hash(self) -> str:
        """SHA-256 over provenance and statistics; persona files refer to it."""
        digest = hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode())
        for moments in (*self.plus.halves, *self.minus.halves):
            digest.update(f"{moments.count} {moments.sentences}".encode())
            for tensor in (moments.mean, moments.m2, moments.l2, moments.seen):
                if tensor is not None:
                    digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    def pole(self, pole: Pole) -> Moments:
        return (self.plus if pole == "plus" else self.minus).moments

    def seen_at(self, index: int, pole: Pole) -> int:
        """How many counted tokens of a pole reached that input of the model."""
        moments = self.pole(pole)
        return moments.count if moments.seen is None else int(moments.seen[index])

    @property
    def tokens(self) -> dict[Pole, int]:
        """Counted tokens of each pole."""
        return {pole: self.pole(pole).count for pole in POLES}

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
