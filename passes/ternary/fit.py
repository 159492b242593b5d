"""From float32 weights to trits and scales.

Three ways to a scale, each over the whole weight, an output or a group of inputs:

- ``lloyd``: the trits and the scale of least squared error, weighted by the inputs' second moments if these are
  known. For a scale ``a`` the best trits keep what exceeds ``a / 2``, and for kept weights the best scale is their
  mean magnitude. Alternating the two (Lloyd, Max) ends at some fixed point. The best one keeps the m largest
  magnitudes for the m that maximizes ``(sum of them)**2 / m``, and one sort finds it.
- ``mean`` and ``median``: BitNet b1.58 Reloaded (``schneiderkamplab/bitlinear``). In float32,
  ``measure = max(mean|W|, 1e-5)``, or the same of the median (the lower of the middle two), and
  ``trit = clamp(round_half_even(W * (1 / measure)), -1, 1)``; the measure is also what a trit is multiplied
  by. A least-squares refit of that scale is not part of the paper, and is a separate option.

With groups, a row's scale is a 64th of its largest group's, and the other groups' are multiples of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from regc.passes import row_slices
from regc.runtime_ops.formats import ternary

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Item = TypeVar("Item", bound=np.generic)
UInt8 = npt.NDArray[np.uint8]

Method = Literal["lloyd", "mean", "median"]

MIN_MEASURE = np.float32(1e-5)
"""The paper's lower bound of a mean or median."""

FLOAT32 = np.finfo(np.float32)
_CHUNK = 1 << 19


class Fitted(NamedTuple):
    """Codes and multipliers packed by :mod:`regc.runtime_ops.formats.ternary`, and float32 scales ``[N]``."""

    codes: UInt8
    multiplier: UInt8
    scale: Float32


class _Rows(NamedTuple):
    trits: Int8
    multipliers: UInt8
    scale: Float32


def lloyd(magnitudes: Float32, moments: Float32 | None = None) -> Float32:
    """The scale of least squared error along the last axis. Sorts its argument in place.

    ``moments`` float32 ``[..., n]`` weigh the squares of the errors.
    """
    if moments is not None:
        return _weighted_lloyd(magnitudes, moments)
    magnitudes.sort(axis=-1)
    falling = magnitudes[..., ::-1]
    lead = falling.shape[:-1]
    total, best, scale = np.zeros(lead), np.full(lead, -1.0), np.zeros(lead)
    block = max(1, _CHUNK // max(1, total.size))
    for start in range(0, falling.shape[-1], block):
        sums = np.cumsum(falling[..., start : start + block], axis=-1, dtype=np.float64)
        sums += total[..., None]
        means = sums / np.arange(start + 1, start + 1 + sums.shape[-1])
        total = sums[..., -1].copy()
        sums *= means
        at = np.argmax(sums, axis=-1)[..., None]
        gain = np.take_along_axis(sums, at, axis=-1)[..., 0]
        scale = np.where(gain > best, np.take_along_axis(means, at, axis=-1)[..., 0], scale)
        best = np.maximum(gain, best)
    found: Float32 = scale.astype(np.float32)
    return found


def _weighted_lloyd(magnitudes: Float32, moments: Float32) -> Float32:
    falling = np.argsort(-magnitudes, axis=-1)
    weights = np.take_along_axis(np.broadcast_to(moments, magnitudes.shape), falling, axis=-1).astype(np.float64)
    sums = np.cumsum(weights * np.take_along_axis(magnitudes, falling, axis=-1), axis=-1)
    means = sums / np.maximum(np.cumsum(weights, axis=-1), np.finfo(np.float64).tiny)
    at = np.argmax(sums * means, axis=-1)[..., None]
    found: Float32 = np.take_along_axis(means, at, axis=-1)[..., 0].astype(np.float32)
    return found


def mean(magnitudes: Float32) -> Float32:
    """The mean along the last axis, summed in float64, at least 1e-5."""
    found: Float32 = np.asarray(magnitudes.mean(axis=-1, dtype=np.float64), np.float32)
    return np.maximum(found, MIN_MEASURE)


def median(magnitudes: Float32) -> Float32:
    """The lower median along the last axis, at least 1e-5. Reorders its argument in place."""
    middle = (magnitudes.shape[-1] - 1) // 2
    magnitudes.partition(middle, axis=-1)
    return np.maximum(magnitudes[..., middle], MIN_MEASURE)


_MEASURES: dict[Method, Callable[[Float32], Float32]] = {"lloyd": lloyd, "mean": mean, "median": median}


def fit_tensor(weight: Float32, method: Method, *, refit: bool = False) -> Fitted:
    """One scale for a weight float32 ``[N, K]``, repeated in ``scale``; all multipliers are 1.

    ``refit`` replaces the scale by that of least squares for the trits found.

    Raises:
        ValueError: the weight has NaN or infinity.
    """
    _check(weight)
    measure = np.asarray(_MEASURES[method](np.abs(weight).reshape(-1)))
    codes, kept, total = [], 0, 0.0
    for rows in row_slices(_shape(weight), ternary.TILE, _CHUNK):
        trits = _trits(weight[rows], measure, method)
        codes.append(ternary.pack_trits(trits))
        kept += int(np.count_nonzero(trits))
        total += float(np.sum(weight[rows] * trits, dtype=np.float64)) if refit else 0.0
    scale = np.float32(total / kept) if refit and kept else measure
    multipliers = ternary.pack_multipliers(np.ones((weight.shape[0], 1), np.uint8))
    return Fitted(np.concatenate(codes), multipliers, np.full(weight.shape[0], scale, np.float32))


def fit_rows(
    weight: Float32, method: Method, *, group: int | None = None, refit: bool = False, moments: Float32 | None = None
) -> Fitted:
    """A scale for each row of a weight float32 ``[N, K]``, or for each ``group`` inputs of a row.

    Group scales become multiples 0..64 of the row's scale, the largest 64; the trits are those nearest to the
    weight at these scales. For ``lloyd``, and with ``refit``, the row's scale is then that of least squares.
    It stays a normal float32, so that a group whose scale is below ``2**-127`` becomes zero. ``moments`` float32
    ``[K]``, all positive, are for ``lloyd``: how much an error at each input counts.

    Raises:
        ValueError: the weight has NaN or infinity.
    """
    _check(weight)
    codes, multipliers, scales = [], [], []
    for rows in row_slices(_shape(weight), ternary.TILE, _CHUNK):
        chunk = weight[rows]
        if group is None or group >= weight.shape[1]:
            found = _whole_rows(chunk, method, refit, moments)
        else:
            found = _grouped_rows(chunk, group, method, refit, moments)
        codes.append(ternary.pack_trits(found.trits))
        multipliers.append(ternary.pack_multipliers(found.multipliers))
        scales.append(found.scale)
    return Fitted(np.concatenate(codes), np.concatenate(multipliers), np.concatenate(scales))


def _whole_rows(weight: Float32, method: Method, refit: bool, moments: Float32 | None) -> _Rows:
    scale = lloyd(np.abs(weight), moments) if method == "lloyd" else _MEASURES[method](np.abs(weight))
    trits = _trits(weight, scale[:, None], method)
    if refit:
        scale = _least_squares(weight, trits, scale)
    return _Rows(trits, np.ones((len(weight), 1), np.uint8), scale)


def _grouped_rows(weight: Float32, group: int, method: Method, refit: bool, moments: Float32 | None) -> _Rows:
    scale, multipliers = snap(_group_measures(np.abs(weight), group, method, moments))
    # At multiplier 0 any trit means zero: keeping none makes the codes unique.
    half = scale[:, None] * (multipliers.astype(np.float32) / np.float32(2))
    half[multipliers == 0] = np.inf
    columns = weight.shape[1]
    trits = _nearest(weight, _widen(half, group, columns))
    if method == "lloyd" or refit:
        levels = trits * _widen(multipliers.view(np.int8), group, columns)
        scale = _least_squares(weight, levels, scale, moments)
    return _Rows(trits, multipliers, scale)


def snap(measures: Float32, least: Float32 | np.float32 = FLOAT32.tiny) -> tuple[Float32, UInt8]:
    """Row scales float32 ``[N]``, at least ``least``, and multipliers uint8 for group scales, both ``[N, G]``.

    The largest group of a row gets the multiplier 64, so no group is off by more than a 128th of the largest.
    For Gaussian weights in groups of 64 this costs 2.5e-5 of their energy, the trits themselves 0.18.
    """
    steps = np.float32(ternary.MAX_MULTIPLIER)
    scale = np.maximum(measures.max(axis=1) / steps, least)
    multipliers = np.minimum(np.rint(measures / scale[:, None]), steps)
    return scale, multipliers.astype(np.uint8)


def _group_measures(magnitudes: Float32, group: int, method: Method, moments: Float32 | None) -> Float32:
    parts = _split(magnitudes, group)
    if method == "lloyd" and moments is not None:
        pairs = zip(parts, _split(moments[None], group), strict=True)
        return np.concatenate([lloyd(part, weights) for part, weights in pairs], axis=1)
    return np.concatenate([_MEASURES[method](part) for part in parts], axis=1)


def _split(values: Float32, group: int) -> list[Float32]:
    """Rows ``[N, K]`` as their whole groups ``[N, G, group]`` and, if there is any, the rest ``[N, 1, rest]``."""
    whole = values.shape[1] // group * group
    parts = [values[:, :whole].reshape(len(values), -1, group)]
    return parts if whole == values.shape[1] else [*parts, values[:, None, whole:]]


def _trits(weight: Float32, measure: Float32, method: Method) -> Int8:
    if method == "lloyd":
        return _nearest(weight, measure / np.float32(2))
    with np.errstate(over="ignore"):  # an infinite quotient is clamped to one like any other
        return _nearest(weight * (np.float32(1) / measure), np.full_like(measure, 0.5))


def _nearest(weight: Float32, half: Float32) -> Int8:
    """Round to -1, 0 or 1 times ``2 * half``; the middle goes to zero, as in rounding half to even."""
    trits: Int8 = (weight > half).view(np.int8) - (weight < -half).view(np.int8)
    return trits


def _least_squares(weight: Float32, levels: Int8, otherwise: Float32, moments: Float32 | None = None) -> Float32:
    """Row scales that bring ``levels`` nearest to the weight, ``otherwise`` for rows whose levels are all
    zero."""
    wide = levels.astype(np.float64)
    weighted = wide if moments is None else wide * moments
    energy = np.einsum("nk,nk->n", wide, weighted)
    best = np.einsum("nk,nk->n", weighted, weight) / np.where(energy > 0, energy, 1)
    best = np.clip(best, FLOAT32.tiny, FLOAT32.max / np.maximum(levels.max(axis=1), -levels.min(axis=1)).clip(1))
    return np.where(energy > 0, best.astype(np.float32), otherwise)


def _widen(values: npt.NDArray[Item], group: int, columns: int) -> npt.NDArray[Item]:
    return np.repeat(values, group, axis=1)[:, :columns]


def _shape(weight: Float32) -> tuple[int, int]:
    return weight.shape[0], weight.shape[1]


def _check(weight: Float32) -> None:
    if not (np.isfinite(weight.max()) and np.isfinite(weight.min())):
        raise ValueError("the weight has NaN or infinity")
