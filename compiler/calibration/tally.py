"""Statistics of rows that come in blocks."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt

from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Float32

SAMPLE = 1024
"""Rows kept for quantiles: the median of x is then the true one give or take 1.6 % of the rows."""
TOGETHER = 128
"""Rows that wait to be multiplied at once: of 5632 inputs a product of one row takes 0.1 s as of many, for it reads and
writes the whole matrix."""


class Tally:
    """Collects :class:`~regc.compiler.statistics.Statistics` of rows ``[.., inputs]``, block by block.

    The Gram matrix is summed in float32: over a thousand blocks that costs 2e-6 of ``sqrt(G_ii G_jj)``, nothing
    beside the noise of a sample, and half of the time and memory of float64. The sample is made of the rows with the
    smallest of random numbers that ``seed`` begins, so that each has an equal chance however many are to come.

    ``paired`` tells that each block comes with what was in its place before anything was compressed.
    """

    def __init__(self, inputs: int, needs: AbstractSet[Need], seed: int = 0, *, paired: bool = False) -> None:
        self.count = self.runs = 0
        self._sum = np.zeros(inputs)
        self._squares = np.zeros(inputs)
        self._before: npt.NDArray[np.float64] | None = np.zeros(inputs) if paired else None
        self._peak = np.zeros(inputs)
        self._gram = np.zeros((inputs, inputs), np.float32) if "gram" in needs else None
        self._cross = np.zeros_like(self._gram) if paired and self._gram is not None else None
        self._waiting: list[Float32] = []
        self._waiting_before: list[Float32] = []
        self._sample = np.empty((0, inputs), np.float32) if "quantiles" in needs else None
        self._keys = np.empty(0)
        self._rng = np.random.default_rng(seed)

    def add(self, rows: Float32, before: Float32 | None = None) -> None:
        """Count rows ``[n, inputs]`` in. Without as many rows ``before``, those of a pair no longer belong together."""
        if not len(rows):
            return
        if self._before is not None:
            self._pair(rows, before)
        self.count += len(rows)
        self.runs += 1
        with np.errstate(invalid="ignore", over="ignore"):  # rows that are not finite show in the result
            self._add(rows)
        if self._sample is not None:
            self._keep(rows, self._sample)

    def _pair(self, rows: Float32, before: Float32 | None) -> None:
        if before is None or before.shape != rows.shape:
            self._before = self._cross = None
            self._waiting_before.clear()
            return
        with np.errstate(invalid="ignore", over="ignore"):
            self._before += before.sum(axis=0, dtype=np.float64)
        if self._cross is not None:
            self._waiting_before.append(before.copy())

    def _add(self, rows: Float32) -> None:
        self._sum += rows.sum(axis=0, dtype=np.float64)
        self._peak = np.maximum(self._peak, np.maximum(rows.max(axis=0), -rows.min(axis=0)))
        if self._gram is None:
            self._squares += np.einsum("nk,nk->k", rows, rows, dtype=np.float64)
            return
        self._waiting.append(rows.copy())
        if sum(map(len, self._waiting)) >= TOGETHER:
            self._multiply()

    def _multiply(self) -> None:
        """Put what waits into the matrices."""
        if self._gram is None or not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        with np.errstate(invalid="ignore", over="ignore"):
            self._gram += rows.T @ rows  # NumPy sees that it is symmetric and computes a half
            if self._cross is not None:
                self._cross += np.concatenate(self._waiting_before).T @ rows
        self._waiting.clear()
        self._waiting_before.clear()

    def _keep(self, rows: Float32, sample: Float32) -> None:
        keys = self._rng.random(len(rows))
        limit = self._keys.max() if len(self._keys) == SAMPLE else np.inf
        wanted = keys < limit
        sample, keys = np.concatenate([sample, rows[wanted]]), np.concatenate([self._keys, keys[wanted]])
        if len(keys) > SAMPLE:
            kept = np.argpartition(keys, SAMPLE)[:SAMPLE]
            sample, keys = sample[kept], keys[kept]
        self._sample, self._keys = sample, keys

    def result(self) -> Statistics:
        """The statistics of all rows so far. Uses the tally up.

        Raises:
            ValueError: there were no rows.
        """
        if not self.count:
            raise ValueError("no rows")
        self._multiply()
        squares: npt.NDArray[np.float64] = self._squares
        if self._gram is not None:
            squares = np.diagonal(self._gram).astype(np.float64)
            self._gram /= np.float32(self.count)
        if self._cross is not None:
            self._cross /= np.float32(self.count)
        before = None if self._before is None else self._before / self.count
        return Statistics(
            count=self.count,
            mean=self._sum / self.count,
            peak=self._peak,
            second_moment=squares / self.count,
            gram=self._gram,
            sample=self._sample,
            cross=self._cross,
            runs=self.runs,
            mean_before=before if before is not None and np.isfinite(before).all() else None,
        )
