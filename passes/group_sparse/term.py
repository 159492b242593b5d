"""The sparse terms: in blocks, which operators multiply by, and in single weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regc.compiler.terms import Dense, Leaf, Term
from regc.passes.rf8.term import RF8Term, Valued
from regc.runtime_ops.formats import block_sparse, sparse

if TYPE_CHECKING:
    from regc.passes.group_sparse.trainable import SparseWeights

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Kept(Valued):
    """A weight ``[N, K]`` of which only what ``keep`` marks is stored, in groups of so many outputs by inputs as
    :attr:`sizes` says; ``keep`` is bool ``[ceil(N / outputs), ceil(K / inputs)]``.

    ``values`` is the whole matrix, zero elsewhere, as float32 or RF8. Other codes have no sparse form and take the
    place of the term as a whole.
    """

    keep: Bool

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Outputs and inputs of what is kept or left out as one."""

    @property
    def kept(self) -> int:
        """How many groups are stored."""
        return int(np.count_nonzero(self.keep))

    @property
    def sparsity(self) -> float:
        """The share of the groups that is not."""
        return 1 - self.kept / self.keep.size

    def map_leaves(self, function: Callable[[Leaf, str], Term], path: str = "") -> Term:  # noqa: D102
        values = self.values.map_leaves(function, path)
        if values is self.values:
            return self
        return replace(self, values=values) if isinstance(values, Dense | RF8Term) else values

    def trainable(self, start: Callable[[Term], Float32]) -> SparseWeights:  # noqa: D102
        from regc.compiler.recovery.trainable import DenseWeights  # noqa: PLC0415 - PyTorch
        from regc.passes.group_sparse.trainable import SparseWeights  # noqa: PLC0415

        inner = DenseWeights(self.values) if isinstance(self.values, Dense) else self.values.trainable(start)
        return SparseWeights(self, inner, start(self))


@dataclass(frozen=True, eq=False)
class BlockSparse(Kept):
    """One in blocks of 16 outputs by ``block`` inputs, which operators multiply by."""

    block: int

    @property
    def sizes(self) -> tuple[int, int]:  # noqa: D102
        return block_sparse.TILE, self.block

    @property
    def nbytes(self) -> int:  # noqa: D102
        return packed_nbytes(self.shape, self.block, self.kept, self.itemsize)

    @property
    def label(self) -> str:  # noqa: D102
        return f"{label(self.sparsity, self.block)} ({self.values.label})"

    @property
    def work(self) -> int:  # noqa: D102
        return self.kept * block_sparse.TILE * self.block

    @property
    def side_by_side(self) -> int:  # noqa: D102
        return self.block

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return ("BlockSparseRF8MatMul" if self.coded else "BlockSparseMatMul",)

    @property
    def decoder(self) -> str:  # noqa: D102
        return "BlockSparseRF8Decode" if self.coded else "BlockSparseDecode"

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        packed = block_sparse.pack(self.matrix, self.keep, self.block)
        return {
            "codes" if self.coded else "values": packed.values,
            "index": packed.columns,
            "start": packed.start,
            "scale": self.scale,
            "shape": np.array([*self.shape, self.block], np.int64),
        }


@dataclass(frozen=True, eq=False)
class Sparse(Kept):
    """One in single weights. No operator multiplies by it: it is decoded."""

    @property
    def sizes(self) -> tuple[int, int]:  # noqa: D102
        return 1, 1

    @property
    def nbytes(self) -> int:  # noqa: D102
        return sparse_nbytes(self.shape, self.kept, self.itemsize)

    @property
    def label(self) -> str:  # noqa: D102
        return f"{100 * self.sparsity:.3g}% sparse ({self.values.label})"

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return ()

    @property
    def decoder(self) -> str:  # noqa: D102
        return "SparseRF8Decode" if self.coded else "SparseDecode"

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        packed = sparse.pack(self.matrix, self.keep)
        return {
            "codes" if self.coded else "values": packed.values,
            "mask": packed.mask,
            "scale": self.scale,
            "shape": np.array(self.shape, np.int64),
        }


def label(sparsity: float, block: int) -> str:
    """``50% sparse 16x1``."""
    return f"{100 * sparsity:.3g}% sparse {block_sparse.TILE}x{block}"


def packed_nbytes(shape: tuple[int, int], block: int, blocks: int, value_bytes: int) -> int:
    """Bytes of the term of a weight ``(N, K)`` with so many kept blocks."""
    return block_sparse.packed_nbytes(shape, block, blocks, value_bytes) + 3 * np.dtype(np.int64).itemsize


def sparse_nbytes(shape: tuple[int, int], kept: int, value_bytes: int) -> int:
    """Bytes of the term of a weight ``(N, K)`` with so many kept single weights."""
    return sparse.packed_nbytes(shape, kept, value_bytes) + 2 * np.dtype(np.int64).itemsize
