"""Which blocks of a weight go, and what the kept ones become, for the least error of the output.

The error that ``W'`` leaves is ``trace((W' - W) G (W' - W)^T)`` for the Gram matrix G of the inputs. The outputs of a
tile keep the same inputs, so a tile is a least-squares problem of its own. Taking the inputs of a block b away and
letting all others make up for it costs ``sum_n w_nb [H^-1_bb]^-1 w_nb^T`` with ``H = G`` restricted to what is still
there (optimal brain surgeon, for a group). :func:`eliminate` takes the cheapest blocks of every tile away, a few at a
time, down to a floor; the most expensive step so far is a block's price, so that one price for all tiles says how many
each of them keeps. :func:`refit` then solves for the kept weights exactly.

Relative error of the output at half of the blocks of 16 x 1 (five layers of a sentence encoder): magnitude times input
second moment and refit 0.209 / 0.137 / 0.122 / 0.018 / 0.021, elimination 0.180 / 0.122 / 0.108 / 0.017 / 0.020.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from regc.runtime_ops.formats.block_sparse import TILE

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

DAMPING = 0.01
"""Added to the diagonal of a Gram matrix, relative to its mean: inputs beyond those that were seen."""
STEPS = 8
"""In how many steps half of the blocks of a tile go: three times as many lower the error by a hundredth at most."""
MOST_INPUTS = 2048
"""Inputs up to which it takes seconds: 384 x 1536 takes 10, and time grows with their cube times the outputs."""


def damped(gram: Float32) -> Float64:
    """The Gram matrix float64 ``[K, K]`` with :data:`DAMPING` on its diagonal; the identity for one of zeros."""
    wide = gram.astype(np.float64)
    mean = float(np.diagonal(wide).mean())
    return wide + (DAMPING * mean if mean > 0 else 1.0) * np.eye(len(wide))


def energies(weight: Float32 | Float64, moments: Float64 | None, block: int, tile: int = TILE) -> Float64:
    """The price of each block without a Gram matrix: its squares times the second moments of its inputs.

    float64 ``[tiles, columns]`` for a weight ``[N, K]``, moments float64 ``[K]`` and blocks of ``tile`` outputs by
    ``block`` inputs.
    """
    squares = np.square(weight, dtype=np.float64) * (1.0 if moments is None else moments)
    rows, columns = -weight.shape[0] % tile, -weight.shape[1] % block
    padded = np.pad(squares, ((0, rows), (0, columns)))
    return np.asarray(padded.reshape(len(padded) // tile, tile, -1, block).sum((1, 3)), np.float64)


def blocks_of(weight: Float32, block: int, tile: int = TILE) -> Bool:
    """Which blocks of a weight ``[N, K]`` are not all zero, bool ``[tiles, columns]``."""
    padded = np.pad(weight != 0, ((0, -weight.shape[0] % tile), (0, -weight.shape[1] % block)))
    return np.asarray(padded.reshape(len(padded) // tile, tile, -1, block).any((1, 3)), np.bool_)


def eliminate(weight: Float32, gram: Float64, block: int, floor: float) -> Float64:
    """The price of each block, float64 ``[tiles, columns]``; infinite for the share ``floor`` that is never priced."""
    padding = -weight.shape[1] % block  # inputs of no weight, that have nothing to do with the others
    inverse = np.linalg.inv(gram)
    inverse = np.pad(inverse, (0, padding)) + np.diag(np.pad(np.zeros(len(gram)), (0, padding), constant_values=1.0))
    wide = np.pad(weight.astype(np.float64), ((0, 0), (0, padding)))
    prices = np.full((-(-len(weight) // TILE), wide.shape[1] // block), np.inf)
    for tile, price in enumerate(prices):
        _eliminate_tile(wide[tile * TILE : (tile + 1) * TILE], np.asarray(inverse, np.float64), block, floor, price)
    return prices


def refit(weight: Float32, keep: Bool, gram: Float64, block: int, tile: int = TILE) -> Float32:
    """The weight ``[N, K]`` of least output error that is zero outside of the blocks that ``keep`` marks."""
    found = np.zeros(weight.shape, np.float32)
    target = weight.astype(np.float64) @ gram
    for number, kept in enumerate(keep):
        rows = slice(number * tile, (number + 1) * tile)
        inputs = np.flatnonzero(np.repeat(kept, block)[: weight.shape[1]])
        if inputs.size:
            found[rows, inputs] = np.linalg.solve(gram[np.ix_(inputs, inputs)], target[rows, inputs].T).T
    return found


def _eliminate_tile(rows: Float64, inverse: Float64, block: int, floor: float, price: Float64) -> None:
    """Fill in the prices of one tile's blocks, in place."""
    alive, step, reached = np.arange(len(price)), max(1, len(price) // (2 * STEPS)), 0.0
    least = max(1, int(len(price) * floor))
    while alive.size > least:
        costs = _costs(rows, inverse, block)
        going = np.argsort(costs)[: min(step, alive.size - least)]
        rising = np.maximum.accumulate(np.maximum(costs[going], reached))
        price[alive[going]], reached = rising, float(rising[-1])
        gone = np.zeros(alive.size, np.bool_)
        gone[going] = True
        rows, inverse = _without(rows, inverse, np.repeat(gone, block))
        alive = alive[~gone]


def _costs(rows: Float64, inverse: Float64, block: int) -> Float64:
    """What taking each block away costs, float64 ``[blocks]``."""
    if block == 1:
        return np.asarray(np.square(rows).sum(0) / np.diagonal(inverse))
    at = np.arange(rows.shape[1]).reshape(-1, block)
    own = inverse[at[:, :, None], at[:, None, :]]
    parts = rows[:, at].transpose(1, 2, 0)
    return np.asarray((parts * np.linalg.solve(own, parts)).sum((1, 2)))


def _without(rows: Float64, inverse: Float64, gone: Bool) -> tuple[Float64, Float64]:
    """Rows that make up for the inputs that are gone, and the inverse of the Gram matrix of those that stay."""
    stay = ~gone
    off, onto = inverse[gone], inverse[stay]
    share = np.linalg.solve(off[:, gone], off[:, stay])
    return rows[:, stay] - rows[:, gone] @ share, onto[:, stay] - onto[:, gone] @ share
