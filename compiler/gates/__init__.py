"""Gates that calibration shows to be constant: what they are, and what becomes of them and of what they close."""

from regc.compiler.gates.settle import Watch, settle_gates

__all__ = ["Watch", "settle_gates"]
