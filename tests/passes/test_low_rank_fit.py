"""Factors of least error: arrays in, arrays out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.passes.low_rank import fit

from .fitting import gaussian

SHAPES = [(40, 90), (90, 40), (64, 64), (12, 3000)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_the_error_is_the_tail_of_the_singular_values(shape: tuple[int, int], rank: int) -> None:
    weight = gaussian(*shape)
    values = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
    first, second = fit.truncate(weight, rank=rank)
    error = np.linalg.norm(weight - first.astype(np.float64) @ second)
    assert (first.shape, second.shape) == ((shape[0], rank), (rank, shape[1]))
    assert error == pytest.approx(np.sqrt((values[rank:] ** 2).sum()), rel=1e-6, abs=1e-5 * values[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_factors_are_balanced(shape: tuple[int, int]) -> None:
    weight = gaussian(*shape)
    values = np.linalg.svd(weight.astype(np.float64), compute_uv=False)[:7]
    first, second = fit.truncate(weight, rank=7)
    np.testing.assert_allclose(first.T @ first, np.diag(values), atol=1e-5 * values[0])
    np.testing.assert_allclose(second @ second.T, np.diag(values), atol=1e-5 * values[0])


@pytest.mark.parametrize("shape", SHAPES[:3])
@pytest.mark.parametrize("rank", [1, 12])
def test_with_a_gram_matrix_the_outputs_have_the_least_error(shape: tuple[int, int], rank: int) -> None:
    weight, rows = gaussian(*shape), gaussian(500, shape[1], seed=1) @ np.diag(np.logspace(0, -2, shape[1]))
    first, second = fit.truncate(weight, rank=rank, gram=(rows.T @ rows / 500).astype(np.float32))
    outputs = rows @ weight.T.astype(np.float64)
    least = np.sqrt((np.linalg.svd(outputs, compute_uv=False)[rank:] ** 2).sum())
    plain_first, plain_second = fit.truncate(weight, rank=rank)
    lost, plain = (
        np.linalg.norm(outputs - rows @ (a @ b).T) for a, b in ((first, second), (plain_first, plain_second))
    )
    assert least <= lost < 1.01 * least
    assert lost < 0.97 * plain
    np.testing.assert_allclose(np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1), rtol=1e-5)


def test_inputs_that_never_come_are_no_obstacle() -> None:
    gram = np.zeros((30, 30), np.float32)
    gram[:3, :3] = np.eye(3)
    first, second = fit.truncate(gaussian(20, 30), rank=5, gram=gram)
    np.testing.assert_allclose((first @ second)[:, :3], gaussian(20, 30)[:, :3], atol=0.02)
    first, second = fit.truncate(gaussian(40, 30), rank=5, gram=np.zeros_like(gram))
    assert np.isfinite(first).all() and np.isfinite(second).all()


def test_small_singular_values_are_as_good_as_in_a_float32_svd() -> None:
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((60, 60)))[0] for _ in range(2))
    weight = (left * np.logspace(0, -6, 60) @ right).astype(np.float32)
    first, second = fit.truncate(weight, rank=50)
    u, s, v = np.linalg.svd(weight)
    lapack = np.linalg.norm(weight - (u[:, :50].astype(np.float64) * s[:50]) @ v[:50])
    assert np.linalg.norm(weight - first.astype(np.float64) @ second) < 1.1 * lapack


@pytest.mark.parametrize("shape", SHAPES)
def test_a_weight_of_low_rank_is_kept(shape: tuple[int, int]) -> None:
    weight = gaussian(shape[0], 4) @ gaussian(4, shape[1], seed=1)
    first, second = fit.truncate(weight, rank=8)
    np.testing.assert_allclose(first @ second, weight, atol=1e-5)
    first, second = fit.truncate(weight, energy=0.999999)
    assert first.shape[1] == 4


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1e-42, 1e-30, 1.0, 1e18, 1e37]), st.data())
@settings(max_examples=50, deadline=None)
def test_any_shape_and_size(rows: int, columns: int, size: float, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(rows, columns)))
    weight = gaussian(rows, columns) * np.float32(size)
    first, second = fit.truncate(weight, rank=rank)
    assert np.isfinite(first).all() and np.isfinite(second).all()
    product = first.astype(np.float64) @ second
    norm = np.linalg.norm(weight.astype(np.float64))
    assert np.linalg.norm(weight - product) <= norm * (1 + 1e-6)
    if rank == min(rows, columns):
        assert np.linalg.norm(weight - product) <= 1e-5 * norm


def test_a_weight_of_zeros() -> None:
    first, second = fit.truncate(np.zeros((20, 30), np.float32), rank=3)
    assert not first.any() and not second.any()
    assert fit.truncate(np.zeros((20, 30), np.float32), energy=0.9)[0].shape == (20, 1)


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.64, 1), (0.65, 2), (0.99, 2), (1.0, 2)])
def test_rank_for_energy(energy: float, rank: int) -> None:
    assert fit.rank_for_energy(np.array([64.0, 36.0, 0.0]), energy) == rank


@pytest.mark.parametrize(
    ("shape", "ratio", "rank"),
    [((768, 768), 2, 192), ((768, 3072), 2, 307), ((768, 3072), 3, 204), ((3, 3), 2, 0)],
)
def test_rank_for_ratio_is_pelas(shape: tuple[int, int], ratio: float, rank: int) -> None:
    assert fit.rank_for_ratio(shape, ratio) == rank == int(shape[0] * shape[1] // (ratio * sum(shape)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_an_error(bad: float) -> None:
    weight = gaussian(16, 16)
    weight[3, 5] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit.truncate(weight, rank=2)


@pytest.mark.parametrize("rank", [0, 17])
def test_ranks_out_of_range_are_an_error(rank: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 16"):
        fit.truncate(gaussian(16, 20), rank=rank)


# --- low rank to within rounding ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES[:3])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_weight_of_low_rank_is_found(shape: tuple[int, int], weighted: bool) -> None:
    weight = gaussian(shape[0], 7) @ gaussian(7, shape[1], seed=1)
    rows = gaussian(200, shape[1], seed=2) @ np.diag(np.logspace(0, -3, shape[1]))
    gram = (rows.T @ rows / 200).astype(np.float32) if weighted else None
    assert fit.exact_rank(weight, fit.spectrum(weight, gram)) == 7
    noisy = weight + 1e-4 * gaussian(*shape, seed=3)
    assert fit.exact_rank(noisy, fit.spectrum(noisy, gram)) is None


def test_a_rank_that_does_not_pay_is_not_exact() -> None:
    weight = gaussian(32, 20) @ gaussian(20, 32, seed=1)
    assert fit.exact_rank(weight, fit.spectrum(weight)) is None


@pytest.mark.parametrize("inputs", [3, 10])
def test_inputs_of_low_rank_do_not_make_a_weight_so(inputs: int) -> None:
    weight, rows = gaussian(64, 64), gaussian(500, inputs, seed=1) @ gaussian(inputs, 64, seed=2)
    assert fit.exact_rank(weight, fit.spectrum(weight, (rows.T @ rows / 500).astype(np.float32))) is None
