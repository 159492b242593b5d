"""The weights that read units as matrices ``[N, K]``: which of their columns are whose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from regc.compiler.structure.group import Array, Place
from regc.compiler.structure.windows import Taps
from regc.compiler.terms import Float32


def matrix_of(place: Place) -> Float32:
    """The weight of a consumer as ``[N, K]``, float32."""
    values = place.values().astype(np.float32)
    if place.node.op == "Conv":
        return values.reshape(len(values), -1)
    moved = np.moveaxis(values, place.axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def as_read(place: Place, matrix: Float32, old: Array) -> Array:
    """A matrix ``[N, K]`` as the node of a consumer reads it, in place of ``old``."""
    if place.node.op == "Conv":
        return matrix.reshape(old.shape).astype(old.dtype)
    shape = np.moveaxis(old, place.axis, -1).shape
    return np.moveaxis(matrix.reshape(shape), -1, place.axis).astype(old.dtype)


def own_columns(place: Place, units: int) -> slice | npt.NDArray[np.intp]:
    """The columns that read the units, one unit after the other; there may be others."""
    shape = place.values().shape
    span = int(np.prod(shape[2:])) if place.node.op == "Conv" else 1
    if isinstance(place, Taps):
        return np.arange(shape[1] * span).reshape(shape[1], span).T.reshape(-1)
    return slice(place.before * span, (place.before + units * place.inner) * span)


def whole_matrix(place: Place, own: Float32, units: int) -> Float32:
    """The matrix ``[N, K]`` of a consumer with other values in the columns that read the units."""
    whole = matrix_of(place).copy()
    whole[:, own_columns(place, units)] = own
    return whole
