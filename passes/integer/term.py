"""The integer leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regc.compiler.terms import Coded, NBits
from regc.runtime_ops.formats import nbits

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class IntTerm(Coded):
    """``W[n, k] = scale[n, k // block] * level[n, k]``, held as ONNX Runtime's MatMulNBits takes it
    (:mod:`regc.runtime_ops.formats.nbits`), which multiplies by it on every target.

    ``codes`` are uint8 ``[N, ceil(K/block), block * bits / 8]``, ``scale`` float32 ``[N, ceil(K/block)]``.
    """

    codes: UInt8
    scale: Float32
    inputs: int
    bits: int

    @property
    def block(self) -> int:
        """Inputs that share a scale."""
        return int(self.codes.shape[2]) * 8 // self.bits

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return len(self.codes), self.inputs

    def dense(self) -> Float32:  # noqa: D102
        levels = nbits.unpack(self.codes, self.bits, self.inputs).astype(np.float32)
        return levels * np.repeat(self.scale, self.block, axis=1)[:, : self.inputs]

    @property
    def nbytes(self) -> int:  # noqa: D102
        return nbytes(self.shape, self.bits, self.block)

    @property
    def label(self) -> str:  # noqa: D102
        return label(self.bits, self.block)

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return ()

    @property
    def decoder(self) -> str:  # noqa: D102
        return f"Int{self.bits}Decode"

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        return {"codes": self.codes, "scale": self.scale, "shape": np.array(self.shape, np.int64)}

    def nbits(self, blocks: Mapping[int, Sequence[int]]) -> NBits | str:  # noqa: D102
        if self.block not in blocks[self.bits]:
            return f"MatMulNBits with {self.bits} bits is not fast in blocks of {self.block}"
        return NBits(self.bits, self.block, self.shape, lambda: (self.codes, self.scale.reshape(-1)))


def label(bits: int, block: int) -> str:
    """``int8/128``."""
    return f"int{bits}/{block}"


def nbytes(shape: tuple[int, int], bits: int, block: int) -> int:
    """Bytes of the term of a weight of this shape ``(N, K)``."""
    return shape[0] * -(-shape[1] // block) * (block * bits // 8 + 4)
