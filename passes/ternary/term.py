"""The ternary leaf."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regc.compiler.terms import Coded
from regc.runtime_ops.formats import rows, ternary

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TernaryTerm(Coded):
    """``W[n, k] = scale[n] * multiplier[n, k // group] * trit[n, k]``, held as packed by
    :mod:`regc.runtime_ops.formats.ternary`.

    ``codes`` are uint8 ``[ceil(N/16), ceil(K/16), 16, 4]``, ``multiplier`` uint8 ``[ceil(N/16), G, 16]``,
    ``scale`` float32 ``[N]``. ``group`` is the inputs that share a multiplier, K when all do.
    ``int8_activations`` chooses the operator. ``exact`` tells that the weight was of this form to begin with.
    """

    codes: UInt8
    multiplier: UInt8
    scale: Float32
    inputs: int
    group: int
    int8_activations: bool = True
    exact: bool = False

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.scale.size, self.inputs

    def dense(self) -> Float32:  # noqa: D102
        levels = ternary.unpack_trits(self.codes, self.shape)
        if self.group < self.inputs:
            multipliers = ternary.unpack_multipliers(self.multiplier, self.shape[0]).view(np.int8)
            levels *= np.repeat(multipliers, self.group, axis=1)[:, : self.inputs]
        return levels.astype(np.float32) * self.scale[:, None]

    @property
    def nbytes(self) -> int:  # noqa: D102
        return sum(values.nbytes for values in self.operands().values())

    @property
    def label(self) -> str:  # noqa: D102
        return label(self.group, self.inputs) + (", exact" if self.exact else "")

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        exact = ("TernaryMatMul",) if self.int8_activations else ()
        return (*exact, "TernaryMatMulFloat")

    @property
    def decoder(self) -> str:  # noqa: D102
        return "TernaryDecode"

    @property
    def gathers(self) -> tuple[str, str]:  # noqa: D102
        return "TernaryGather", "TernaryTiledGather"

    def rows(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        packed = {
            "codes": rows.pack_trits(ternary.unpack_trits(self.codes, self.shape)),
            "multiplier": ternary.unpack_multipliers(self.multiplier, self.shape[0]),
        }
        return self.operands() | packed

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        shape = np.array([*self.shape, self.group], np.int64)
        return {"codes": self.codes, "multiplier": self.multiplier, "scale": self.scale, "shape": shape}


def label(group: int, inputs: int) -> str:
    """``ternary``, or ``ternary/64`` for groups of 64 inputs."""
    return f"ternary/{group}" if group < inputs else "ternary"


def nbytes(shape: tuple[int, int], group: int) -> int:
    """Bytes of the term of a weight of this shape ``(N, K)`` with groups of ``group`` inputs, at most K."""
    return ternary.packed_nbytes(shape, -(-shape[1] // group)) + 3 * np.dtype(np.int64).itemsize
