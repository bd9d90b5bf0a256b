"""A straightforward extraction to compare with: correct, and written without any thought of speed.

One sentence at a time, statistics moved to the CPU at every hook, the top K of every row found in a Python loop,
one boolean file per Linear.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from temperament.calibration import Contrast, Pole
from temperament.calibration.contrast import POLES
from temperament.models import LinearSite, LoadedModel


@torch.no_grad()
def extract_baseline(lm: LoadedModel, contrast: Contrast, sparsity: float, tilt: float, folder: Path) -> None:
    """``contrastive-tilt`` masks of both poles, by the plainest code."""
    rms = {pole: _pole_rms(lm, contrast, pole) for pole in POLES}
    for pole, other in (POLES, POLES[::-1]):
        for linear in lm.linears:
            own, opposite = rms[pole][linear.name], rms[other][linear.name]
            importance = own * (own / opposite) ** tilt
            mask = _row_masks(lm.weight(linear).float().abs() * importance, sparsity)
            path = folder / pole / f"{linear.name}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({"mask": mask}, path)


def _pole_rms(lm: LoadedModel, contrast: Contrast, pole: Pole) -> dict[str, Tensor]:
    sums = {linear.name: torch.zeros(linear.shape[1]) for linear in lm.linears}
    count = 0
    for example in contrast.pole(pole):
        item = lm.encode(example.prompt, example.response)
        handles = [_hook(lm, linear, item.start, sums) for linear in lm.linears]
        lm.model(input_ids=torch.tensor([item.ids], device=lm.device))
        for handle in handles:
            handle.remove()
        count += len(item.ids) - item.start
    return {name: (total / count).sqrt().clamp_min(1e-6) for name, total in sums.items()}


def _hook(lm: LoadedModel, linear: LinearSite, start: int, sums: dict[str, Tensor]) -> Any:
    def add(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        sums[linear.name] += args[0][0, start:].cpu().float().square().sum(0)

    return lm.module(linear.name).register_forward_pre_hook(add)


def _row_masks(score: Tensor, sparsity: float) -> Tensor:
    mask = torch.zeros_like(score, dtype=torch.bool)
    count = int((1 - sparsity) * score.shape[1])
    for row in range(score.shape[0]):
        mask[row, torch.topk(score[row], count).indices] = True
    return mask
