"""From signatures to masks: importance vectors by method and row-wise selection, as pure functions of tensors."""

from temperament.methods.method import Method
from temperament.methods.neurons import Neurons
from temperament.methods.recipe import Recipe, build_mask
from temperament.methods.registry import (
    MASK_METHODS,
    METHODS,
    NEURONS,
    SALIENCY,
    MaskMethod,
    NeuronMethod,
    VectorMethod,
    find_method,
)
from temperament.methods.select import keep_largest, kept
from temperament.methods.sparsegpt_methods import SPARSEGPT, SparseGptMethod
from temperament.methods.sparsity import SparsityPlan
from temperament.methods.vectors import Shifts

__all__ = [
    "MASK_METHODS",
    "METHODS",
    "NEURONS",
    "SALIENCY",
    "SPARSEGPT",
    "MaskMethod",
    "Method",
    "NeuronMethod",
    "Neurons",
    "Recipe",
    "Shifts",
    "SparseGptMethod",
    "SparsityPlan",
    "VectorMethod",
    "build_mask",
    "find_method",
    "keep_largest",
    "kept",
]
