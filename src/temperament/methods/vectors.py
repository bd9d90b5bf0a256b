"""Shifts of hidden states: mean differences of two poles, and attention heads along linear probes (PAS)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import floor

import torch
from torch import Tensor

from temperament.errors import TemperamentError
from temperament.signatures import StatePair
from temperament.signatures.states import Place


@dataclass(frozen=True, eq=False)
class Shifts:
    """What is added to the hidden states of some layers, from the minus pole towards the plus pole.

    ``layers`` ascend; ``vectors`` are (layers, width) fp32. A vector consists of ``parts`` equal slices: the heads of
    a layer, or 1 for the residual stream.
    """

    place: Place
    layers: tuple[int, ...]
    vectors: Tensor
    parts: int = 1

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.vectors) or not self.layers:
            raise ValueError(f"{len(self.vectors)} vectors for {len(self.layers)} layers")
        if self.parts < 1 or self.vectors.shape[1] % self.parts:
            raise ValueError(f"{self.parts} parts do not divide a vector of {self.vectors.shape[1]}")

    @property
    def split(self) -> Tensor:
        """The vectors by part, (layers, parts, width of a part)."""
        return self.vectors.view(len(self.layers), self.parts, -1)

    @property
    def norms(self) -> Tensor:
        """Euclidean length of every part, (layers, parts)."""
        norms: Tensor = torch.linalg.vector_norm(self.split, dim=2)
        return norms

    def resized(self, norms: Tensor) -> Shifts:
        """The same directions with other lengths, (layers, parts); a part without a direction stays 0."""
        scale = norms / self.norms.clamp_min(torch.finfo(torch.float32).tiny)
        return replace(self, vectors=(self.split * scale.unsqueeze(2)).flatten(1))


def mean_difference(pair: StatePair, layers: tuple[int, ...]) -> Shifts:
    """Mean residual state of the plus texts − that of the minus texts, after each of the layers."""
    return Shifts("residual", layers, pair.difference("residual")[list(layers)].float())


@dataclass(frozen=True)
class Head:
    """One attention head that is shifted: cross-validated accuracy of its probe, and σ of the projections."""

    layer: int
    head: int
    accuracy: float
    spread: float


def probe_heads(
    pair: StatePair, heads: int, *, count: int | None, share: float | None, folds: int, c: float, seed: int
) -> tuple[Shifts, list[Head]]:
    """Shift the heads whose linear probes tell the poles apart best: σ·θ, θ the unit normal of the probe (PAS, ITI).

    A probe is a logistic regression on the mean state of each text, scaled as a whole to unit rms so that the penalty
    1/``c`` means the same for every head. Heads are ranked by ``folds``-fold cross-validated accuracy, lower layer and
    head first on ties; ``count`` of them are taken, or that ``share`` of all. σ is the standard deviation of the
    projections of all texts on θ.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    plus, minus = (side.states.heads.double() for side in (pair.plus, pair.minus))
    labels = torch.cat([torch.ones(len(plus)), torch.zeros(len(minus))]).long().numpy()
    folds = min(folds, len(plus), len(minus))
    if folds < 2:
        raise TemperamentError("probes are cross-validated, but a pole has a single text", "give more texts")
    raw = torch.cat([plus, minus])
    raw = raw.view(len(raw), raw.shape[1], heads, -1)  # (texts, layers, heads, width)
    states = raw - raw.mean(0)
    states = states / states.square().mean((0, 3), keepdim=True).sqrt().clamp_min(1e-12)
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
    probe = LogisticRegression(C=c, max_iter=1000)
    depth = states.shape[1]
    accuracy = torch.tensor(
        [
            [cross_val_score(probe, states[:, layer, head].numpy(), labels, cv=cut).mean() for head in range(heads)]
            for layer in range(depth)
        ]
    )
    wanted = min(count if count is not None else floor((share or 0) * depth * heads), depth * heads)
    if wanted < 1:
        raise TemperamentError(f"a share of {share} leaves no head", "take a larger share, or a count")
    best = torch.argsort(accuracy.flatten(), descending=True, stable=True)[:wanted].sort().values
    vectors, found = torch.zeros(depth, heads, states.shape[3], dtype=torch.float64), []
    for layer, head in ((int(place) // heads, int(place) % heads) for place in best):
        fitted = probe.fit(states[:, layer, head].numpy(), labels)
        normal = torch.from_numpy(fitted.coef_[0].copy())
        normal = normal / normal.norm().clamp_min(1e-12)
        spread = float((raw[:, layer, head] @ normal).std(correction=0))
        vectors[layer, head] = spread * normal
        found.append(Head(layer, head, float(accuracy[layer, head]), spread))
    layers = tuple(sorted({head.layer for head in found}))
    return Shifts("heads", layers, vectors[list(layers)].flatten(1).float(), heads), found


def random_shifts(shifts: Shifts, seed: int) -> Shifts:
    """The random control: random directions, every part as long as it was; depends on seed, place and layer only."""
    drawn = []
    for layer in shifts.layers:
        digest = hashlib.sha256(f"{seed} {shifts.place} {layer}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        drawn.append(torch.randn(shifts.vectors.shape[1], generator=generator))
    return replace(shifts, vectors=torch.stack(drawn)).resized(shifts.norms)
