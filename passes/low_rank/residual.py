"""What two factors miss of a weight, kept beside them: ``Sum(low rank, blocks or ternary)`` in as many bytes as a rank.

Factors and residual are fitted in turn: the factors, by least squares, to what the residual leaves of the weight, then
the residual to what they miss. (The truncated SVD of one weight is the least squares solution for both of its factors
at once, whatever Gram matrix or weights of outputs there are: to alternate between these two gains nothing.)

- ``ternary``: error feedback on the Gram matrix, a scale for each output. At two bits a value that is 6 % of the bytes.
- ``blocks``: groups of 16 outputs by one input in 1/4, 1/2 or 3/4 of the bytes of the rank, refit exactly. Two choices
  are tried: LIFT's principal weights (the largest in the approximation of low rank), and what the factors miss most;
  both by the energy of the inputs.

Errors of the outputs of two weights of a sentence encoder on inputs that were not seen, at two thirds of the bytes:
attention, 384x384, rank 128 alone 0.148, rank 115 and trits in 1, 3 and 6 rounds 0.081, 0.069 and 0.066, with blocks
more than alone; down projection, 384x1536, mean over its outputs, rank 204 alone 0.217, trits 0.104, 0.094 and 0.091,
blocks 0.194, 0.189 and 0.186. Of blocks LIFT's choice was mostly the worse one: 0.128 against 0.124 in the former.

All of MiniLM, score of sentence pairs, cosine to the original, size and time for 1x32 tokens (one thread, the original
8.8 ms): ratio 1.5 83.49, 0.861, 42.3 MB, 6.5 ms, with trits 84.70, 0.966, 41.4 MB, 7.3 ms; ratio 2 83.14, 0.760, 35.2
MB, 5.2 ms, with trits 84.24, 0.930, 34.3 MB, 6.1 ms. With ``auto`` every weight that is factored gets trits there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from regc.compiler.terms import Dense
from regc.passes.group_sparse import eliminate
from regc.passes.group_sparse.envelope import largest
from regc.passes.group_sparse.term import BlockSparse, packed_nbytes
from regc.passes.low_rank.fit import Float32, Float64, Spectrum, energy_floor, factors, spectrum
from regc.passes.low_rank.rounding import rounded
from regc.passes.low_rank.speed import beside_share
from regc.passes.ternary import fit as squares
from regc.passes.ternary import second_order
from regc.passes.ternary.term import TernaryTerm, nbytes
from regc.runtime_ops.formats.block_sparse import TILE

Kind = Literal["blocks", "ternary"]
KINDS: tuple[Kind, ...] = ("blocks", "ternary")
Pays = Callable[[int, float], bool]
"""Whether a rank pays beside a product that takes such a share of the time of that with the weight; if so, lower ones
do too."""

ROUNDS = 3
"""How often factors and residual are fitted in turn, by default."""
SHARES = (0.25, 0.5, 0.75)
"""Of the bytes of a rank, what blocks may take."""
GAIN = 0.95
"""Errors have to be below this share of that of the factors alone: a third product is not for nothing."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Values float32 ``[N, K]``, stored in ``itemsize`` bytes each, and the Gram matrix of their inputs, float32 ``[K,
    K]``, None where it is not known.
    """

    values: Float32
    itemsize: int
    gram: Float32 | None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs N and inputs K."""
        return self.values.shape[0], self.values.shape[1]

    def nbytes(self, rank: int) -> int:
        """Bytes of two factors."""
        return rank * sum(self.shape) * self.itemsize

    def factors(self, residual: Float32 | None, rank: int) -> tuple[Float32, Float32]:
        """The best two for what a residual leaves."""
        if residual is None:
            return factors(self.values, self._spectrum, rank)
        left = self.values - residual
        return factors(left, spectrum(left, self.gram), rank)

    def error(self, dense: Float32) -> float:
        """The squared error of every output relative to its energy, summed up."""
        return float(np.sum(self._energy(dense - self.values) / self._whole))

    @cached_property
    def _spectrum(self) -> Spectrum:
        return spectrum(self.values, self.gram)

    @cached_property
    def _whole(self) -> Float64:
        """What errors of outputs are relative to."""
        energy = self._energy(self.values)
        return energy + energy_floor(energy)

    def _energy(self, matrix: Float32) -> Float64:
        across = matrix if self.gram is None else matrix @ self.gram
        return np.asarray(np.einsum("nk,nk->n", across, matrix, dtype=np.float64).clip(0))


class Fitted(NamedTuple):
    """Factors A ``[N, r]`` and B ``[r, K]``, what is kept beside them, and the error that all together leave."""

    first: Float32
    second: Float32
    residual: BlockSparse | TernaryTerm
    error: float


class Residual(NamedTuple):
    """What is asked for: the best of some kinds, fitted in turn with the factors so many times, for products of so many
    ``rows`` (None: that is not known).
    """

    kinds: tuple[Kind, ...]
    rounds: int
    pays: Pays
    rows: int | None = None


def with_residual(seen: Seen, rank: int, asked: Residual) -> Fitted | None:
    """A lower rank and a residual that take no more bytes than ``rank`` alone, where they leave less error."""
    found = [fitted for kind in asked.kinds for fitted in _FITS[kind](seen, rank, asked)]
    best = min(found, key=lambda fitted: fitted.error, default=None)
    if best is None:
        return None
    first, second = seen.factors(None, rank)
    return best if best.error < GAIN**2 * seen.error(first @ second) else None


def in_turn(
    seen: Seen, rank: int, rounds: int, fit: Callable[[Float32, Float32 | None], BlockSparse | TernaryTerm]
) -> Fitted:
    """The best of what ``fit`` makes of what factors miss, and factors of what it leaves, so many times.

    ``fit`` is given what they miss and, the first time, their product.
    """
    best: Fitted | None = None
    product = np.matmul(*seen.factors(None, rank))
    for number in range(rounds):
        residual = fit(seen.values - product, None if number else product)
        dense = residual.dense()
        first, second = seen.factors(dense, rank)
        product = first @ second
        error = seen.error(product + dense)
        if best is None or error < best.error:
            best = Fitted(first, second, residual, error)
    assert best is not None
    return best


def _ternary(seen: Seen, rank: int, asked: Residual) -> Iterator[Fitted]:
    inputs = seen.shape[1]
    fitting = (seen.nbytes(rank) - nbytes(seen.shape, inputs)) // seen.nbytes(1)
    falling, time = range(fitting, 0, -1), beside_share("TernaryMatMul", asked.rows)
    place = bisect_left(falling, True, key=lambda lower: asked.pays(lower, time))  # each may have to be timed
    if place < len(falling):
        most = falling[place]
        lower = rounded(most, lambda near: near <= most)
        yield in_turn(seen, lower, asked.rounds, lambda missed, _: _trits(seen, missed))


def _trits(seen: Seen, missed: Float32) -> TernaryTerm:
    if seen.gram is None:
        return TernaryTerm(*squares.fit_rows(missed, "lloyd"), missed.shape[1], missed.shape[1])
    return TernaryTerm(*second_order.fit_rows(missed, seen.gram), missed.shape[1], missed.shape[1])


def _blocks(seen: Seen, rank: int, asked: Residual) -> Iterator[Fitted]:
    """By one round each the best share of the bytes and the best choice of blocks, then in all rounds."""
    gram = None if seen.gram is None else eliminate.damped(seen.gram)
    empty, block = (packed_nbytes(seen.shape, 1, blocks, 4) for blocks in (0, 1))
    tried: list[tuple[float, int, _Blocks]] = []
    for share in SHARES:
        lower = rounded(max(1, round((1 - share) * rank)), lambda near: 0 < near < rank)
        count = (seen.nbytes(rank) - seen.nbytes(lower) - empty) // (block - empty)
        time = beside_share("BlockSparseMatMul", asked.rows, count * TILE / seen.values.size)
        if count > 0 and asked.pays(lower, time):
            choices = (_Blocks(gram, count, lift) for lift in (True, False))
            tried += [(in_turn(seen, lower, 1, choice.of).error, lower, choice) for choice in choices]
    if tried:
        _, lower, choice = min(tried, key=lambda one: one[0])
        yield in_turn(seen, lower, asked.rounds, choice.of)


class _Blocks(NamedTuple):
    """So many blocks, refit with this Gram matrix; for ``lift`` chosen by LIFT the first time."""

    gram: Float64 | None
    blocks: int
    lift: bool

    def of(self, missed: Float32, product: Float32 | None) -> BlockSparse:
        """Those of what factors miss; their ``product`` is given the first time."""
        worth = None if self.gram is None else np.diagonal(self.gram)
        prices = eliminate.energies(product if self.lift and product is not None else missed, worth, 1)
        keep = largest(prices.reshape(-1), self.blocks).reshape(prices.shape)
        if self.gram is not None:
            return BlockSparse(Dense(eliminate.refit(missed, keep, self.gram, 1)), keep, 1)
        return BlockSparse(Dense(missed * np.repeat(keep, TILE, 0)[: len(missed)]), keep, 1)


_FITS = {"ternary": _ternary, "blocks": _blocks}
