"""RF8, 8-bit residual floating point: a weight is a power of two plus or minus at most one smaller power of two.

The value set is the one of the authors' quantizer (arXiv 2506.00486 v1-v3 and its ``gg_prior/rf8.py``): ``{0.75,
0.875, 0.9375, 1, 1.0625, 1.125, 1.25, 1.5} * 2**e``. Since ``0.75 * 2**e == 1.5 * 2**(e - 1)`` it has seven members
an octave, ``{1, 1.0625, 1.125, 1.25, 1.5, 1.75, 1.875} * 2**e``. No bit layout was published; this one is ours:

``byte = sign << 7 | E << 3 | R``; ``E == 0`` is zero, else the value is ``(-1)**sign * 2**(E - 15) *
SIGNIFICANDS[R]``. Every member has one code, and magnitudes sort like codes. A weight is ``scale[n] * value``;
the authors know no scale, which here is a power of two that puts the largest weight into the top octave.

Outputs are stored in tiles of 16 and inputs in blocks of 4, so that 64 bytes hold 16 outputs x 4 inputs, in the order
``[lane, pair, row, odd]`` for output ``4 * lane + row`` and input ``2 * pair + odd``: interleaving the high and the
low bytes of the decoded bf16 values within 128-bit lanes gives one double word an output, holding a pair of its
inputs.
"""

import numpy as np
import numpy.typing as npt

TILE = 16
BLOCK = 4
EXPONENT_BIAS = 15
SIGNIFICANDS = np.array([1, 1.0625, 1.125, 1.25, 1.5, 1.75, 1.875, 1.9375], np.float32)
"""Significand of each residual code R; R = 7 is never emitted."""

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


def _value_table() -> Float32:
    byte = np.arange(256)
    exponent, residual = byte >> 3 & 15, byte & 7
    magnitude = np.ldexp(SIGNIFICANDS[residual], exponent - EXPONENT_BIAS)
    return np.where(exponent == 0, 0, np.where(byte < 128, magnitude, -magnitude)).astype(np.float32)


VALUES: Float32 = _value_table()
"""float32 ``[256]``: the value of each byte, before scaling."""


def pack_codes(codes: UInt8) -> UInt8:
    """Pack codes uint8 ``[N, K]`` into uint8 ``[ceil(N/16), ceil(K/4), 4, 2, 4, 2]``, padding with zero weights."""
    rows, cols = codes.shape
    tiles, blocks = -(-rows // TILE), -(-cols // BLOCK)
    padded = np.zeros((tiles * TILE, blocks * BLOCK), np.uint8)
    padded[:rows, :cols] = codes
    return np.ascontiguousarray(padded.reshape(tiles, 4, 4, blocks, 2, 2).transpose(0, 3, 1, 4, 2, 5))


def unpack_codes(packed: UInt8, shape: tuple[int, int]) -> UInt8:
    """Return the codes uint8 ``[N, K]`` that :func:`pack_codes` packed."""
    tiles, blocks = packed.shape[:2]
    codes = packed.transpose(0, 2, 4, 1, 3, 5).reshape(tiles * TILE, blocks * BLOCK)
    return np.ascontiguousarray(codes[: shape[0], : shape[1]])


def packed_nbytes(shape: tuple[int, int]) -> int:
    """Bytes of codes and scales of a weight of this shape ``(N, K)``."""
    return -(-shape[0] // TILE) * TILE * -(-shape[1] // BLOCK) * BLOCK + 4 * shape[0]
