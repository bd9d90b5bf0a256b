"""How much each MLP channel and attention head of a model does, in whatever is worn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from temperament.calibration.builtin import neutral_texts
from temperament.export.cut import Scores
from temperament.export.sizes import down_projections
from temperament.models import LinearSite, LoadedModel
from temperament.signatures.collect import Progress, passage_moments


@torch.no_grad()
def importance(lm: LoadedModel, progress: Progress | None = None) -> Scores:
    """The energy that a channel or head adds to the residual stream: Σ over kept weights w_ij² · E[x_j²].

    j runs through the inputs of the MLP's or attention's last Linear that belong to the channel or head, i through
    all outputs: the score of ``sparse`` (PS Eq. 5) summed over what goes. Worn, masked-out weights of this Linear
    are 0, and those of the Linears before it show in E[x_j²], which is taken over the built-in neutral texts.
    """
    moments = passage_moments(lm, neutral_texts(), progress)
    channels = _energy(lm, down_projections(lm), moments.mean_square)
    inputs = _energy(lm, lm.projections, moments.mean_square)
    return Scores(channels, inputs.view(lm.depth, lm.heads, -1).sum(2))


def _energy(lm: LoadedModel, linears: Sequence[LinearSite], mean_square: Tensor) -> Tensor:
    """(layers, inputs) float32."""
    rows = [
        lm.weight(linear).float().square().sum(0).cpu() * mean_square[linear.input.slice].float() for linear in linears
    ]
    return torch.stack(rows)
