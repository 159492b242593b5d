"""Block-sparse weights in training: the kept values move and the others stay zero, or which are kept moves, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from regc.compiler.recovery.trainable import DenseWeights, Trainable
from regc.compiler.terms import Dense, Float32
from regc.passes.group_sparse.eliminate import Float64, energies
from regc.passes.group_sparse.envelope import largest, prox_factors
from regc.passes.group_sparse.term import Kept
from regc.passes.rf8.term import RF8Term

STRENGTH = 0.3
"""Of the envelope, in units of the rate at which weights move."""
FALLING = 0.7
"""Share of the training after which as many blocks are left as ``term`` keeps."""
REMEMBERED = 0.9
"""Share of the second moments that stays after each batch."""


class SparseWeights(Trainable):
    """``values`` in training, of which only the blocks, or single weights, count that ``term`` keeps.

    Loosened, training begins at ``origin``, the whole weight: after each step all blocks are multiplied by the factors
    of the proximal operator of WGSEF's envelope, whose level k falls on PST's cubic schedule from all of them to as
    many as ``term`` keeps. The k largest then stay, and train on. Blocks count by their squares times the second
    moments of their inputs, as those flow by.

    In the few hundred steps of a recovery this has not paid yet: of a small residual network, 100 steps, fixed blocks
    end at a loss of 0.12 and moving ones at 0.61 (0.84 without the second moments). Those of MiniLM end at 0.31, and
    at 0.59 when the whole weight trains and its largest blocks are chosen anew every four steps, on that schedule.
    """

    def __init__(self, term: Kept, values: Trainable, origin: Float32) -> None:
        super().__init__()
        self.like, self.values, self.origin = term, values, origin
        self.keep, self.moving, self.fixed = term.keep, False, isinstance(values, DenseWeights)
        self.mask = self._spread(term.keep)
        self.moments: Float64 | None = None
        if isinstance(values, DenseWeights):
            with torch.no_grad():
                values.values.mul_(self.mask)
            values.values.register_post_accumulate_grad_hook(self._cut)

    def weight(self) -> Tensor:  # noqa: D102
        return self.values.weight() if self.fixed else self.values.weight() * self.mask

    def multiply(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.moving and torch.is_grad_enabled():
            seen = x.detach().reshape(-1, x.shape[-1]).square().mean(0).double().numpy()
            self.moments = seen if self.moments is None else REMEMBERED * self.moments + (1 - REMEMBERED) * seen
        return super().multiply(x)

    def term(self) -> Kept:  # noqa: D102
        values = self.values.term()
        if isinstance(values, Dense):
            return replace(self.like, keep=self.keep, values=Dense(values.values * self.mask.numpy(), values.dtype))
        assert isinstance(values, RF8Term)
        return replace(self.like, values=values)

    def loosen(self) -> bool:
        """Begin at the whole weight; coded values stay where they are."""
        if not isinstance(self.values, DenseWeights):
            return False
        with torch.no_grad():
            self.values.values.copy_(torch.from_numpy(self.origin))
        self.keep, self.moving, self.fixed = np.ones_like(self.like.keep), True, False
        self.mask = self._spread(self.keep)
        return True

    def stepped(self, done: float, rate: float) -> None:  # noqa: D102
        if not self.moving:
            return
        assert isinstance(self.values, DenseWeights)
        goal, left = self.like.kept, 1 - done / FALLING
        tile, block = self.like.sizes
        squares = energies(self.values.values.detach().double().numpy(), self.moments, block, tile)
        if left <= 0:
            self.keep, self.moving = largest(squares.reshape(-1), goal).reshape(squares.shape), False
            self.mask = self._spread(self.keep)
            return
        norms = np.sqrt(squares.reshape(-1))
        level = goal + (norms.size - goal) * left**3
        factors = prox_factors(norms, np.ones(norms.size), level, STRENGTH * rate)
        with torch.no_grad():
            self.values.values.mul_(self._spread(factors.reshape(squares.shape)))

    def settled(self, done: float) -> bool:  # noqa: D102
        return not self.moving

    def _cut(self, values: Tensor) -> None:
        """Zeros that get no gradient stay zeros, which costs less than to multiply them by zero in every batch."""
        if self.fixed and values.grad is not None:
            values.grad.mul_(self.mask)

    def _spread(self, factors: npt.NDArray[np.generic]) -> Tensor:
        """Factors of blocks for every value, float32 ``[N, K]``."""
        tile, block = self.like.sizes
        wide = np.repeat(np.repeat(factors, tile, axis=0), block, axis=1)
        return torch.from_numpy(np.ascontiguousarray(wide[: self.like.shape[0], : self.like.shape[1]], np.float32))
