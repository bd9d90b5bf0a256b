"""Row-wise selection with one tie rule: lower column first (PS Eq. 4)."""

from __future__ import annotations

from decimal import Decimal
from math import floor

import numpy as np
import torch
from torch import Tensor


def kept(sparsity: Decimal | str | float, inputs: int) -> int:
    """K = ⌊(1 − ρ)·n⌋ entries kept of a row of ``inputs``, in exact decimal arithmetic (ρ .8, n 640 keeps 128)."""
    return floor((1 - Decimal(str(sparsity))) * inputs)


def order_key(score: Tensor) -> Tensor:
    """int32 keys in the same order as fp32 scores; −0 equals 0."""
    bits = (score + 0.0).view(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def tiered_key(primary: Tensor, secondary: Tensor) -> Tensor:
    """int32 keys that rank by ``primary``, and where that is 0 by ``secondary``; both fp32 and not negative.

    −0 counts as 0.
    """
    below = (secondary + 0.0).view(torch.int32) ^ torch.iinfo(torch.int32).min
    return torch.where(primary > 0, primary.view(torch.int32), below)


def keep_largest(score: Tensor, count: int) -> Tensor:
    """Mark the ``count`` largest entries of every row; of equal entries the lower column goes first.

    ``score`` (rows, columns) fp32 or int32. Returns a bool tensor of the same shape, with exactly ``count``
    True per row.
    """
    columns = score.shape[1]
    if count <= 0:
        return torch.zeros_like(score, dtype=torch.bool)
    if count >= columns:
        return torch.ones_like(score, dtype=torch.bool)
    return _from(score, _kth_largest(score, count), torch.full((len(score),), count, device=score.device))


def keep_largest_by_row(score: Tensor, counts: Tensor) -> Tensor:
    """``keep_largest`` with a count of its own for every row, (rows,) int64 from 0 to the number of columns."""
    columns = score.shape[1]
    place = (columns - counts).clamp_max(columns - 1).unsqueeze(1)
    return _from(score, score.sort(1).values.gather(1, place), counts)


def _from(score: Tensor, threshold: Tensor, counts: Tensor) -> Tensor:
    """Mark what is above the threshold of its row, and from the left as many that equal it as there is room for."""
    mask = score >= threshold
    crowded = mask.sum(1) > counts
    if crowded.any():
        above, ties = score[crowded] > threshold[crowded], score[crowded] == threshold[crowded]
        room = counts[crowded].unsqueeze(1) - above.sum(1, keepdim=True)
        mask[crowded] = above | (ties & (ties.cumsum(1) <= room))
    return mask


def _kth_largest(score: Tensor, count: int) -> Tensor:
    """The ``count``-th largest value of every row, (rows, 1)."""
    if score.device.type == "cpu":  # numpy's vectorised partition is several times faster than a top-k here
        position = score.shape[1] - count
        values = np.partition(score.numpy(), position, axis=1)[:, position : position + 1]
        return torch.from_numpy(np.ascontiguousarray(values))
    return torch.topk(score, count, dim=1, sorted=True).values[:, -1:]


def keep_largest_in_blocks(score: Tensor, sparsity: Decimal, block: int) -> Tensor:
    """``keep_largest`` within every block of ``block`` columns, each by its own K (PS App. K)."""
    parts = [
        keep_largest(part.contiguous(), kept(sparsity, part.shape[1])) for part in torch.split(score, block, dim=1)
    ]
    return torch.cat(parts, dim=1)
