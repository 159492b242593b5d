"""Telling a value that was rounded once more from another value."""

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
