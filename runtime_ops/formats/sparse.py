"""Sparse weights: the kept values of ``[N, K]`` and a bit for each weight.

``values [kept]`` are those that the bits mark, row after row; ``mask`` uint8 ``[N, ceil(K/8)]`` has the bit of input k
in byte ``k // 8``, the lowest first. Values are float32 weights or RF8 codes (``rf8.VALUES``). Nothing multiplies by
this form: it is made for files, and decoded when a model is loaded.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

BITS = 8

Scalar = TypeVar("Scalar", bound=np.generic)


class Packed(NamedTuple):
    """Kept values ``[kept]`` and the mask, uint8 ``[N, ceil(K/8)]``."""

    values: npt.NDArray[Any]
    mask: npt.NDArray[np.uint8]


def pack(weight: npt.NDArray[Scalar], keep: npt.NDArray[np.bool_]) -> Packed:
    """Pack those of the weights ``[N, K]`` that ``keep``, bool ``[N, K]``, marks.

    Raises:
        ValueError: ``keep`` has another shape.
    """
    if keep.shape != weight.shape:
        raise ValueError(f"keep has shape {keep.shape}, the weight has {weight.shape}")
    return Packed(np.ascontiguousarray(weight[keep]), np.packbits(keep, axis=1, bitorder="little"))


def unpack(packed: Packed, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return the matrix ``[N, K]`` that :func:`pack` packed, with zeros for what was not kept."""
    keep = np.unpackbits(packed.mask, axis=1, count=shape[1], bitorder="little").astype(np.bool_)
    matrix = np.zeros(shape, packed.values.dtype)
    matrix[keep] = packed.values
    return matrix


def packed_nbytes(shape: tuple[int, int], kept: int, value_bytes: int) -> int:
    """Bytes of values, mask and scales of a weight of this shape ``(N, K)`` of which so many values are kept."""
    return kept * value_bytes + shape[0] * -(-shape[1] // BITS) + 4 * shape[0]
