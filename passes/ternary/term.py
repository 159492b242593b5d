"""The ternary leaf."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regc.compiler.terms import Coded, NBits, Term
from regc.runtime_ops import ops
from regc.runtime_ops.formats import nbits, rows, ternary, ternary5

if TYPE_CHECKING:
    from regc.passes.ternary.trainable import TernaryWeights

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TernaryTerm(Coded):
    """``W[n, k] = scale[n] * multiplier[n, k // group] * trit[n, k]``, held as packed by
    :mod:`regc.runtime_ops.formats.ternary`.

    ``codes`` are uint8 ``[ceil(N/16), ceil(K/16), 16, 4]``, ``multiplier`` uint8 ``[ceil(N/16), G, 16]``,
    ``scale`` float32 ``[N]``. ``group`` is the inputs that share a multiplier, K when all do.
    ``int8_activations`` chooses the operator. ``exact`` tells that the weight was of this form to begin with. With
    ``five`` the codes are those of :mod:`regc.runtime_ops.formats.ternary5`, ``[ceil(N/16), ceil(K/20), 16, 4]``.
    """

    codes: UInt8
    multiplier: UInt8
    scale: Float32
    inputs: int
    group: int
    int8_activations: bool = True
    exact: bool = False
    five: bool = False

    def in_fives(self) -> TernaryTerm:
        """The same weight with five trits a byte. ``group`` has to be K or a multiple of 20."""
        return replace(self, codes=ternary5.pack_trits(self._trits()), five=True)

    def _trits(self) -> npt.NDArray[np.int8]:
        unpack = ternary5.unpack_trits if self.five else ternary.unpack_trits
        return unpack(self.codes, self.shape)

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.scale.size, self.inputs

    def dense(self) -> Float32:  # noqa: D102
        levels = self._trits()
        if self.group < self.inputs:
            multipliers = ternary.unpack_multipliers(self.multiplier, self.shape[0]).view(np.int8)
            levels *= np.repeat(multipliers, self.group, axis=1)[:, : self.inputs]
        return levels.astype(np.float32) * self.scale[:, None]

    @property
    def nbytes(self) -> int:  # noqa: D102
        return sum(values.nbytes for values in self.operands().values())

    @property
    def label(self) -> str:  # noqa: D102
        return label(self.group, self.inputs, five=self.five) + (", exact" if self.exact else "")

    @property
    def matmuls(self) -> tuple[str, ...]:
        """Activations stay float32 where an int32 could not hold the sums of int8 products."""
        name = f"{self._family}MatMul"
        exact = (name,) if self.int8_activations and self.inputs <= ternary.MAX_INPUTS else ()
        return (*exact, f"{name}Float")

    @property
    def decoder(self) -> str:  # noqa: D102
        return f"{self._family}Decode"

    def nbits(self, blocks: Mapping[int, Sequence[int]]) -> NBits | str:
        """Trits are the two-bit levels -1, 0 and 1; a block's scale is its group's multiplier times the row's scale."""
        if not self.int8_activations:
            return "MatMulNBits with 2 bits is fast with int8 activations only; leave out act=float32"
        if self.five:
            return "MatMulNBits stores 2 bits a weight, not 1.6; leave out storage=1.6bit"
        block = self._block(blocks[2])
        if block is None:
            known = ", ".join(map(str, sorted(blocks[2])))
            return (
                f"MatMulNBits with 2 bits is fast in blocks of {known}, not of {self.group}; choose a multiple of them"
            )
        return NBits(2, block, self.shape, lambda: self._in_blocks(block))

    def _block(self, blocks: Sequence[int]) -> int | None:
        """The best block within a group; without groups none larger than needs be."""
        if self.group < self.inputs:
            return next((block for block in blocks if self.group % block == 0), None)
        return min((block for block in blocks if block >= self.inputs), default=blocks[0])

    def _in_blocks(self, block: int) -> tuple[UInt8, Float32]:
        group_of = np.arange(0, self.inputs, block) // self.group
        multipliers = ternary.unpack_multipliers(self.multiplier, self.shape[0])[:, group_of]
        scales = multipliers.astype(np.float32) * self.scale[:, None]
        return nbits.pack(self._trits(), 2, block), scales.reshape(-1)

    def trainable(self, start: Callable[[Term], Float32]) -> TernaryWeights:  # noqa: D102
        from regc.passes.ternary.trainable import TernaryWeights  # noqa: PLC0415 - PyTorch

        return TernaryWeights(self, start(self))

    @property
    def _family(self) -> str:
        return "Ternary5" if self.five else "Ternary"

    @property
    def gathers(self) -> tuple[str, str] | None:  # noqa: D102
        return None if self.five else ("TernaryGather", "TernaryTiledGather")

    def rows(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        packed = {
            "codes": rows.pack_trits(self._trits()),
            "multiplier": ternary.unpack_multipliers(self.multiplier, self.shape[0]),
        }
        return self.operands() | packed

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        shape = np.array([*self.shape, self.group], np.int64)
        return {"codes": self.codes, "multiplier": self.multiplier, "scale": self.scale, "shape": shape}

    def convolution(self, taps: int) -> str | None:
        """See :class:`regc.compiler.terms.Coded`. Groups of inputs that lie across the taps of a kernel cannot be
        reordered, and five trits a byte are only decoded.
        """
        split = self.group < self.inputs
        exact = self.inputs * (ternary.MAX_MULTIPLIER if split else 1) <= ternary.MAX_INPUTS
        ordered = not self.five and (self.inputs // taps) % ternary.CELL == 0 and (taps == 1 or not split)
        if not (self.int8_activations and exact and ordered):
            return None
        name = "TernaryConv"
        return name if ops.wins(name, self.shape) else None

    def by_taps(self, taps: int) -> TernaryTerm:  # noqa: D102
        if taps == 1:
            return self
        outputs, inputs = self.shape
        kernel = self._trits().reshape(outputs, inputs // taps, taps)
        return replace(self, codes=ternary.pack_trits(kernel.transpose(0, 2, 1).reshape(outputs, inputs)))


def label(group: int, inputs: int, *, five: bool = False) -> str:
    """``ternary``, or ``ternary/64`` for groups of 64 inputs; ``ternary 1.6`` with five trits a byte."""
    name = "ternary 1.6" if five else "ternary"
    return f"{name}/{group}" if group < inputs else name


def nbytes(shape: tuple[int, int], group: int, *, five: bool = False) -> int:
    """Bytes of the term of a weight of this shape ``(N, K)`` with groups of ``group`` inputs, at most K."""
    packed_nbytes = ternary5.packed_nbytes if five else ternary.packed_nbytes
    return packed_nbytes(shape, -(-shape[1] // group)) + 3 * np.dtype(np.int64).itemsize
