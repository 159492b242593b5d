"""How the values of a weight are distributed: its moments, and the generalized Gaussian that has them.

The density ``nu / (2 alpha Gamma(1 / nu)) * exp(-(|x| / alpha) ** nu)`` is a Laplace law at nu = 1, a Gaussian at
nu = 2 and nearly uniform at 10. As in BackSlash (arXiv 2504.16968) nu is the one for which
``Gamma(1 / nu) Gamma(3 / nu) / Gamma(2 / nu) ** 2`` is ``E[x ** 2] / E[|x|] ** 2``. The lower nu, the fewer bits an
entropy coder needs.

Skewness and kurtosis are what EQ-Net draws towards 0 and 1.8, those of a uniform law, because such weights lose least
when they are rounded to few levels of equal distance. A Gaussian has kurtosis 3; far above it, a few outliers set the
range and most levels stay unused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

LEAST_SHAPE, LARGEST_SHAPE = 0.1, 10.0
LEVELS = 127
"""Positive levels of the integers whose entropy is predicted: those of int8."""

_CHUNK = 1 << 18
_WITHIN = 16


@dataclass(frozen=True)
class Distribution:
    """Moments of values, and the generalized Gaussian of ``shape`` nu and ``scale`` alpha, in the unit of the values.

    ``kurtosis`` is the fourth standardized moment, 3 for a Gaussian. ``bits`` are those that an ideal entropy coder
    takes for a value of this law in int8, whose largest level is ``peak``. Values that are all alike have no skewness
    and no kurtosis (NaN).
    """

    mean: float
    deviation: float
    peak: float
    skewness: float
    kurtosis: float
    shape: float
    scale: float
    bits: float


def describe(values: Float32) -> Distribution:
    """The distribution of an array of any shape.

    Raises:
        ValueError: it is empty, or has NaN or infinity.
    """
    flat = values.reshape(-1)
    peak = float(np.maximum(flat.max(), -flat.min()))
    if not math.isfinite(peak):
        raise ValueError("the weight has NaN or infinity")
    if not peak:
        return Distribution(0, 0, 0, math.nan, math.nan, math.nan, 0, 0)
    mean = _average(flat, peak, 1)
    size, square = _average(flat, peak, 1, absolute=True), _average(flat, peak, 2)
    second, third, fourth = (_average(flat, peak, power, mean) for power in (2, 3, 4))
    alike = second <= np.finfo(np.float32).eps ** 2
    shape = shape_of(square / size**2)
    scale = scale_of(shape, math.sqrt(square))
    return Distribution(
        mean=mean * peak,
        deviation=math.sqrt(second) * peak,
        peak=peak,
        skewness=math.nan if alike else third / second**1.5,
        kurtosis=math.nan if alike else fourth / second**2,
        shape=shape,
        scale=scale * peak,
        bits=entropy(shape, scale),
    )


def ratio_of(shape: float) -> float:
    """``E[x ** 2] / E[|x|] ** 2`` of a generalized Gaussian; falls with the shape."""
    return math.exp(math.lgamma(1 / shape) + math.lgamma(3 / shape) - 2 * math.lgamma(2 / shape))


def shape_of(ratio: float) -> float:
    """The shape with this ratio ``E[x ** 2] / E[|x|] ** 2``, between 0.1 and 10."""
    low, high = LEAST_SHAPE, LARGEST_SHAPE
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio_of(middle) > ratio else (low, middle)
    return (low + high) / 2


def scale_of(shape: float, root_mean_square: float) -> float:
    """The scale alpha of a generalized Gaussian with this ``sqrt(E[x ** 2])``."""
    return root_mean_square * math.exp((math.lgamma(1 / shape) - math.lgamma(3 / shape)) / 2)


def entropy(shape: float, scale: float) -> float:
    """Bits of a value of this law, cut to magnitudes up to 1 and rounded to multiples of 1 / 127."""
    inner = (np.arange(_WITHIN) + 0.5) / _WITHIN - 0.5
    places = (np.arange(-LEVELS, LEVELS + 1)[:, None] + inner) / LEVELS
    weights = np.exp(-((np.abs(places) / scale) ** shape)).sum(axis=1)
    shares = weights / weights.sum()
    seen = shares[shares > 0]
    return float(-(seen * np.log2(seen)).sum())


def entropy_of_codes(codes: npt.NDArray[np.uint8]) -> float:
    """Bits that an ideal coder takes for each of these bytes, from how often each occurs."""
    shares = np.bincount(codes.reshape(-1), minlength=256) / codes.size
    seen = shares[shares > 0]
    return float(-(seen * np.log2(seen)).sum())


def _average(flat: Float32, unit: float, power: int, centre: float = 0, *, absolute: bool = False) -> float:
    """The mean of ``(x / unit - centre) ** power``, in float64, piece by piece."""
    total = 0.0
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK].astype(np.float64) / unit - centre
        total += float(np.sum((np.abs(part) if absolute else part) ** power))
    return total / flat.size
