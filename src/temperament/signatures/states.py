"""Mean hidden states of every text: after each block, and of each attention head before the output projection."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from temperament.calibration import Pole

#: Where states are read and shifted: the residual stream after a block, or the input of the attention's output
#: projection, of which each head is a slice.
Place = Literal["residual", "heads"]
PLACES: tuple[Place, Place] = ("residual", "heads")


@dataclass(frozen=True)
class States:
    """Means over the counted tokens of each text, fp32: (texts, layers, width) at each place; tokens counted."""

    residual: Tensor
    heads: Tensor
    tokens: int

    def at(self, place: Place) -> Tensor:
        return self.residual if place == "residual" else self.heads


@dataclass(frozen=True)
class StateSignature:
    """One pole: the states of two seeded halves of its texts."""

    halves: tuple[States, States]

    @cached_property
    def states(self) -> States:
        """States of the whole pole."""
        first, second = self.halves
        return States(
            torch.cat([first.residual, second.residual]),
            torch.cat([first.heads, second.heads]),
            first.tokens + second.tokens,
        )


@dataclass(frozen=True)
class StatePair:
    """States of both poles and where they come from; see ``Pair``."""

    plus: StateSignature
    minus: StateSignature
    provenance: dict[str, str]
    groups: frozenset[str]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over provenance and states; persona files refer to it."""
        digest = hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode())
        for half in (*self.plus.halves, *self.minus.halves):
            digest.update(f"{half.tokens} {len(half.residual)}".encode())
            for place in PLACES:
                digest.update(half.at(place).contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def tokens(self) -> dict[Pole, int]:
        """Counted tokens of each pole."""
        return {"plus": self.plus.states.tokens, "minus": self.minus.states.tokens}

    def difference(self, place: Place) -> Tensor:
        """Mean over the plus texts − mean over the minus texts, (layers, width) float64."""
        return self.plus.states.at(place).double().mean(0) - self.minus.states.at(place).double().mean(0)

    def shuffled(self) -> StatePair:
        """The same texts with shuffled labels: each new pole is one half of either old pole."""
        return StatePair(
            StateSignature((self.plus.halves[0], self.minus.halves[0])),
            StateSignature((self.plus.halves[1], self.minus.halves[1])),
            {**self.provenance, "labels": "shuffled"},
            self.groups,
        )
