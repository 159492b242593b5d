"""PST's scores: importance of weights, and what their rows, columns and a low rank add."""

from __future__ import annotations

import numpy as np
import pytest

from regc.passes.group_sparse.scores import RANK, scores
from tests.support import normal


@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_what_rows_columns_and_a_low_rank_explain_counts_twice(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    lines = rng.random((shape[0], 1)) + rng.random((1, shape[1]))
    weight = lines + rng.random((shape[0], 3)) @ rng.random((3, shape[1]))
    signs = np.sign(normal(*shape))
    np.testing.assert_allclose(scores((weight * signs).astype(np.float32), None), 2 * weight, rtol=1e-5)


def test_the_shared_part_is_the_closest_of_its_kind() -> None:
    weight = normal(40, 50)
    own = np.abs(weight.astype(np.float64))
    lines = own.mean(1, keepdims=True) + own.mean(0, keepdims=True) - own.mean()
    left, values, right = np.linalg.svd(own - lines)
    closest = lines + (left[:, :RANK] * values[:RANK]) @ right[:RANK]
    np.testing.assert_allclose(scores(weight, None) - own, np.maximum(closest, 0), atol=1e-9)


def test_a_weight_among_important_ones_outscores_its_equal_elsewhere() -> None:
    weight = 0.1 * normal(60, 60)
    weight[3] *= 20
    weight[3, 5] = weight[11, 5] = 0.3
    found = scores(weight, None)
    assert found[3, 5] > found[11, 5] > found[11, 6]


def test_inputs_count_by_their_root_mean_square() -> None:
    weight, moments = normal(8, 10), np.arange(1.0, 11.0)
    np.testing.assert_allclose(
        scores(weight, moments), scores((weight * np.sqrt(moments)).astype(np.float32), None), 1e-5
    )
