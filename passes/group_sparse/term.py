"""The sparse terms: in blocks, which operators multiply by, and in single weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from regc.compiler.terms import Dense, Leaf, Operated, Term
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import block_sparse, rf8, sparse

if TYPE_CHECKING:
    from regc.passes.group_sparse.trainable import BlockSparseWeights

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BlockSparse(Operated):
    """A weight ``[N, K]`` of which only the blocks of 16 outputs by ``block`` inputs are stored that ``keep`` marks.

    ``values`` is the whole matrix, zero in all other blocks, as float32 or RF8; ``keep`` is bool ``[ceil(N/16),
    ceil(K/block)]``. Other codes have no block-sparse form and take the place of the term as a whole.
    """

    values: Dense | RF8Term
    keep: Bool
    block: int
    tile: ClassVar[int] = block_sparse.TILE

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.values.shape

    def dense(self) -> Float32:  # noqa: D102
        return self.values.dense()

    @property
    def nbytes(self) -> int:  # noqa: D102
        size = 1 if isinstance(self.values, RF8Term) else np.dtype(np.float32).itemsize
        return packed_nbytes(self.shape, self.block, int(np.count_nonzero(self.keep)), size)

    @property
    def label(self) -> str:  # noqa: D102
        share = 1 - np.count_nonzero(self.keep) / self.keep.size
        return f"{label(share, self.block)} ({self.values.label})"

    @property
    def work(self) -> int:  # noqa: D102
        return int(np.count_nonzero(self.keep)) * block_sparse.TILE * self.block

    def map_leaves(self, function: Callable[[Leaf, str], Term], path: str = "") -> Term:  # noqa: D102
        values = self.values.map_leaves(function, path)
        if values is self.values:
            return self
        return replace(self, values=values) if isinstance(values, Dense | RF8Term) else values

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return ("BlockSparseRF8MatMul" if isinstance(self.values, RF8Term) else "BlockSparseMatMul",)

    @property
    def decoder(self) -> str:  # noqa: D102
        return "BlockSparseRF8Decode" if isinstance(self.values, RF8Term) else "BlockSparseDecode"

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        packed = block_sparse.pack(_matrix(self.values), self.keep, self.block)
        coded = isinstance(self.values, RF8Term)
        return {
            "codes" if coded else "values": packed.values,
            "index": packed.columns,
            "start": packed.start,
            "scale": self.values.scale if isinstance(self.values, RF8Term) else np.ones(self.shape[0], np.float32),
            "shape": np.array([*self.shape, self.block], np.int64),
        }

    def trainable(self, start: Callable[[Term], Float32]) -> BlockSparseWeights:  # noqa: D102
        return _trainable(self, self.values, start)


@dataclass(frozen=True, eq=False)
class Sparse(Operated):
    """A weight ``[N, K]`` of which only the single weights are stored that ``keep``, bool ``[N, K]``, marks.

    ``values`` is the whole matrix, zero elsewhere, as float32 or RF8. No operator multiplies by it: it is decoded.
    """

    values: Dense | RF8Term
    keep: Bool
    block: ClassVar[int] = 1
    tile: ClassVar[int] = 1

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.values.shape

    def dense(self) -> Float32:  # noqa: D102
        return self.values.dense()

    @property
    def nbytes(self) -> int:  # noqa: D102
        size = 1 if isinstance(self.values, RF8Term) else np.dtype(np.float32).itemsize
        return sparse_nbytes(self.shape, int(np.count_nonzero(self.keep)), size)

    @property
    def label(self) -> str:  # noqa: D102
        share = 1 - np.count_nonzero(self.keep) / self.keep.size
        return f"{100 * share:.3g}% sparse ({self.values.label})"

    def map_leaves(self, function: Callable[[Leaf, str], Term], path: str = "") -> Term:  # noqa: D102
        values = self.values.map_leaves(function, path)
        if values is self.values:
            return self
        return replace(self, values=values) if isinstance(values, Dense | RF8Term) else values

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return ()

    @property
    def decoder(self) -> str:  # noqa: D102
        return "SparseRF8Decode" if isinstance(self.values, RF8Term) else "SparseDecode"

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        coded = isinstance(self.values, RF8Term)
        packed = sparse.pack(_matrix(self.values), self.keep)
        return {
            "codes" if coded else "values": packed.values,
            "mask": packed.mask,
            "scale": self.values.scale if isinstance(self.values, RF8Term) else np.ones(self.shape[0], np.float32),
            "shape": np.array(self.shape, np.int64),
        }

    def trainable(self, start: Callable[[Term], Float32]) -> BlockSparseWeights:  # noqa: D102
        return _trainable(self, self.values, start)


def _matrix(values: Dense | RF8Term) -> npt.NDArray[np.generic]:
    """The values to be packed, float32 or codes ``[N, K]``."""
    if isinstance(values, RF8Term):
        return rf8.unpack_codes(values.codes, values.shape)
    return values.values


def _trainable(
    term: BlockSparse | Sparse, values: Dense | RF8Term, start: Callable[[Term], Float32]
) -> BlockSparseWeights:
    from regc.compiler.recovery.trainable import DenseWeights  # noqa: PLC0415 - PyTorch
    from regc.passes.group_sparse.trainable import BlockSparseWeights  # noqa: PLC0415

    inner = DenseWeights(values) if isinstance(values, Dense) else values.trainable(start)
    return BlockSparseWeights(term, inner, start(term))


def label(sparsity: float, block: int) -> str:
    """``50% sparse 16x1``."""
    return f"{100 * sparsity:.3g}% sparse {block_sparse.TILE}x{block}"


def packed_nbytes(shape: tuple[int, int], block: int, blocks: int, value_bytes: int) -> int:
    """Bytes of the term of a weight ``(N, K)`` with so many kept blocks."""
    return block_sparse.packed_nbytes(shape, block, blocks, value_bytes) + 3 * np.dtype(np.int64).itemsize


def sparse_nbytes(shape: tuple[int, int], kept: int, value_bytes: int) -> int:
    """Bytes of the term of a weight ``(N, K)`` with so many kept single weights."""
    return sparse.packed_nbytes(shape, kept, value_bytes) + 2 * np.dtype(np.int64).itemsize
