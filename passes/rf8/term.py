"""The RF8 leaf, and terms that hold it or float32 values in a form of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regc.compiler.terms import Coded, Dense, Operated, Term
from regc.runtime_ops import encoder
from regc.runtime_ops.formats import rf8

if TYPE_CHECKING:
    from regc.passes.rf8.trainable import RF8Weights

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

LABEL = "rf8"


@dataclass(frozen=True, eq=False)
class RF8Term(Coded):
    """``W[n, k] = scale[n] * value(code[n, k])``, held as packed by :mod:`regc.runtime_ops.formats.rf8`.

    ``codes`` are uint8 ``[ceil(N/16), ceil(K/4), 4, 2, 4, 2]``, ``scale`` float32 ``[N]``. ``note`` is what the report
    has to tell of the fit.
    """

    codes: UInt8
    scale: Float32
    inputs: int
    note: str = ""

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.scale.size, self.inputs

    def dense(self) -> Float32:  # noqa: D102
        weight = rf8.VALUES[rf8.unpack_codes(self.codes, self.shape)]
        weight *= self.scale[:, None]
        return weight

    def squared_error(self, original: Float32) -> float:  # noqa: D102
        return encoder.squared_error(original, self.scale, self.codes)

    @property
    def nbytes(self) -> int:  # noqa: D102
        return sum(values.nbytes for values in self.operands().values())

    @property
    def label(self) -> str:  # noqa: D102
        return f"{LABEL}, {self.note}" if self.note else LABEL

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return ("RF8MatMul",)

    @property
    def decoder(self) -> str:  # noqa: D102
        return "RF8Decode"

    @property
    def gathers(self) -> tuple[str, str]:  # noqa: D102
        return "RF8Gather", "RF8TiledGather"

    def rows(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        return {"codes": rf8.unpack_codes(self.codes, self.shape), "scale": self.scale}

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        return {"codes": self.codes, "scale": self.scale, "shape": np.array(self.shape, np.int64)}

    def trainable(self, start: Callable[[Term], Float32]) -> RF8Weights:  # noqa: D102
        from regc.passes.rf8.trainable import RF8Weights  # noqa: PLC0415 - PyTorch

        return RF8Weights(self)


@dataclass(frozen=True, eq=False)
class Valued(Operated):
    """A weight ``[N, K]`` whose operators come in two kinds: for ``values`` in float32, and for RF8 codes of them."""

    values: Dense | RF8Term

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.values.shape

    def dense(self) -> Float32:  # noqa: D102
        return self.values.dense()

    @property
    def coded(self) -> bool:
        """Whether the values are RF8 codes."""
        return isinstance(self.values, RF8Term)

    @property
    def matrix(self) -> npt.NDArray[np.generic]:
        """The values to be packed ``[N, K]``: float32, or codes uint8."""
        if isinstance(self.values, RF8Term):
            return rf8.unpack_codes(self.values.codes, self.shape)
        return self.values.values

    @property
    def itemsize(self) -> int:
        """Bytes of one of them."""
        return np.dtype(np.uint8 if self.coded else np.float32).itemsize

    @property
    def scale(self) -> Float32:
        """What each output is multiplied by, float32 ``[N]``; 1 for float32 values."""
        return self.values.scale if isinstance(self.values, RF8Term) else np.ones(self.shape[0], np.float32)


def nbytes(shape: tuple[int, int]) -> int:
    """Bytes of the term of a weight of this shape ``(N, K)``."""
    return rf8.packed_nbytes(shape) + 2 * np.dtype(np.int64).itemsize
