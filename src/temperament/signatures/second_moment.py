"""E[x xᵀ] of one Linear input while it grows: a sum, or the tokens themselves while these take less room."""

from __future__ import annotations

import torch
from torch import Tensor

#: Rows of the sum added up at a time, each from its diagonal on: it is symmetric.
_BAND = 256
#: Tokens are summed up once they are more than the inputs divided by this.
_FEW = 4


class SecondMoment:
    """The mean of x xᵀ over ``count`` tokens of ``width`` inputs each, summed in fp32.

    The sum takes width² values however few the tokens are, and of many experts most see fewer tokens than they have
    inputs. So tokens wait, in the type of the model, until they are a quarter as many as the inputs.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.width, self.count = width, 0
        self._device = device
        self._waiting: list[Tensor] = []
        self._total: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Add tokens (tokens, inputs) of any float type; they may be held, so nobody else may change them."""
        self.count += len(x)
        if len(x):
            self._waiting.append(x)
        if sum(map(len, self._waiting)) > self.width // _FEW:
            self._sum_up()

    @torch.inference_mode()
    def take(self) -> Tensor:
        """E[x xᵀ], (inputs, inputs), zeros where no token came; once, for its memory is given away."""
        total = self._sum_up()
        self._total = None
        for begin in range(0, self.width, _BAND):  # what lies below the diagonal
            end = begin + _BAND
            total[end:, begin:end] = total[begin:end, end:].T
        return total.div_(max(self.count, 1))

    def _sum_up(self) -> Tensor:
        if self._total is None:
            self._total = torch.zeros(self.width, self.width, device=self._device)
        if self._waiting:
            x = torch.cat(self._waiting).float()
            self._waiting.clear()
            for begin in range(0, self.width, _BAND):
                self._total[begin : begin + _BAND, begin:].addmm_(x[:, begin : begin + _BAND].T, x[:, begin:])
        return self._total
