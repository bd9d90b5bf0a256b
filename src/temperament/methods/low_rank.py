"""Low-rank changes of a weight: ΔW = scaling · B · A (LoRA), and random ones of the same size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """``a`` (rank, inputs) and ``b`` (outputs, rank), fp32."""

    a: Tensor
    b: Tensor

    def __post_init__(self) -> None:
        if self.a.dim() != 2 or self.b.dim() != 2 or len(self.a) != self.b.shape[1]:
            raise ValueError(f"factors of shapes {tuple(self.a.shape)} and {tuple(self.b.shape)}")
        if not (torch.isfinite(self.a).all() and torch.isfinite(self.b).all()):
            raise ValueError("factors that are not finite")

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs) of the product."""
        return self.b.shape[0], self.a.shape[1]

    @property
    def norm(self) -> float:
        """Frobenius norm of B · A."""
        a, b = self.a.double(), self.b.double()
        return float(((b.T @ b) * (a @ a.T)).sum().clamp_min(0).sqrt())

    def product(self, device: torch.device) -> Tensor:
        """B · A, (outputs, inputs) fp32."""
        return self.b.to(device) @ self.a.to(device)


def factors_of(tensors: Mapping[str, Tensor]) -> dict[str, Factors]:
    """Factors by Linear from the tensors of a PEFT adapter; ValueError for anything that is not plain LoRA."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, mark, part = key.removeprefix("base_model.model.").rpartition(".lora_")
        if not mark or part not in ("A.weight", "B.weight"):
            raise ValueError(f"tensor {key!r} is not a factor of a LoRA")
        found.setdefault(name, {})[part[0]] = tensor.float()
    for name, parts in found.items():
        if len(parts) != 2:
            raise ValueError(f"{name} has one factor only")
    return {name: Factors(parts["A"], parts["B"]) for name, parts in found.items()}


def random_factors(factors: Mapping[str, Factors], seed: int) -> dict[str, Factors]:
    """Factors of random direction with the same rank and norm of the product in every Linear."""
    result = {}
    for name, own in factors.items():
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        drawn = Factors(
            torch.randn(own.a.shape, generator=generator),
            torch.randn(own.b.shape, generator=generator),
        )
        result[name] = Factors(drawn.a, drawn.b * (own.norm / drawn.norm))
    return result
