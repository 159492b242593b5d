"""Telling a value that was rounded once more from another value, and rounding scales to what takes two bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def last_places(dtype: np.dtype[np.generic]) -> float:
    """Two units in the last place of a stored type, relative to the value: what one multiplication may leave."""
    return 2 * _EPSILON.get(dtype.name, 2.0**-23)


def neighbours(values: Float32) -> Iterator[Float32]:
    """The values, and the next floats below and above."""
    yield values
    yield np.nextafter(values, np.float32(0))
    yield np.nextafter(values, np.float32(np.inf))


def halved(scale: Float32) -> Float32:
    """Scales rounded to the nearest float16, all of them or, where float16 has not the digits for one, none.

    Where a scale is that of least squares, its error is at the least: being off by ``2**-11`` then adds at most
    ``2**-22`` of the energy of what it multiplies, where trits leave a tenth of it or more.
    """
    with np.errstate(over="ignore"):
        halves = scale.astype(np.float16).astype(np.float32)
    return halves if (np.abs(halves - scale) <= np.abs(scale) * np.float32(2.0**-11)).all() else scale
