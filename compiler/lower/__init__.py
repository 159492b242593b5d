"""Terms to nodes."""

from regc.compiler.lower.lowering import Lowering

__all__ = ["Lowering"]
