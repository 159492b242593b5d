"""What flows into a weight: moments, Gram matrix and a sample of the rows that it is multiplied with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from regc.compiler.filters import Filtered
from regc.compiler.terms import Float32, Product, Separable, Sum, Term

Float64 = npt.NDArray[np.float64]

Need = Literal["moments", "gram", "quantiles"]
"""What a pass may ask for: ``moments`` are all the vectors, ``quantiles`` the sample of rows."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the rows x ``[K]`` that a weight ``[N, K]`` is multiplied with, ``y = W x``.

    ``count`` is the number of rows, ``runs`` in how many products they came, None where that is not known. ``mean``,
    ``peak`` (the largest ``|x|``) and ``second_moment`` (the mean of ``x ** 2``) are float64 ``[K]``, ``gram`` (the
    mean of ``x x^T``, not centred) is float32 ``[K, K]`` and ``sample`` float32 ``[S, K]``, some of the rows, each
    drawn with equal chance. What no pass has asked for is None.

    When the rows come out of compressed layers, ``cross`` float32 ``[K, K]`` is the mean of ``x' x^T`` and
    ``mean_before`` float64 ``[K]`` that of x', x' being what came in place of x before anything was compressed; None
    when they are the same, or that is not known.
    """

    count: int
    mean: Float64
    peak: Float64
    second_moment: Float64
    gram: Float32 | None = None
    sample: Float32 | None = None
    cross: Float32 | None = None
    runs: int | None = None
    mean_before: Float64 | None = None

    @property
    def rows(self) -> float | None:
        """How many rows a product has, on average."""
        return self.count / self.runs if self.runs else None

    def product_rows(self, known: int | None) -> int | None:
        """The rows of a product as the model has ``known`` them, or as calibration inputs have had them on average."""
        return math.ceil(self.rows) if known is None and self.rows is not None else known

    @classmethod
    def of(cls, rows: npt.NDArray[np.generic], *, gram: bool = True, sample: bool = False) -> Statistics:
        """The statistics of rows ``[count, K]`` that are all in memory."""
        x = np.asarray(rows, np.float64)
        return cls(
            count=len(x),
            mean=x.mean(axis=0),
            peak=np.abs(x).max(axis=0),
            second_moment=np.square(x).mean(axis=0),
            gram=(x.T @ x / len(x)).astype(np.float32) if gram else None,
            sample=x.astype(np.float32) if sample else None,
        )

    def quantiles(self, shares: npt.ArrayLike) -> Float64:
        """Quantiles of x, input by input: float64 ``[len(shares), K]`` for shares between 0 and 1.

        From a sample of S rows the share that is really below is off by ``sqrt(share (1 - share) / S)``, one sigma.

        Raises:
            ValueError: there is no sample; a pass must ask for ``quantiles``.
        """
        if self.sample is None:
            raise ValueError("no sample of the rows was kept; a pass must need quantiles")
        return np.asarray(np.quantile(self.sample, np.atleast_1d(shares), axis=0), np.float64)

    def through(self, factor: Float32) -> Statistics:
        """The statistics of ``B x`` for a factor B ``[r, K]``: what the first factor of a product ``A B`` sees.

        Count, mean, Gram matrix, ``cross`` and sample are exact. So is the second moment when there is a Gram matrix;
        without one the inputs count as uncorrelated. The peak is an upper bound.
        """
        wide = factor.astype(np.float64)
        mean = wide @ self.mean
        gram = None if self.gram is None else (factor @ self.gram @ factor.T).astype(np.float32)
        if gram is not None:
            second_moment = np.maximum(np.diagonal(gram).astype(np.float64), 0)
        else:
            second_moment = np.square(mean) + np.square(wide) @ (self.second_moment - np.square(self.mean)).clip(0)
        sample = None if self.sample is None else self.sample @ factor.T
        cross = None if self.cross is None else (factor @ self.cross @ factor.T).astype(np.float32)
        peak = np.abs(wide) @ self.peak
        before = None if self.mean_before is None else wide @ self.mean_before
        return Statistics(self.count, mean, peak, second_moment, gram, sample, cross, self.runs, before)

    def of_inputs(self, inputs: slice | npt.NDArray[np.intp]) -> Statistics:
        """The statistics of some of the inputs, in the order that they have."""
        if isinstance(inputs, slice) and inputs == slice(0, len(self.mean)):
            return self
        squares = [None if square is None else square[inputs][:, inputs] for square in (self.gram, self.cross)]
        return replace(
            self,
            mean=self.mean[inputs],
            peak=self.peak[inputs],
            second_moment=self.second_moment[inputs],
            gram=squares[0],
            sample=None if self.sample is None else self.sample[:, inputs],
            cross=squares[1],
            mean_before=None if self.mean_before is None else self.mean_before[inputs],
        )

    def lost_mean(self, matrix: Float32, original: Float32) -> Float32:
        """By how much the outputs of a matrix in place of the original are too small on average, float32 ``[N]``.

        Those of the original are those before anything was compressed, so that what earlier layers lose of the mean
        counts, too.
        """
        before = self.mean if self.mean_before is None else self.mean_before
        return (original @ before - matrix @ self.mean).astype(np.float32)

    def output_error(self, term: Term, original: Float32, offset: Float32 | None = None) -> float | None:
        """``||X W'^T + offset - X W^T|| / ||X W^T||`` over all rows X, None without a Gram matrix.

        Of a term that is not linear it is over the sample of the rows, None without one. 0 for outputs of zero that
        stay so, infinite for those that do not.
        """
        if term.linear and self.gram is not None:
            missed = term.dense() - original
            lost, whole = energy(missed, self.gram), energy(original, self.gram)
            if offset is not None:
                added = offset.astype(np.float64)
                lost = max(0.0, lost + float(added @ (2 * (missed @ self.mean) + added)))
        elif not term.linear and self.sample is not None:
            wanted = self.sample @ original.T
            lost, whole = _squares(term.multiply(self.sample) - wanted), _squares(wanted)
        else:
            return None
        if not whole:
            return float("inf") if lost else 0.0
        return float(np.sqrt(lost / whole))


def inputs_at(term: Term, path: str, inputs: Statistics | None) -> Statistics | None:
    """What flows into the leaf of a term at a path such as ``A`` or ``B.A``, when ``inputs`` flow into the term.

    The second factor of a product sees what the product sees, the first what comes out of the second; both parts of a
    sum see the same. None for the parts of a separable kernel: rows of the whole kernel are not rows of theirs. A
    filter was fitted with what came before anything was compressed in view: what it holds sees nothing of that.
    """
    term, inputs = _inside(term, inputs)
    for step in path.split(".") if path else ():
        if isinstance(term, Separable):
            return None
        if not isinstance(term, Product | Sum):
            raise KeyError(path)
        if isinstance(term, Product) and step == "A" and inputs is not None:
            inputs = inputs.through(term.second.dense())
        term, inputs = _inside(term.first if step == "A" else term.second, inputs)
    return inputs


def _inside(term: Term, inputs: Statistics | None) -> tuple[Term, Statistics | None]:
    while isinstance(term, Filtered):
        inputs = None if inputs is None else replace(inputs, cross=None, mean_before=None)
        term = term.inner
    return term, inputs


def _squares(outputs: Float32) -> float:
    return float(np.square(outputs, dtype=np.float64).sum())


def energy(weight: Float32, gram: Float32) -> float:
    """The mean of ``|W x|^2``: the trace of ``W G W^T``. Worked out for a largest weight of 1, lest it overflows."""
    peak = float(np.abs(weight).max(initial=0))
    if not peak:
        return 0.0
    scaled = weight / np.float32(peak)
    return max(0.0, float(np.einsum("nk,nk->", scaled @ gram, scaled, dtype=np.float64))) * peak**2
