"""From float32 weights to RF8 codes, with integer arithmetic on the bits of a float (:mod:`regc.runtime_ops.encoder`).

What encodes, or tries scales, raises OperatorLibraryError where the operator library is missing.

The authors' rule (arXiv 2506.00486 v1-v3, ``gg_prior/rf8.py``, n = 4) rounds ``log2|w|`` to ``e1``, then
``log2`` of the residual ``w -+ 2**e1`` to ``e2``, and keeps the second power of two when ``e1 - e2 <= 4``. A
residual at the distance ``d = e1 - e2`` therefore begins at ``2**(e1 - d - 0.5)``. For significands from 1
to 2 this makes seven thresholds: ``1 + 2**-(d + 0.5)`` for d = 4, 3, 2, 1 and ``2 * (1 - 2**-(d + 0.5))`` for
d = 2, 3, 4. (``sqrt(2)``, where ``e1`` steps, is none: on both sides of it the value is 1.5.) They are
irrational, so no weight lies on one, and each is a comparison of the 23 bits of the significand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from math import isqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regc.runtime_ops import encoder
from regc.runtime_ops.formats import rf8

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

MIN_EXPONENT, MAX_EXPONENT = -126, 127
"""Exponents of a scale: normal float32, so that ``scale * value`` is exact, and survives a machine that
flushes subnormals."""

STEPS = np.exp2(np.arange(encoder.MOST_STEPS) / encoder.MOST_STEPS).astype(np.float16).astype(np.float32)
"""Scales tried within an octave, as multiples of its power of two: about evenly spread, and each of them a float16, so
that a file holds scales in two bytes."""
SAMPLE = encoder.MOST_INPUTS
"""Inputs of a row that a scale is judged by."""

_ONE = 1 << 23


class Encoded(NamedTuple):
    """Packed codes uint8 ``[ceil(N/16), ceil(K/4), 4, 2, 4, 2]`` and the scales float32 ``[N]``."""

    codes: UInt8
    scale: Float32


def _authors_thresholds() -> Int32:
    rising = [isqrt(1 << 45 - 2 * d) + 1 for d in (4, 3, 2, 1)]
    falling = [_ONE - isqrt(1 << 47 - 2 * d) for d in (2, 3, 4)]
    return np.array([*rising, *falling], np.int32)


def _nearest_thresholds() -> Int32:
    members = [int((s - 1) * _ONE) for s in rf8.SIGNIFICANDS[:7].tolist()] + [_ONE]
    middles = [(low + high) // 2 for low, high in itertools.pairwise(members)]
    goes_up = (0, 1, 0, 1, 0, 1, 1)
    return np.array([middle + 1 - up for middle, up in zip(middles, goes_up, strict=True)], np.int32)


AUTHORS = _authors_thresholds()
"""The least 23-bit significand of each residual code 1..6, and of the next octave."""

NEAREST = _nearest_thresholds()
"""The same for the member nearest in value. A weight in the middle of two goes to the one with the even
residual code, and above 1.875 to the power of two."""


def encode(weight: Float32, scale: Float32, thresholds: Int32) -> Encoded:
    """RF8 codes of a weight float32 ``[N, K]`` with scales float32 ``[N]``, by :data:`AUTHORS` or :data:`NEAREST`.

    With powers of two, from ``2**-14`` of the scale up the rule is kept bit for bit. Below, a weight goes to the nearer
    of zero and ``2**-14``, in the middle to zero. What the rule would take above 1.875 becomes 1.875.
    """
    return Encoded(encoder.pack(weight, scale, thresholds), scale)


def octave_scales(weight: Float32, thresholds: Int32, *, per_row: bool = True) -> Float32:
    """Scales float32 ``[N]``: the octave of the largest coded value of the row, or of the tensor.

    They are powers of two between ``2**-126`` and ``2**127``, so that dividing by them is exact; 1 for zeros.

    Raises:
        ValueError: the weight has NaN, infinity or no values.
    """
    peak = np.maximum(weight.max(axis=1), -weight.min(axis=1))
    if not np.isfinite(peak).all():
        raise ValueError("the weight has NaN or infinity")
    exponent = octaves(peak if per_row else np.full_like(peak, peak.max()), thresholds)
    scale: Float32 = np.ldexp(np.ones_like(peak), exponent)
    return scale


def fitted_scales(weight: Float32) -> Float32:
    """Scales float32 ``[N]`` that leave the least squared error of rounding to the nearest value, out of a few.

    The first of :func:`candidates` is the power of two, so that weights that are RF8 already stay as they are. Judged
    on at most :data:`SAMPLE` inputs spread over the row. The members of an octave crowd at the power of two, so it
    matters where a row's large weights fall: next to nothing on long Gaussian rows, but a sixth of the error of the
    logits of small trained networks, and perplexity 3.71 instead of 3.75 on a language model of 260,000 weights.

    Raises:
        ValueError: the weight has NaN, infinity or no values.
    """
    octave = octave_scales(weight, NEAREST)
    return encoder.best_scales(weight, octave, _spread(weight.shape[1]), STEPS)


def candidates(octave: Float32) -> Iterator[Float32]:
    """The scales tried for rows whose power-of-two scales are ``octave``, within one octave upward.

    None is above ``2**127``, so that the largest member stays finite.
    """
    for step in STEPS:
        yield np.minimum(octave * step, np.float32(2.0**MAX_EXPONENT))


@cache
def _spread(columns: int) -> npt.NDArray[np.int64]:
    """At most :data:`SAMPLE` of the columns, evenly but at no fixed distance, which would take always the same tap.

    Not to be modified: the same for all weights of as many columns.
    """
    count = min(columns, SAMPLE)
    edges = np.arange(count + 1) * columns // count
    return np.random.default_rng(0).integers(edges[:-1], edges[1:])


def octaves(peak: Float32, thresholds: Int32) -> Int32:
    """The exponent of the coded value of a magnitude, 0 for zero."""
    fraction, exponent = np.frexp(peak)
    significand = (fraction * (2 * _ONE)).astype(np.int32) - _ONE
    octave = exponent - 1 + (significand >= thresholds[-1])
    return np.where(peak > 0, np.clip(octave, MIN_EXPONENT, MAX_EXPONENT), 0).astype(np.int32)


def nearest_codes(scaled: Float32) -> UInt8:
    """Codes uint8 of scaled weights float32 in any shape, by :data:`NEAREST`; from 2 up they are the largest member."""
    return encoder.codes_of(scaled, NEAREST)
