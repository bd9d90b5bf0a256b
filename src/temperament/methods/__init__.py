"""From signatures to masks: importance vectors by method and row-wise selection, as pure functions of tensors."""

from temperament.methods.recipe import Recipe, build_mask
from temperament.methods.registry import METHODS, Method, find_method
from temperament.methods.select import keep_largest, kept
from temperament.methods.sparsity import SparsityPlan

__all__ = ["METHODS", "Method", "Recipe", "SparsityPlan", "build_mask", "find_method", "keep_largest", "kept"]
