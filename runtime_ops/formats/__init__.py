"""Packed weight formats in NumPy: the reference that the C++ kernels and the function bodies are tested against."""

from regc.runtime_ops.formats import block_sparse, gated, rf8, ternary, ternary5

__all__ = ["block_sparse", "gated", "rf8", "ternary", "ternary5"]
