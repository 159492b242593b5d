"""Ternary weights of 1.6 bits, five to a byte: ``W[n, k] = scale[n] * multiplier[n, k // group] * trit[n, k]``.

As :mod:`regc.runtime_ops.formats.ternary`, but 64 bytes hold 16 outputs x 20 inputs: byte ``(tile, block, row, j)``
holds ``trit + 1`` of output ``16 * tile + row`` and of the inputs ``20 * block + 4 * p + j``, ``p`` from 0 to 4, as
the digits of a ternary fraction: ``byte / 256`` is ``0.d0 d1 d2 d3 d4`` in base 3, rounded up to a whole byte. The
first digit of a byte is ``floor(3 * byte / 256)``, and ``3 * byte`` modulo 256 is the fraction of the digits after it:
decoding needs byte operations only. So the 13 bytes that packing never emits have five digits too.

A group is a multiple of 20 inputs: one of 32, 64 or 128 would end within a byte, and filling it up to the next 20 would
cost what five trits a byte gain. Multipliers, and what they promise, are those of the two-bit format.
"""

import numpy as np
import numpy.typing as npt

from regc.runtime_ops.formats import ternary

TILE = ternary.TILE
BLOCK = 20

UInt8 = npt.NDArray[np.uint8]
Int8 = npt.NDArray[np.int8]


def _trit_table() -> Int8:
    fraction = np.arange(256)
    digits = []
    for _ in range(5):
        digits.append(3 * fraction // 256)
        fraction = 3 * fraction % 256
    return (np.stack(digits, axis=1) - 1).astype(np.int8)


TRITS: Int8 = _trit_table()
"""int8 ``[256, 5]``: the trits of each byte."""


def pack_trits(trits: Int8) -> UInt8:
    """Pack trits int8 ``[N, K]`` with values in {-1, 0, 1} into codes uint8 ``[ceil(N/16), ceil(K/20), 16, 4]``,
    padding with zeros.

    Raises:
        ValueError: a value outside {-1, 0, 1}.
    """
    ternary.check_trits(trits)
    rows, cols = trits.shape
    tiles, blocks = -(-rows // TILE), -(-cols // BLOCK)
    digits = np.ones((tiles * TILE, blocks * BLOCK), np.uint8)
    digits[:rows, :cols] = trits + 1
    digits = digits.reshape(tiles, TILE, blocks, 5, 4).transpose(0, 2, 1, 4, 3)
    number = np.zeros(digits.shape[:-1], np.uint16)
    for place in range(5):
        number = 3 * number + digits[..., place]
    return ((256 * number + 242) // 243).astype(np.uint8)


def unpack_trits(codes: UInt8, shape: tuple[int, int]) -> Int8:
    """Return the trits int8 ``[N, K]`` that :func:`pack_trits` packed."""
    tiles, blocks = codes.shape[:2]
    trits = TRITS[codes].transpose(0, 2, 1, 4, 3).reshape(tiles * TILE, blocks * BLOCK)
    return np.ascontiguousarray(trits[: shape[0], : shape[1]])


def packed_nbytes(shape: tuple[int, int], groups: int) -> int:
    """Bytes of codes, multipliers and scales of a weight of this shape ``(N, K)`` with ``groups`` groups a row."""
    tiles = -(-shape[0] // TILE)
    return tiles * TILE * (-(-shape[1] // BLOCK) * 4 + groups) + 4 * shape[0]
