"""Factors as terms."""

from __future__ import annotations

import numpy as np

from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Float32, Product, Separable, Sum, Term, relative_error
from regc.passes.low_rank.residual import Residual, Seen, with_residual
from regc.passes.low_rank.spatial import Spatial


def split_along(spatial: Spatial, weight: Dense, rank: int, gram: Float32 | None, *, exact: bool = False) -> Separable:
    """A kernel ``[N, K]`` by factors of this rank along its axes, for inputs whose Gram matrix is float32 ``[K, K]``.

    ``exact`` tells that nothing is lost, unless by a type narrower than float32.

    Raises:
        ValueError: the weight has NaN or infinity, or the rank is out of range (:meth:`Spatial.factors`).
    """
    first, second = (stored(factor, weight) for factor in spatial.factors(weight.values, rank, gram))
    return Separable(first, second, spatial.kernel, exact=exact and weight.dtype == np.float32)


def lost(term: Term, weight: Dense, inputs: Statistics | None) -> float:
    """The relative error of a term in place of a weight: of the outputs where inputs are known, else of the weight."""
    found = None if inputs is None else inputs.output_error(term, weight.values)
    return relative_error(term, weight.values) if found is None else found


def stored(values: Float32, like: Dense) -> Dense:
    """A factor in the type of the weight it came from, with the values that this type holds."""
    if like.dtype.itemsize < values.itemsize:
        values = values.astype(like.dtype).astype(np.float32)
    return Dense(values, like.dtype)


def beside(term: Product, weight: Dense, inputs: Statistics | None, residual: Residual) -> Product | Sum:
    """Two factors, or a lower rank and what it misses in no more bytes, where that leaves less error."""
    seen = Seen(weight.values, weight.dtype.itemsize, None if inputs is None else inputs.gram)
    found = with_residual(seen, term.rank, residual)
    if found is None:
        return term
    return Sum(
        Product(stored(found.first, weight), stored(found.second, weight), rounds=residual.rounds), found.residual
    )
