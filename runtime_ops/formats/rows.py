"""Weights that are read by rows, such as embeddings: every row in one piece, so that a lookup touches nothing else.

RF8 codes are a plain uint8 matrix ``[N, K]`` (values as in :mod:`regc.runtime_ops.formats.rf8`). Ternary codes are four
inputs a byte, the first in the lowest bits, each ``trit + 1``; multipliers are uint8 ``[N, G]``, scales float32
``[N]``, with the meaning that they have in :mod:`regc.runtime_ops.formats.ternary`.
"""

import numpy as np
import numpy.typing as npt

TILE = 16
"""Outputs of a tile in the formats of the matrix products."""

UInt8 = npt.NDArray[np.uint8]
Int8 = npt.NDArray[np.int8]

_BITS = np.array([0, 2, 4, 6], np.uint8)


def pack_trits(trits: Int8) -> UInt8:
    """Pack trits int8 ``[N, K]`` with values in {-1, 0, 1} into uint8 ``[N, ceil(K/4)]``, padding with zeros.

    Raises:
        ValueError: a value outside {-1, 0, 1}.
    """
    if trits.size and (trits.min() < -1 or trits.max() > 1):
        raise ValueError("trits must be -1, 0 or 1")
    rows, columns = trits.shape
    fields = np.ones((rows, -(-columns // 4) * 4), np.uint8)
    fields[:, :columns] = trits + 1
    return np.ascontiguousarray((fields.reshape(rows, -1, 4) << _BITS).sum(-1, dtype=np.uint8))


def unpack_trits(codes: UInt8, columns: int) -> Int8:
    """Return the trits int8 ``[N, columns]`` that :func:`pack_trits` packed."""
    fields = (codes[..., None] >> _BITS & 3).reshape(len(codes), -1)
    return np.ascontiguousarray(fields[:, :columns].astype(np.int8) - 1)
