"""Units that remember single samples, told by inverse participation ratios.

``sum_i (|v_i| / ||v||)^4`` is 1 for a vector that is all in one place and ``1 / n`` for one that is spread over n. In
networks that have learned modular arithmetic with wrong labels, units that generalize have weights of a single
frequency, and those that memorize weights of all of them: of the first kind the ratio of the Fourier transform is
high ("To grok or not to grok", which takes the mean over all weights of a unit). What a unit gives over samples
tells without a basis: one that answers to few of them alone remembers those. Whether a task has such a basis is not for
a compiler to know, so that the result is to be measured on samples that no unit can have seen.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from regc.compiler.passes import Units

Float64 = npt.NDArray[np.float64]
Basis = Literal["samples", "fourier", "dct"]


def participation(vectors: npt.ArrayLike) -> Float64:
    """The inverse participation ratio of each vector ``[.., n]``, between ``1 / n`` and 1; 0 for a vector of zeros."""
    powers = np.square(np.abs(np.asarray(vectors)).astype(np.float64))
    whole = powers.sum(-1, keepdims=True)
    return np.asarray(np.square(powers / np.where(whole > 0, whole, 1)).sum(-1))


def spectrum(vectors: npt.ArrayLike, basis: Literal["fourier", "dct"]) -> npt.NDArray[np.generic]:
    """Real vectors ``[.., n]`` in a basis of waves, n of them."""
    given = np.asarray(vectors, np.float64)
    if basis == "fourier":
        return np.fft.fft(given)
    count = given.shape[-1]
    turned = np.fft.fft(np.concatenate([given, given[..., ::-1]], -1))[..., :count]
    found = (turned * np.exp(-0.5j * np.pi * np.arange(count) / count)).real
    return np.asarray(found * np.where(np.arange(count) == 0, np.sqrt(0.5), 1))


def generality(units: Units, basis: Basis) -> Float64 | None:
    """How far each unit is from remembering samples, float64 ``[units]``; None where its outputs are not known.

    By ``samples`` it is the share of them that a unit answers to, by a basis of waves the ratio of all weights that
    compute and that read it.
    """
    if basis == "samples":
        shares = []
        for consumer in units.consumers:
            if consumer.inputs is None or consumer.inputs.sample is None:
                return None
            rows = consumer.inputs.sample
            given = rows.reshape(len(rows), units.units, -1).transpose(1, 0, 2).reshape(units.units, -1)
            ratio = participation(given)
            shares.append(np.where(ratio > 0, 1 / np.where(ratio > 0, ratio, 1), 0) / given.shape[1])
        return np.asarray(np.mean(shares, 0))
    outgoing = [c.weight.reshape(len(c.weight), units.units, -1).transpose(1, 2, 0) for c in units.consumers]
    weights = [*units.rows, *(part.reshape(units.units, -1) for part in outgoing)]
    return np.asarray(np.mean([participation(spectrum(weight, basis)) for weight in weights], 0))
