"""Weights that are ternary times a scale already, as models trained that way are exported: found, and kept as they are.

A row is ternary when its non-zero magnitudes are one value, in groups when those of each group are. They may differ by
the rounding of one multiplication, two units in the last place. Group scales must be multiples of one row scale, for
the format has integers from 0 to 64 (:mod:`regc.runtime_ops.formats.ternary`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regc.passes import row_slices
from regc.passes.rounding import last_places, neighbours
from regc.passes.ternary.fit import Fitted
from regc.runtime_ops.formats import ternary

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]

_CHUNK = 1 << 19


class Exact(NamedTuple):
    """What was found, with groups of ``group`` inputs, K when a row has one scale."""

    fitted: Fitted
    group: int


class _Scales(NamedTuple):
    """Multipliers uint8 ``[N, G]`` of row scales float32 ``[N]``."""

    multipliers: UInt8
    scale: Float32


def find(weight: Float32, dtype: np.dtype[np.generic]) -> Exact | None:
    """The trits and scales that a weight float32 ``[N, K]`` consists of, in the largest groups; None when it does not.

    ``dtype`` is the type that it was stored in, whose last place says what may be rounding.
    """
    tolerance = last_places(dtype)
    bounds = _block_bounds(weight, tolerance)
    if bounds is None or not bounds[1].any():
        return None
    for blocks in range(bounds[0].shape[1], 0, -1):
        starts = np.arange(0, bounds[0].shape[1], blocks)
        low, high = np.minimum.reduceat(bounds[0], starts, axis=1), np.maximum.reduceat(bounds[1], starts, axis=1)
        if _alike(low, high, tolerance):
            scales = _row_scales(np.where(high > 0, (low + high) / 2, 0), tolerance)
            return scales and Exact(_packed(weight, scales), min(blocks * ternary.BLOCK, weight.shape[1]))
    return None


def _block_bounds(weight: Float32, tolerance: float) -> tuple[Float64, Float64] | None:
    """The least and the greatest non-zero magnitudes of each 16 inputs, float64 ``[N, B]``; infinity and 0 for none.

    None as soon as they differ anywhere.
    """
    starts, parts = np.arange(0, weight.shape[1], ternary.BLOCK), []
    for rows in row_slices((weight.shape[0], weight.shape[1]), ternary.TILE, _CHUNK):
        magnitudes = np.abs(weight[rows])
        high = np.maximum.reduceat(magnitudes, starts, axis=1)
        magnitudes[magnitudes == 0] = np.inf
        low = np.minimum.reduceat(magnitudes, starts, axis=1)
        if not _alike(low, high, tolerance):
            return None
        parts.append((low, high))
    return tuple(np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))  # type: ignore[return-value]


def _alike(low: npt.NDArray[np.floating], high: npt.NDArray[np.floating], tolerance: float) -> bool:
    return bool(np.all(high <= low * (1 + tolerance)))


def _row_scales(scales: Float64, tolerance: float) -> _Scales | None:
    """Integers times row scales float32 for group scales float64 ``[N, G]``, those of least error; None without any.

    All multiples of the least integers are tried, for only one of them may give the very same products.
    """
    top = scales.max(axis=1)
    multipliers, scale = np.ones(scales.shape), np.zeros(len(top), np.float32)
    least = np.where(top > 0, np.inf, 0)
    for most in range(1, ternary.MAX_MULTIPLIER + 1):
        ratios = np.divide(scales * most, top[:, None], out=np.zeros_like(scales), where=top[:, None] > 0)
        tried = np.rint(ratios)
        fits = np.all(np.abs(tried - ratios) <= tolerance * ratios, axis=1)
        for neighbour in neighbours((top / most).astype(np.float32)) if fits.any() else ():
            error = np.abs(neighbour[:, None] * tried.astype(np.float32) - scales).sum(axis=1)
            better = fits & (error < least)
            multipliers[better], scale[better], least[better] = tried[better], neighbour[better], error[better]
    return _Scales(multipliers.astype(np.uint8), scale) if np.isfinite(least).all() else None


def _packed(weight: Float32, scales: _Scales) -> Fitted:
    slices = row_slices((weight.shape[0], weight.shape[1]), ternary.TILE, _CHUNK)
    codes = [ternary.pack_trits(np.sign(weight[rows]).astype(np.int8)) for rows in slices]
    return Fitted(np.concatenate(codes), ternary.pack_multipliers(scales.multipliers), scales.scale)
