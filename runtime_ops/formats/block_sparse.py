"""Block-sparse weights: only the kept blocks of ``[N, K]`` are stored, of 16 outputs by B inputs.

Outputs come in tiles of 16, inputs in columns of B in {1, 2, 4, 8, 16, 32}. ``values [blocks, B, 16]`` holds the
blocks tile after tile, by ascending column within a tile, and input by input within a block: element ``(i, k, r)``
is the weight of output ``16 * tile + r`` and input ``B * index[i] + k``. So one 512-bit vector is the sixteen
outputs of one input, on a GPU sixteen neighbouring threads, and the values of a tile are read from front to back
whatever B is. ``index [blocks]`` is the column of each block; the blocks of tile ``t`` are ``start[t]`` to
``start[t + 1] - 1``. A block of 32 outputs is a block in each of two tiles.

Values are float32 weights or RF8 codes (``rf8.VALUES``), one byte each. Outputs beyond N are ignored; weights of
inputs beyond K, in the last column, are zero.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

TILE = 16
BLOCKS = (1, 2, 4, 8, 16, 32)
"""Inputs that a block may have."""

Scalar = TypeVar("Scalar", bound=np.generic)
Int32 = npt.NDArray[np.int32]


class Packed(NamedTuple):
    """Kept blocks: values ``[blocks, B, 16]``, their columns int32 ``[blocks]`` and, int32 ``[ceil(N/16) + 1]``, the
    first block of each tile.
    """

    values: npt.NDArray[Any]
    columns: Int32
    start: Int32


def grid_shape(shape: tuple[int, int], block: int) -> tuple[int, int]:
    """Tiles and columns ``(ceil(N/16), ceil(K/block))`` of a weight of this shape ``(N, K)``.

    Raises:
        ValueError: a block of another size than :data:`BLOCKS`.
    """
    if block not in BLOCKS:
        raise ValueError(f"blocks have {', '.join(map(str, BLOCKS))} inputs, not {block}")
    return -(-shape[0] // TILE), -(-shape[1] // block)


def pack(weight: npt.NDArray[Scalar], keep: npt.NDArray[np.bool_], block: int) -> Packed:
    """Pack the blocks of ``[N, K]`` that ``keep``, bool ``[ceil(N/16), ceil(K/block)]``, marks.

    Raises:
        ValueError: a block of another size than :data:`BLOCKS`, or ``keep`` of another shape.
    """
    tiles, columns = grid_shape((weight.shape[0], weight.shape[1]), block)
    if keep.shape != (tiles, columns):
        raise ValueError(f"keep has shape {keep.shape}, the weight has {(tiles, columns)} tiles and columns")
    padded = np.zeros((tiles * TILE, columns * block), weight.dtype)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    blocks = padded.reshape(tiles, TILE, columns, block).transpose(0, 2, 3, 1)[keep]
    start = np.concatenate([[0], np.cumsum(keep.sum(1))]).astype(np.int32)
    return Packed(np.ascontiguousarray(blocks), np.nonzero(keep)[1].astype(np.int32), start)


def unpack(packed: Packed, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return the matrix ``[N, K]`` that :func:`pack` packed, with zeros for the blocks that were not kept."""
    block = packed.values.shape[1]
    tiles, columns = grid_shape(shape, block)
    grid = np.zeros((tiles, columns, block, TILE), packed.values.dtype)
    grid[np.repeat(np.arange(tiles), np.diff(packed.start)), packed.columns] = packed.values
    matrix = grid.transpose(0, 3, 1, 2).reshape(tiles * TILE, columns * block)
    return np.ascontiguousarray(matrix[: shape[0], : shape[1]])


def packed_nbytes(shape: tuple[int, int], block: int, blocks: int, value_bytes: int) -> int:
    """Bytes of values, indices and scales of a weight of this shape ``(N, K)`` with so many kept blocks."""
    tiles, _ = grid_shape(shape, block)
    return blocks * (block * TILE * value_bytes + 4) + 4 * (tiles + 1) + 4 * shape[0]
