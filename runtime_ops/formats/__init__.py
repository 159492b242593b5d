"""Packed weight formats in NumPy: the reference that the C++ kernels and the function bodies are tested against."""

from regc.runtime_ops.formats import rf8, ternary

__all__ = ["rf8", "ternary"]
