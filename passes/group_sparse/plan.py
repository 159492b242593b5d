"""One budget of blocks for all weights of a model.

Leaving blocks out costs a weight what elimination says. How much that counts is what the model's own outputs show when
the weight alone is made sparse, once, and refit. Cosine of the outputs to the original's on the half of the calibration
inputs that nothing was fitted on, at half of all blocks of 16x1, the same share of each weight and shared out: MiniLM's
sentence vectors 0.899 and 0.939, vit_mnist's logits 0.987 and 0.996.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from regc.compiler.passes import Surveyed
from regc.passes.budget import Point, share_out
from regc.passes.group_sparse import eliminate
from regc.passes.group_sparse.eliminate import Float32, Float64
from regc.passes.group_sparse.envelope import largest
from regc.runtime_ops.formats.block_sparse import TILE

WHOLE = 0
"""The choice to leave a weight as it is."""
_LEAST, _MOST = 60, 85
"""Percentages of blocks between which weights do without, if the sparsity asked for is no higher.

Fewer take longer than the weight as a whole. Products of 32 rows by 1536x384 in RF8, by the time of the float32 weight:
whole 0.61, 30% left out 1.12, 50% 0.85, 70% 0.51. And they buy nothing: with fewer allowed, down to 10%, the cosine of
MiniLM is the same. Only where weights are so few that the budget would not be met they are made use of.
"""
_MET = 0.97
_UTMOST = 97
_TILES = 8
"""Tiles that are eliminated to know how errors grow; in a weight of 384x1536 one takes half a second."""


def curve(survey: Surveyed, sparsity: float, block: int, tile: int = TILE) -> Sequence[Point] | None:
    """What a weight may become, with errors of the model's outputs; None where these are not known."""
    if survey.inputs is None or survey.inputs.gram is None or 100 * sparsity > _UTMOST:
        return None
    weight, gram = survey.weight.values, eliminate.damped(survey.inputs.gram)
    tried = _tried(weight, gram, (1 + sparsity) / 2, (tile, block))
    effect = survey.effect(tried)
    missed = tried.astype(np.float64) - weight
    lost = float(np.einsum("nk,nk->", missed @ gram, missed))
    if effect is None or not lost > 0:
        return None
    shares = choices(sparsity)
    errors = effect**2 / lost * _growing(weight, gram, (tile, block), shares)
    blocks = -(-weight.shape[0] // tile) * -(-weight.shape[1] // block)
    size = tile * block * survey.weight.dtype.itemsize
    points = [
        Point(round((1 - share / 100) * blocks) * size, float(error), share)
        for share, error in zip(shares, errors, strict=True)
    ]
    return [*points, Point(blocks * size, 0.0, WHOLE)]


def choices(sparsity: float) -> list[int]:
    """Percentages of blocks that a weight may do without, for a sparsity of all weights together."""
    top = min(_UTMOST, max(_MOST, round(50 * (1 + sparsity))))
    return [*range(10, top, 5), top]


def levels(curves: Mapping[str, Sequence[Point]], sparsity: float, *, fast: bool = True) -> dict[str, int]:
    """How many in a hundred blocks each weight does without, so that ``sparsity`` of all are left out; only as many as
    make it ``fast``, if they can.
    """
    budget = int((1 - sparsity) * sum(max(point.nbytes for point in points) for points in curves.values()))
    quick = {name: [p for p in points if p.choice >= _LEAST or p.choice == WHOLE] for name, points in curves.items()}
    found = share_out(quick if fast else curves, budget)
    if fast and sum(point.nbytes for point in found.values()) < _MET * budget:
        found = share_out(curves, budget)
    return {name: point.choice for name, point in found.items()}


def _tried(weight: Float32, gram: Float64, sparsity: float, sizes: tuple[int, int]) -> Float32:
    """The weight without its cheapest blocks, each priced on its own, refit."""
    tile, block = sizes
    prices = eliminate.energies(weight, 1 / np.diagonal(np.linalg.inv(gram)), block, tile)
    keep = largest(prices.reshape(-1), max(1, round((1 - sparsity) * prices.size)))
    return eliminate.refit(weight, keep.reshape(prices.shape), gram, block, tile)


def _growing(weight: Float32, gram: Float64, sizes: tuple[int, int], shares: Sequence[int]) -> Float64:
    """The squared error of the outputs without ever more blocks, float64 ``[shares]``, from some of the tiles."""
    tile, block = sizes
    tiles = -(-len(weight) // tile)
    step = max(1, tiles // (_TILES * TILE // tile))
    rows = np.concatenate([weight[start * tile : (start + 1) * tile] for start in range(0, tiles, step)])
    if tile > 1 and weight.shape[1] <= eliminate.MOST_INPUTS:
        prices = eliminate.eliminate(rows, gram, block, 1 - max(shares) / 100)
    else:
        prices = eliminate.energies(rows, 1 / np.diagonal(np.linalg.inv(gram)), block, tile)
    sums = tiles / len(prices) * np.cumsum(np.sort(prices[np.isfinite(prices)]))
    counts = np.round(np.array(shares) / 100 * prices.size).astype(np.intp)
    return np.asarray(sums[np.clip(counts, 1, len(sums)) - 1])
