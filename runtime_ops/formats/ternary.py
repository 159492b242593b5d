"""Two-bit ternary weights: ``W[n, k] = scale[n] * multiplier[n, k // group] * trit[n, k]``.

Outputs are stored in tiles of 16 and inputs in blocks of 16, so that 64 bytes hold 16 outputs x 16 inputs. Byte
``(tile, block, row, j)`` holds four two-bit fields; field ``p`` is ``trit + 1`` of output ``16 * tile + row`` and
input ``16 * block + 4 * p + j``. One ``AND`` with ``3 << 2 * p`` therefore selects, for 16 outputs at once, the four
inputs that one ``vpdpbusd`` (or ``sdot``) multiplies, and the factor ``4 ** p`` is shifted out once at the end of a
group.

The field value 3 is not valid: what a kernel makes of it is not defined, though nothing but the operands is ever read.

A group of inputs has an integer multiplier of at most 64 relative to its row's scale. With it the matrix product with
int8 activations stays an integer one: ``|multiplier * trit| <= 64`` cannot saturate the 16-bit pair sums of AVX2,
and every instruction set, and the function body, give the same bits.
"""

import numpy as np
import numpy.typing as npt

TILE = 16
BLOCK = 16
MAX_MULTIPLIER = 64
CELL = 4
"""Channels of an image that a convolution multiplies at once."""
MAX_INPUTS = 1 << 17
"""Inputs for which ``127 * 64 * K`` still fits an int32 accumulator."""

UInt8 = npt.NDArray[np.uint8]
Int8 = npt.NDArray[np.int8]


def check_trits(trits: Int8) -> None:
    """Raise ValueError for a value outside {-1, 0, 1}."""
    if trits.size and (trits.min() < -1 or trits.max() > 1):
        raise ValueError("trits must be -1, 0 or 1")


def pack_trits(trits: Int8) -> UInt8:
    """Pack trits int8 ``[N, K]`` with values in {-1, 0, 1} into codes uint8 ``[ceil(N/16), ceil(K/16), 16, 4]``.

    Raises:
        ValueError: a value outside {-1, 0, 1}.
    """
    check_trits(trits)
    fields = _padded(trits + 1, BLOCK, fill=1)
    tiles, blocks = fields.shape[0] // TILE, fields.shape[1] // BLOCK
    fields = fields.reshape(tiles, TILE, blocks, 4, 4).transpose(0, 2, 1, 4, 3)
    return np.ascontiguousarray((fields << np.array([0, 2, 4, 6], np.uint8)).sum(-1, dtype=np.uint8))


def unpack_trits(codes: UInt8, shape: tuple[int, int]) -> Int8:
    """Return the trits int8 ``[N, K]`` that :func:`pack_trits` packed."""
    tiles, blocks = codes.shape[:2]
    fields = codes[..., None] >> np.array([0, 2, 4, 6], np.uint8) & 3
    fields = fields.transpose(0, 2, 1, 4, 3).reshape(tiles * TILE, blocks * BLOCK)
    return np.ascontiguousarray(fields[: shape[0], : shape[1]].astype(np.int8) - 1)


def pack_multipliers(multipliers: UInt8) -> UInt8:
    """Pack multipliers uint8 ``[N, G]`` in 0..64 into uint8 ``[ceil(N/16), G, 16]``, padding rows with 1.

    Raises:
        ValueError: a multiplier above 64.
    """
    if multipliers.size and multipliers.max() > MAX_MULTIPLIER:
        raise ValueError(f"multipliers must be at most {MAX_MULTIPLIER}")
    rows = _padded(multipliers, 1, fill=1)
    return np.ascontiguousarray(rows.reshape(-1, TILE, rows.shape[1]).transpose(0, 2, 1))


def unpack_multipliers(packed: UInt8, outputs: int) -> UInt8:
    """Return the multipliers uint8 ``[outputs, G]`` that :func:`pack_multipliers` packed."""
    rows = packed.transpose(0, 2, 1).reshape(-1, packed.shape[1])
    return np.ascontiguousarray(rows[:outputs])


def packed_nbytes(shape: tuple[int, int], groups: int) -> int:
    """Bytes of codes, multipliers and scales of a weight of this shape ``(N, K)`` with ``groups`` groups a row."""
    tiles = -(-shape[0] // TILE)
    return tiles * TILE * (-(-shape[1] // BLOCK) * BLOCK // 4 + groups) + 4 * shape[0]


def _padded(values: npt.NDArray[np.integer], block: int, fill: int) -> UInt8:
    rows, cols = values.shape
    padded = np.full((-(-rows // TILE) * TILE, -(-cols // block) * block), fill, np.uint8)
    padded[:rows, :cols] = values
    return padded
