"""The group-sparse envelope against its definition: as a minimum, as a minimizer, and at its level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.passes.group_sparse.envelope import Float64, largest, level, prox_factors, value


def groups(seed: int) -> tuple[Float64, Float64, int]:
    """Norms of very different sizes, some equal, some zero; weights; and a level below their number."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 30))
    norms = np.abs(rng.standard_normal(count)) * rng.choice([1e-3, 1, 1, 1e3], count)
    norms = np.round(norms) if rng.random() < 0.3 else norms
    norms[rng.random(count) < 0.1] = 0
    return norms, rng.choice([0.1, 1.0, 3.0], count), int(rng.integers(1, count))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 2.0]))
def test_level(seed: int, shrink: float) -> None:
    norms, weights, k = groups(seed)
    slopes = np.sqrt(weights) * norms
    if np.count_nonzero(slopes) > k:
        shares = np.clip(slopes * level(slopes, shrink * weights, k) - shrink * weights, 0, 1)
        assert shares.sum() == pytest.approx(k, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_value_is_a_minimum_over_shares(seed: int) -> None:
    norms, weights, k = groups(seed)
    found = value(norms, weights, k)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        shares = rng.random(norms.size)
        shares *= k / shares.sum()
        if shares.max() <= 1:
            assert found <= 0.5 * (weights * norms**2 / shares).sum() * (1 + 1e-9)
    assert found >= 0.5 * (weights * norms**2).sum() * (1 - 1e-9)


def test_at_most_k_groups_cost_their_squares() -> None:
    norms, weights = np.array([3.0, 0, 2.0, 0]), np.array([1.0, 1, 0.5, 1])
    assert value(norms, weights, 2) == pytest.approx(0.5 * (9 + 0.5 * 4))
    assert value(norms, weights, 1) > value(norms, weights, 2)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.3, 5.0]))
def test_the_proximal_point_is_the_minimizer(seed: int, step: float) -> None:
    norms, weights, k = groups(seed)
    found = prox_factors(norms, weights, k, step) * norms

    def cost(point: Float64) -> float:
        return float(0.5 * np.square(point - norms).sum() + step * value(np.abs(point), weights, k))

    rng, least = np.random.default_rng(seed), cost(found)
    for size in (1e-4, 1e-2, 0.3):
        for _ in range(5):
            assert cost(found + rng.standard_normal(norms.size) * size * norms) >= least * (1 - 1e-9)


def test_long_proximal_steps_keep_the_k_largest() -> None:
    norms = np.abs(np.random.default_rng(0).standard_normal(50))
    counts = [np.count_nonzero(prox_factors(norms, np.ones(50), 12, step)) for step in (0.1, 1.0, 10.0, 1e4)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 12
    assert set(np.flatnonzero(prox_factors(norms, np.ones(50), 12, 1e4))) == set(np.argsort(-norms)[:12])


@pytest.mark.parametrize(("k", "kept"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 0]), (9, [0, 1, 2, 3])])
def test_largest_keeps_the_first_of_equals(k: int, kept: list[int]) -> None:
    assert set(np.flatnonzero(largest(np.array([1.0, 3.0, 3.0, 1.0]), k))) == set(kept)
