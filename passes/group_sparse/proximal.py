"""Pruning by proximal steps: the output error plus the k-level group-sparse envelope, k falling to its goal.

Minimizes ``1/2 trace((X - W) G (X - W)^T) + strength * H_k(X)`` by accelerated proximal gradient steps, in inputs
scaled to unit second moment so that one step size suits all. k falls from all groups to the goal on the cubic schedule
of PST, which trains meanwhile; here the Gram matrix takes the place of training data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from regc.passes.group_sparse.eliminate import Float32, Float64, energies
from regc.passes.group_sparse.envelope import prox_factors
from regc.runtime_ops.formats.block_sparse import TILE

STEPS = 60
STRENGTH = 0.05
"""Of the envelope, in units of the largest curvature. Over 0.005 to 0.5 the error of five layers moves by 5 %."""
_FALLING = 0.7
"""Share of the steps after which k has reached its goal."""


class Grouping(NamedTuple):
    """How several matrices are made of groups: ``energies`` gives the squared norm of each group, float64 ``[m]``,
    ``spread`` takes factors of groups to those of single weights, in arrays that each matrix can be multiplied with.
    """

    energies: Callable[[Sequence[Float64]], Float64]
    spread: Callable[[Float64], Sequence[Float64]]


def prices(weight: Float32, gram: Float64, block: int, goal: int, tile: int = TILE) -> Float64:
    """The squared norms of the blocks after the last step, float64 ``[tiles, columns]``; ``goal`` is how many stay."""
    shape = energies(weight, None, block, tile).shape
    blocks = Grouping(
        lambda points: energies(points[0], None, block, tile).reshape(-1),
        lambda factors: [
            np.repeat(np.repeat(factors.reshape(shape), tile, 0), block, 1)[: len(weight), : weight.shape[1]]
        ],
    )
    return descend([weight.astype(np.float64)], [gram], blocks, goal).reshape(shape)


def descend(weights: Sequence[Float64], grams: Sequence[Float64], groups: Grouping, goal: int) -> Float64:
    """The squared norms, float64 ``[m]``, after the last step of groups that several weights ``[N, K]`` share."""
    scales = [np.sqrt(np.diagonal(gram)) for gram in grams]
    curvatures = [gram / scale / scale[:, None] for gram, scale in zip(grams, scales, strict=True)]
    step = 1 / max(float(np.linalg.eigvalsh(curvature)[-1]) for curvature in curvatures)
    starts = [weight * scale for weight, scale in zip(weights, scales, strict=True)]
    points, ahead, pace = starts, starts, 1.0
    for index in range(STEPS):
        moved = [x - step * ((x - w) @ curvature) for x, w, curvature in zip(ahead, starts, curvatures, strict=True)]
        norms = np.sqrt(groups.energies(moved))
        left = max(0.0, 1 - (index + 1) / (_FALLING * STEPS)) ** 3
        level = int(goal + (norms.size - goal) * left)
        factors = groups.spread(prox_factors(norms, np.ones(norms.size), level, STRENGTH * step))
        last, points = points, [x * factor for x, factor in zip(moved, factors, strict=True)]
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        ahead = [x + (pace - 1) / faster * (x - old) for x, old in zip(points, last, strict=True)]
        pace = faster
    return groups.energies(points)
