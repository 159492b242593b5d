"""Which window of a convolution kernel stays, of all that are small enough.

There are so few windows that every one is tried: with calibration inputs, by the error that is left when it makes up
for the positions that go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import numpy.typing as npt

from regc.compiler.passes import Kept, Refusal, Units
from regc.passes.neuron_mask.removal import Read, norms
from regc.passes.neuron_mask.static import reads_of, small, without

Positions = npt.NDArray[np.intp]


def windows(kernel: tuple[int, ...]) -> Iterator[Positions]:
    """The windows of a kernel, each the numbers of its positions, ascending: from each axis some, evenly apart."""
    numbers = np.arange(int(np.prod(kernel))).reshape(kernel)
    for axes in product(*(list(_evenly(size)) for size in kernel)):
        yield numbers[np.ix_(*axes)].reshape(-1)


def smaller(units: Units, sparsity: float) -> Kept | Refusal:
    """The window that leaves the least error without so many of the positions."""
    most = max(1, round((1 - sparsity) * units.units))
    if most >= units.units:
        return Refusal(f"kept whole: {sparsity:.3g} of {units.units} positions is less than one of them")
    reads = reads_of(units)
    costs = _left(reads[0], units.units) if reads is not None and small(units) else _dropped(units)
    fitting = [window for window in windows(units.kernel) if len(window) <= most]
    return without(units, min(fitting, key=costs), reads)


def nonzero(units: Units) -> Kept | Refusal:
    """The smallest window with all positions that are not zero in the whole kernel."""
    weight = units.consumers[0].weight
    used = np.flatnonzero(weight.reshape(len(weight), units.units, -1).any((0, 2)))
    fitting = [window for window in windows(units.kernel) if np.isin(used, window).all()]
    best = min(fitting, key=len)
    if len(best) == units.units:
        return Refusal("no smaller window has all positions that are not zero")
    return Kept(best, (weight,), (None,))


def _evenly(size: int) -> Iterator[range]:
    for first in range(size):
        yield range(first, first + 1)
        for step in range(1, size - first):
            for count in range(2, (size - 1 - first) // step + 2):
                yield range(first, first + step * count, step)


def _left(read: Read, units: int) -> Callable[[Positions], float]:
    """How much error a window leaves when it makes up for all other positions, but for a constant."""
    gram, inner = read.damped(), read.weight.shape[1] // units
    target = read.weight.astype(np.float64) @ gram

    def left(window: Positions) -> float:
        inputs = (window[:, None] * inner + np.arange(inner)).reshape(-1)
        kept = np.linalg.solve(gram[np.ix_(inputs, inputs)], target[:, inputs].T)
        return -float(np.einsum("nk,kn->", target[:, inputs], kept))

    return left


def _dropped(units: Units) -> Callable[[Positions], float]:
    """The same without making up: squares of weights, times the second moments of what they read where known."""
    weight, inputs, *_ = units.consumers[0]
    energies = norms(weight, None if inputs is None else inputs.second_moment, units.units)
    return lambda window: -float(energies[window].sum())
