"""The two methods that prune by the full input Hessian, and their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from temperament.methods.experts import ExpertParameters
from temperament.methods.method import Method
from temperament.methods.sparsegpt import Scope


class SparseGptParameters(ExpertParameters):
    damping: float = Field(0.01, ge=0, le=1, description="λ as a share of the mean diagonal")
    block: int = Field(128, ge=1, le=2**31 - 1, description="columns that are chosen from at a time")
    scope: Scope = Field("block", description="one threshold per block for all rows, or the same share of each row")


class ContrastiveSparseGptParameters(SparseGptParameters):
    block: int = Field(128, ge=2, le=2**31 - 1, description="columns that are chosen from at a time")


@dataclass(frozen=True)
class SparseGptMethod(Method):
    """A method whose personas are masks with no recipe: they are stored as packed bits."""

    kind: ClassVar[str] = "sparsegpt"
    contrastive: bool = False


SPARSEGPT: tuple[SparseGptMethod, ...] = (
    SparseGptMethod(
        "sparsegpt",
        "w_ij² / U_jj², H⁻¹ = UᵀU, H = E[x xᵀ] + λI (SparseGPT)",
        "second-order saliency of one pole with the full input Hessian, errors carried from block to block",
        SparseGptParameters,
        sparsity="0.5",
    ),
    SparseGptMethod(
        "contrastive-sparsegpt",
        "S̃⁺_ij − S̃⁻_ij, S̃ = (w² / U²) / row sum in the block (SparseGPT with PS Eq. 9)",
        "each contested weight goes to the pole where its share of the row's second-order saliency is larger",
        ContrastiveSparseGptParameters,
        contrastive=True,
        sparsity="0.5",
    ),
)
