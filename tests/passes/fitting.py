"""Weights and inputs to fit on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from regc.compiler.statistics import Statistics

Float32 = npt.NDArray[np.float32]


def gaussian(*shape: int, seed: int = 0) -> Float32:
    """Values of a standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def inputs(columns: int, rows: int = 600, seed: int = 0) -> Statistics:
    """What is known of correlated inputs, some of which carry far more than others."""
    mix = np.random.default_rng(9).standard_normal((columns, columns))
    mixed = np.random.default_rng(seed).standard_normal((rows, columns)) @ mix
    return Statistics.of(mixed / np.sqrt(columns) * np.geomspace(1, 8, columns) + 0.5)


def gram_of(statistics: Statistics) -> Float32:
    """Their Gram matrix."""
    assert statistics.gram is not None
    return statistics.gram
