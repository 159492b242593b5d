"""What may be emitted: our operators, those of them that the CUDA provider has, or only what ONNX Runtime has already.

``stock`` multiplies by ``com.microsoft::MatMulNBits``, only in combinations that its fast kernels take. Weights that it
has no kernel for are decoded by model-local functions of standard operators, when the model is loaded; rows of
embeddings when they are asked for. RF8 is one of them: its significands need four bits after the point, so neither
float8 E4M3 nor int8 with a scale a row holds it for DequantizeLinear. It makes the file small, but the model no faster.
"""

from __future__ import annotations

from regc.compiler.errors import UsageError
from regc.compiler.suggest import nearest
from regc.compiler.target.blocks import FAST_BLOCKS
from regc.compiler.target.cpu import Cpu, CpuNBits
from regc.compiler.target.cuda import Cuda
from regc.compiler.target.stock import Stock
from regc.compiler.target.target import Target

__all__ = ["CPU", "FALLBACKS", "FAST_BLOCKS", "TARGETS", "Target", "target_of"]

TARGETS: dict[str, Target] = {target.name: target for target in (Cpu(), Cuda(), Stock())}

FALLBACKS = ("standard", "matmulnbits")
"""What bodies multiply by where our library is not loaded: standard operators, or MatMulNBits with two bits."""


def target_of(name: str, fallback: str = FALLBACKS[0]) -> Target:
    """The target of this name, with the bodies of this name.

    Raises:
        UsageError: there is none.
    """
    for given, known, kind in ((name, TARGETS, "target"), (fallback, FALLBACKS, "fallback")):
        if given not in known:
            raise UsageError(f"there is no {kind} {given!r}; choose one of {', '.join(known)}{nearest(given, known)}")
    if fallback == FALLBACKS[0]:
        return TARGETS[name]
    if name != Cpu.name:
        raise UsageError(f"fallback {fallback} is for target {Cpu.name}, not for {name}; leave it out")
    return CpuNBits()


CPU = TARGETS["cpu"]
