"""Weights that are RF8 times a scale for each output already: found, and kept as they are.

The largest magnitude of a row is one of seven significands times the scale, up to a power of two. So there are seven
scales to try, all at once, and a row of ordinary weights fails all of them within a few inputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from regc.passes import row_slices
from regc.passes.rf8.fit import MAX_EXPONENT, MIN_EXPONENT, nearest_codes
from regc.passes.rounding import last_places, neighbours
from regc.runtime_ops.formats import rf8

Float32 = npt.NDArray[np.float32]

_GLANCE = 64
_CHUNK = 1 << 14


def scales(weight: Float32, dtype: np.dtype[np.generic]) -> Float32 | None:
    """Scales float32 ``[N]`` at which every value of a weight float32 ``[N, K]`` is a member; None without such.

    Values may differ from members by the rounding of one multiplication in ``dtype``, in which they were stored.
    """
    tolerance = last_places(dtype)
    if _of_rows(weight[:1, :_GLANCE], weight[:1], tolerance) is None:
        return None
    found = []
    for rows in row_slices((weight.shape[0], weight.shape[1]), rf8.TILE, _CHUNK):
        scale = _of_rows(weight[rows], weight[rows], tolerance)
        if scale is None:
            return None
        found.append(scale)
    return np.concatenate(found)


def _of_rows(seen: Float32, whole: Float32, tolerance: float) -> Float32 | None:
    """Scales by the peaks of whole rows at which all values seen are members; None when a row has none."""
    peak = np.maximum(whole.max(axis=1), -whole.min(axis=1)).astype(np.float64)
    significands = rf8.SIGNIFICANDS[:7].astype(np.float64)
    tried = np.stack([scale for s in significands for scale in neighbours((peak / s).astype(np.float32))])
    usable = (tried >= 2.0**MIN_EXPONENT) & (tried <= 2.0**MAX_EXPONENT)
    divisor: Float32 = np.where(usable, tried, np.float32(1))[..., None]
    missed = np.abs(rf8.VALUES[nearest_codes(seen / divisor)] * divisor - seen)
    fits = usable & np.all(missed <= tolerance * np.abs(seen), axis=2)
    error = np.where(fits, missed.sum(axis=2, dtype=np.float64), np.inf)
    if not (fits.any(axis=0) | (peak == 0)).all():
        return None
    best = np.take_along_axis(tried, error.argmin(axis=0)[None], axis=0)[0]
    return np.where(peak > 0, best, np.float32(1))
