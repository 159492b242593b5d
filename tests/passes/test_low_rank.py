from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler.errors import UsageError
from regc.compiler.passes import Preview, Refusal, SiteInfo
from regc.compiler.terms import Dense, Product, relative_error
from regc.passes import LowRank
from regc.passes.low_rank import fit

Float32 = npt.NDArray[np.float32]
MakeSite = Callable[..., SiteInfo]

SHAPES = [(40, 90), (90, 40), (64, 64), (12, 3000)]


def gaussian(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- fit ----------------------------------------------------------------------------------------------------


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


# --- the pass -----------------------------------------------------------------------------------------------


def factorize(pass_: LowRank, weight: Float32, site: SiteInfo) -> tuple[Product, Dense, Dense]:
    """The product that the pass finds, and its two factors."""
    term = pass_.fit(Dense(weight, site.dtype), site)
    assert isinstance(term, Product)
    assert isinstance(term.first, Dense) and isinstance(term.second, Dense)
    return term, term.first, term.second


@pytest.mark.parametrize("options", [{"rank": "pela"}, {"ratio": 3.0, "rank": "pela"}, {"rank": 7}])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_preview_and_fit_agree(site: MakeSite, options: dict[str, Any], dtype: Any) -> None:
    shape, pass_ = (64, 96), LowRank(**options)
    term, first, second = factorize(pass_, gaussian(*shape), site(shape, dtype))
    assert pass_.preview(shape, site(shape, dtype)) == Preview(term.label, term.nbytes)
    assert term.shape == shape
    assert first.dtype == second.dtype == np.dtype(dtype)
    assert term.work == term.rank * sum(shape) < 64 * 96


def test_pela_halves_the_weight(site: MakeSite) -> None:
    term, _, _ = factorize(LowRank(rank="pela"), gaussian(64, 96), site((64, 96)))
    assert term.rank == 19
    assert term.nbytes <= 64 * 96 * 4 / 2
    assert relative_error(term, gaussian(64, 96)) < 0.75


def test_factors_hold_what_their_type_holds(site: MakeSite) -> None:
    _, *factors = factorize(LowRank(), gaussian(64, 96), site((64, 96), np.float16))
    for factor in factors:
        np.testing.assert_array_equal(factor.values.astype(np.float16).astype(np.float32), factor.values)
        assert factor.values.dtype == np.float32


def test_energy_chooses_the_rank(site: MakeSite) -> None:
    weight = gaussian(64, 5) @ gaussian(5, 96, seed=1)
    pass_ = LowRank(energy=0.9999)
    assert pass_.preview((64, 96), site((64, 96))) == Preview("rank for 0.9999 of the energy", None)
    assert factorize(pass_, weight, site((64, 96)))[0].rank == 5


def test_energy_that_needs_too_high_a_rank_is_refused(site: MakeSite) -> None:
    answer = LowRank(energy=0.99).fit(Dense(gaussian(64, 64)), site((64, 64)))
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith("rank ") and "of 64x64 takes" in answer.reason


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((64, 64), {"rank": 32}, "rank 32 of 64x64 takes 4096 values, the weight 4096"),
        ((64, 64), {"ratio": 40.0, "rank": "pela"}, "64x64: too small, the rank would be 0"),
        ((9, 512), {}, "9 outputs, fewer than min_outputs=10 (PELA's rule)"),
        ((10, 10), {"rank": 4, "force": True}, "10x10: too small to gain"),
        ((512, 512), {"rank": 240}, "rank 240 of 512x512: two products take about 0.94 times as long as one"),
        ((0, 64), {}, "no values"),
        ((64, 0), {"energy": 0.5}, "no values"),
        ((0, 0), {"ratio": 3.0}, "no values"),
    ],
)
def test_refusals(site: MakeSite, shape: tuple[int, int], options: dict[str, Any], words: str) -> None:
    answer = LowRank(**options).preview(shape, site(shape))
    assert isinstance(answer, Refusal)
    assert words in answer.reason


def test_few_outputs_when_asked(site: MakeSite) -> None:
    assert isinstance(LowRank(min_outputs=1).preview((9, 512), site((9, 512))), Preview)


def test_a_node_that_cannot_be_split(site: MakeSite) -> None:
    shape = (64, 96)
    whole = site(shape, splittable=False)
    answer = LowRank().preview(shape, whole)
    assert isinstance(answer, Refusal)
    assert "multiplied back at load" in answer.reason and "stored=true" in answer.reason
    assert isinstance(LowRank(stored=True).preview(shape, whole), Preview)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 2.0, "rank": 4}, "low-rank: at most one of ratio, rank and energy, got ratio and rank"),
        ({"ratio": 1.0}, "low-rank: ratio must be above 1, got 1.0"),
        ({"ratio": float("nan")}, "got nan"),
        ({"ratio": float("inf")}, "got inf"),
        ({"rank": "some"}, "low-rank: rank must be auto or pela, got 'some'"),
        ({"rank": "pela", "energy": 0.5}, "rank=pela is for a ratio"),
        ({"rank": 0}, "low-rank: rank must be 1 or more, got 0"),
        ({"energy": 0.0}, "low-rank: energy must be between 0 and 1, got 0.0"),
        ({"energy": 1.0}, "got 1.0"),
        ({"min_outputs": -1}, "low-rank: min_outputs must be 0 or more, got -1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        LowRank(**options)
    assert words in str(error.value)


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


@pytest.mark.parametrize("options", [{"rank": "pela"}, {"ratio": 20.0, "rank": "pela"}, {"energy": 0.5}, {"rank": 13}])
def test_low_rank_is_kept_whatever_is_asked_for(site: MakeSite, options: dict[str, Any]) -> None:
    weight = gaussian(64, 7) @ gaussian(7, 96, seed=1)
    term, _, _ = factorize(LowRank(**options), weight, site((64, 96)))
    assert term.label == "rank 7, exact (float32 x float32)"
    assert relative_error(term, weight) < 1e-6
    assert term.map_leaves(lambda leaf, path: Dense(leaf.dense().copy())).label == "rank 7 (float32 x float32)"


def test_a_lower_rank_asked_for_by_number_is_not_exact(site: MakeSite) -> None:
    weight = gaussian(64, 7) @ gaussian(7, 96, seed=1)
    assert factorize(LowRank(rank=5), weight, site((64, 96)))[0].label == "rank 5 (float32 x float32)"


# --- the time of two products -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "rank", "rows", "pays"),
    [
        ((1536, 384), 272, None, True),
        ((1536, 384), 280, None, False),
        ((384, 384), 144, 1, False),
        ((384, 384), 112, 1, True),
        ((384, 384), 160, 128, True),
        ((64, 256), 20, 1, False),
        ((64, 256), 32, 100, True),
    ],
)
def test_small_products_of_few_rows_do_not_pay(
    site: MakeSite, shape: tuple[int, int], rank: int, rows: int | None, pays: bool
) -> None:
    place = replace(site(shape), rows=rows)
    answer = LowRank(rank=rank).preview(shape, place)
    assert isinstance(answer, Preview) == pays
    assert isinstance(LowRank(rank=rank, force=True).preview(shape, place), Preview)
    if isinstance(answer, Refusal):
        assert "times as long as one" in answer.reason and "force=true" in answer.reason


def test_what_is_multiplied_back_takes_no_time(site: MakeSite) -> None:
    shape = (512, 512)
    assert isinstance(LowRank(rank=250).preview(shape, site(shape)), Refusal)
    assert isinstance(LowRank(rank=250, stored=True).preview(shape, site(shape, splittable=False)), Preview)
