"""The k-level group-sparse envelope (WGSEF, arXiv 2212.12921): its value and its proximal operator.

For groups with norms ``n_g`` and weights ``d_g > 0``, the function to be relaxed is ``h(t) = 1/2 sum d_g n_g^2``
where at most k groups are not zero, and infinite elsewhere. Its envelope, the largest convex function below it, is

    ``H(t) = 1/2 min sum d_g n_g^2 / u_g``  over ``u`` in ``[0, 1]`` with ``sum u_g <= k``.

It equals h wherever at most k groups are not zero. The paper's body was not at hand; these formulas are derived from
the theory of sparse envelopes (Beck and Refael, 2022) and tested as minimizers. Which weights the paper takes is not
known; ``d_g = 1`` treats groups by their norms, ``d_g = 1 / size`` by their mean squares.

All functions take norms float64 ``[m]`` and work in time proportional to m.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def value(norms: Float64, weights: Float64, k: float) -> float:
    """The envelope of groups with these norms, for ``0 < k``."""
    slopes = np.sqrt(weights) * norms
    if np.count_nonzero(norms) <= k:
        return float(np.square(slopes).sum() / 2)
    shares = np.clip(level(slopes, np.zeros_like(slopes), k) * slopes, 0, 1)
    kept = shares > 0
    return float((np.square(slopes[kept]) / shares[kept]).sum() / 2)


def prox_factors(norms: Float64, weights: Float64, k: float, step: float) -> Float64:
    """What the proximal operator of ``step`` times the envelope multiplies each group with: float64 ``[m]`` in 0..1.

    The point it leads to minimizes ``1/2 ||x - t||^2 + step * H(x)``: ``u / (u + step d)`` with
    ``u = clip(c sqrt(d) n - step d, 0, 1)`` and the c for which they sum to k; groups with u = 0 become zero.
    """
    shrink = step * weights
    if np.count_nonzero(norms) <= k:
        return 1 / (1 + shrink)
    slopes = np.sqrt(weights) * norms
    shares = np.clip(level(slopes, shrink, k) * slopes - shrink, 0, 1)
    factors: Float64 = shares / (shares + shrink)
    return factors


def level(slopes: Float64, offsets: Float64, k: float) -> float:
    """The c for which ``sum clip(slopes * c - offsets, 0, 1)`` is k, for more than k slopes above zero.

    The sum is piecewise linear. Each round looks at the median of the corners that are left and drops the half of them
    that cannot be next to the solution, with the terms that are 0, 1 or linear throughout what is left.
    """
    some = slopes > 0
    slope, offset = slopes[some], offsets[some]
    starts, ends = offset / slope, (1 + offset) / slope
    low, high = 0.0, float(ends.max())
    full, rise, sunk = 0.0, 0.0, 0.0
    while slope.size:
        corners = np.concatenate([starts, ends])
        corners = corners[(corners > low) & (corners < high)]
        if corners.size:
            pivot = float(np.partition(corners, corners.size // 2)[corners.size // 2])
            reached = full + rise * pivot - sunk + np.clip(slope * pivot - offset, 0, 1).sum()
            low, high = (pivot, high) if reached < k else (low, pivot)
        linear = (starts <= low) & (ends >= high)
        rise, sunk = rise + float(slope[linear].sum()), sunk + float(offset[linear].sum())
        full += int(np.count_nonzero((ends <= low) & ~linear))
        open_ = ~linear & (ends > low) & (starts < high)
        slope, offset, starts, ends = slope[open_], offset[open_], starts[open_], ends[open_]
    return (k - full + sunk) / rise if rise > 0 else low


def largest(scores: Float64, k: int) -> npt.NDArray[np.bool_]:
    """Which k of the scores are kept: the largest, of equal ones the first. bool ``[m]``.

    With scores ``d_g n_g^2`` this is the projection onto h's domain, and what the envelope ends at.
    """
    keep = np.zeros(scores.size, np.bool_)
    if k >= scores.size:
        keep[:] = True
    elif k > 0:
        least = np.partition(scores, scores.size - k)[scores.size - k]
        keep[scores > least] = True
        keep[np.flatnonzero(scores == least)[: k - int(np.count_nonzero(keep))]] = True
    return keep
