"""Rounding to signed integers with one scale a block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from regc.passes import row_slices

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]

_VALUES_AT_ONCE = 1 << 22
_TINY = np.finfo(np.float32).tiny


def encode(weight: Float32, bits: int, block: int) -> tuple[Int8, Float32]:
    """Levels int8 ``[N, K]`` and scales float32 ``[N, ceil(K/block)]`` of a weight float32 ``[N, K]``.

    The value of largest magnitude of a block gets the level ``-2**(bits - 1)``, of which there is no positive
    counterpart, so that all levels are used. Then the scale is what leaves the least squared error with the levels
    found, where that is less.
    """
    rows, columns = weight.shape
    blocks = -(-columns // block)
    levels, scales = np.zeros((rows, columns), np.int8), np.zeros((rows, blocks), np.float32)
    for part in row_slices((rows, columns), 1, _VALUES_AT_ONCE):
        padded = np.zeros((part.stop - part.start, blocks * block), np.float32)
        padded[:, :columns] = weight[part]
        found, scales[part] = _encode(padded.reshape(-1, blocks, block), bits)
        levels[part] = found.reshape(len(padded), -1)[:, :columns]
    return levels, scales


def _encode(blocks: Float32, bits: int) -> tuple[Int8, Float32]:
    """Levels int8 ``[n, B, block]`` and scales float32 ``[n, B]`` of values of the levels' shape."""
    half = 1 << (bits - 1)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    scale: Float32 = (extreme / -half).astype(np.float32)
    scale[np.abs(scale) < _TINY] = 1
    exponent = np.frexp(scale)[1]  # by powers of two, which change no digit: squares of values of 1e37 overflow
    blocks, scale = np.ldexp(blocks, -exponent), np.ldexp(scale, -exponent)
    levels = _levels(blocks, scale, half)
    energy = (levels * levels).sum(-1, keepdims=True)
    fitted = (levels * blocks).sum(-1, keepdims=True) / np.maximum(energy, 1)
    refit: Float32 = np.where(energy > 0, fitted, scale).astype(np.float32)
    refit[np.abs(refit) < _TINY] = 1
    better = _levels(blocks, refit, half)
    gains = _error(blocks, better, refit) < _error(blocks, levels, scale)
    found: Float32 = np.ldexp(np.where(gains, refit, scale), exponent)
    return np.where(gains, better, levels).astype(np.int8), found[..., 0]


def _levels(blocks: Float32, scale: Float32, half: int) -> Float32:
    levels: Float32 = np.clip(np.rint(blocks / scale), -half, half - 1)
    return levels


def _error(blocks: Float32, levels: Float32, scale: Float32) -> Float32:
    """The squared error of each block, ``[n, B, 1]``."""
    error: Float32 = np.square(levels * scale - blocks).sum(-1, keepdims=True)
    return error
