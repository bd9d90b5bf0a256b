"""Where in the depth personas move a model: mean hidden states and mean outputs of Linears, compared (PS Table 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from temperament.calibration import Example
from temperament.evaluation.bootstrap import RESAMPLES
from temperament.models import LoadedModel
from temperament.signatures.batches import length_buckets
from temperament.signatures.collect import BATCH_ROWS, BATCH_TOKENS, Progress, encode_all, padding_id
from temperament.signatures.text_means import Site, reading

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hidden:
    """What a model computes on some texts, over their response tokens.

    ``states`` (texts, layers, width) fp32 are means of the residual stream after every block; ``outputs`` has the mean
    output of every Linear over all texts, (outputs,) fp64, and ``sizes`` the root mean square over texts of its norm.
    """

    states: Tensor
    outputs: Mapping[str, Tensor]
    sizes: Mapping[str, float]


@dataclass(frozen=True)
class Band:
    """A figure of every layer with its 95 % interval over texts."""

    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def as_json(self) -> dict[str, list[float]]:
        return {"value": list(self.value), "low": list(self.low), "high": list(self.high)}


@dataclass(frozen=True)
class Apart:
    """How far two personas are apart in what the model computes.

    ``cosine`` is that of the mean hidden states after every layer (PS Table 3), ``shifts`` that of their differences to
    the unworn model's (−1: they push in opposite directions), ``distance`` the length of the difference between the
    two, relative to the unworn model's states; ``outputs`` the same distance of every Linear's mean output.
    """

    cosine: Band
    shifts: Band
    distance: Band
    outputs: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        return {
            "cosine": self.cosine.as_json(),
            "cosine_of_shifts": self.shifts.as_json(),
            "distance": self.distance.as_json(),
            "distance_of_outputs": dict(self.outputs),
        }


@torch.inference_mode()
def hidden_states(lm: LoadedModel, examples: Sequence[Example], progress: Progress | None = None) -> Hidden:
    """Run the texts through the model in whatever it wears."""
    encoded = encode_all(lm, examples, "response")
    batches = length_buckets(encoded, padding=padding_id(lm), tokens=BATCH_TOKENS, rows=BATCH_ROWS)
    sites: dict[str, list[Site]] = {linear.name: [(linear.name, "output")] for linear in lm.linears}
    blocks: list[Site] = [(lm.block(layer), "output") for layer in range(lm.depth)]
    states: list[Tensor] = [torch.empty(0)] * len(encoded)
    sums = {name: torch.zeros(0, dtype=torch.float64) for name in sites}
    squares = dict.fromkeys(sites, 0.0)
    with reading(lm, {"": blocks, **sites}) as reader:
        for number, batch in enumerate(batches, 1):
            seen, _ = reader(batch, "response")
            for row, state in zip(batch.rows, torch.stack(seen.pop(""), 1).cpu(), strict=True):
                states[row] = state
            for name, (means,) in seen.items():
                own = means.double().cpu()
                sums[name] = own.sum(0) + (sums[name] if len(sums[name]) else 0)
                squares[name] += float(own.square().sum())
            if progress:
                progress(number, len(batches))
    count = len(encoded)
    return Hidden(
        torch.stack(states),
        {name: total / count for name, total in sums.items()},
        {name: (total / count) ** 0.5 for name, total in squares.items()},
    )


def against_base(worn: Hidden, base: Hidden, *, seed: int = 0) -> Band:
    """Cosine of mean hidden states with those of the unworn model, by layer."""
    return _band([worn.states, base.states], _cosine, seed)


def apart(first: Hidden, second: Hidden, base: Hidden, *, seed: int = 0) -> Apart:
    """Compare two personas; all three must have seen the same texts."""
    three = [first.states, second.states, base.states]
    size = base.states.double().square().sum(2).mean(0).sqrt().numpy()  # (layers,)
    distances = {
        name: float((mean - second.outputs[name]).norm()) / base.sizes[name] if base.sizes[name] else 0.0
        for name, mean in first.outputs.items()
    }
    return Apart(
        _band(three[:2], _cosine, seed),
        _band(three, lambda own, other, unworn: _cosine(own - unworn, other - unworn), seed),
        _band(three[:2], lambda own, other: _length(own - other), seed, size),
        distances,
    )


def _cosine(first: Array, second: Array) -> Array:
    """Along the last axis; 0 where a vector is 0."""
    size = _length(first) * _length(second)
    product = np.asarray((first * second).sum(-1))
    cosine: Array = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    return cosine


def _length(values: Array) -> Array:
    length: Array = np.linalg.norm(values, axis=-1)
    return length


def _band(states: Sequence[Tensor], figure: Callable[..., Array], seed: int, scale: Array | None = None) -> Band:
    """A figure of mean states, by layer, with percentiles over texts; ``figure`` maps (…, width) each to (…).

    The same texts are drawn for all ``states`` (texts, layers, width). Values are divided by ``scale`` (layers,).
    """
    texts, layers, _ = states[0].shape
    weights = np.random.default_rng(seed).multinomial(texts, np.full(texts, 1 / texts), size=RESAMPLES) / texts
    found = np.empty((3, layers))
    for layer in range(layers):  # one at a time, for memory
        own = [state[:, layer].numpy().astype(np.float64) for state in states]
        resampled = figure(*(weights @ values for values in own))
        found[:, layer] = figure(*(values.mean(0) for values in own)), *np.percentile(resampled, [2.5, 97.5])
    rows = found if scale is None else found / scale
    return Band(*(tuple(row) for row in rows.tolist()))
