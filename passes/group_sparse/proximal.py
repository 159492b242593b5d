"""Pruning by proximal steps: the output error plus the k-level group-sparse envelope, k falling to its goal.

Minimizes ``1/2 trace((X - W) G (X - W)^T) + strength * H_k(X)`` by accelerated proximal gradient steps, in inputs
scaled to unit second moment so that one step size suits all. k falls from all blocks to the goal on the cubic schedule
of PST, which trains meanwhile; here the Gram matrix takes the place of training data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from regc.passes.group_sparse.eliminate import Float32, Float64, energies
from regc.passes.group_sparse.envelope import prox_factors
from regc.runtime_ops.formats.block_sparse import TILE

STEPS = 60
STRENGTH = 0.05
"""Of the envelope, in units of the largest curvature. Over 0.005 to 0.5 the error of five layers moves by 5 %."""
_FALLING = 0.7
"""Share of the steps after which k has reached its goal."""


def prices(weight: Float32, gram: Float64, block: int, goal: int) -> Float64:
    """The squared norms of the blocks after the last step, float64 ``[tiles, columns]``; ``goal`` is how many stay."""
    scale = np.sqrt(np.diagonal(gram))
    curvature = gram / scale / scale[:, None]
    step = 1 / float(np.linalg.eigvalsh(curvature)[-1])
    start = weight.astype(np.float64) * scale
    point, ahead, pace = start, start, 1.0
    for index in range(STEPS):
        moved = ahead - step * ((ahead - start) @ curvature)
        norms = np.sqrt(energies(moved, None, block))
        left = max(0.0, 1 - (index + 1) / (_FALLING * STEPS)) ** 3
        level = int(goal + (norms.size - goal) * left)
        factors = prox_factors(norms.reshape(-1), np.ones(norms.size), level, STRENGTH * step).reshape(norms.shape)
        last, point = point, moved * _spread(factors, block, moved.shape)
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        ahead, pace = point + (pace - 1) / faster * (point - last), faster
    return energies(point, None, block)


def _spread(factors: Float64, block: int, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Factors of blocks ``[tiles, columns]`` for every weight ``[N, K]``."""
    return np.repeat(np.repeat(factors, TILE, 0), block, 1)[: shape[0], : shape[1]]
