"""Gated weights (WINA, arXiv 2505.19427): inputs that matter little to a row of activations are skipped.

Input j of a row x passes unless ``|x[j]| * norms[j] < threshold``, with ``norms[j]`` the norm of the weights of that
input, so that the threshold bounds what a skipped input would have added; or it passes if this product is among the
``active`` largest of its row. To be skipped, the weights of an input must lie together: they are stored transposed,
``[K, 16 * ceil(N/16)]``, padded with zeros, as float32 or as RF8 codes (``rf8.VALUES``). A processor that skips reads
whole rows of it; on a GPU neighbouring threads read neighbouring outputs. ``norms`` is float32 ``[K]``, ``threshold``
float32 ``[1]``: zero lets everything pass. In its place ``active`` is int64 ``[1]``.

Weights must be finite: a dense product takes zeros for the activations that do not pass.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

TILE = 16

Scalar = TypeVar("Scalar", bound=np.generic)
Float32 = npt.NDArray[np.float32]


def pack(weight: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Pack weights or codes ``[N, K]`` into ``[K, 16 * ceil(N/16)]``."""
    outputs, inputs = weight.shape
    packed = np.zeros((inputs, -(-outputs // TILE) * TILE), weight.dtype)
    packed[:, :outputs] = weight.T
    return packed


def unpack(packed: npt.NDArray[Scalar], outputs: int) -> npt.NDArray[Scalar]:
    """Return the matrix ``[outputs, K]`` that :func:`pack` packed."""
    return np.ascontiguousarray(packed[:, :outputs].T)


def input_norms(weight: Float32) -> Float32:
    """float32 ``[K]``: the Euclidean norms of the columns of ``[N, K]``, added up in float64."""
    norms: Float32 = np.sqrt(np.square(weight, dtype=np.float64).sum(0)).astype(np.float32)
    return norms


def packed_nbytes(shape: tuple[int, int], value_bytes: int) -> int:
    """Bytes of values, norms and scales of a weight of this shape ``(N, K)``."""
    return shape[1] * (-(-shape[0] // TILE) * TILE * value_bytes + 4) + 4 * shape[0]
