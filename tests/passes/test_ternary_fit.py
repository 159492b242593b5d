from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from regc.compiler.terms import relative_error
from regc.passes.ternary import fit
from regc.passes.ternary.term import TernaryTerm
from regc.runtime_ops.formats import ternary

from .fitting import gaussian

Float32 = npt.NDArray[np.float32]

METHODS: tuple[fit.Method, ...] = ("lloyd", "mean", "median")
FLOAT_MAX = float(np.finfo(np.float32).max)
finite = st.floats(-FLOAT_MAX, FLOAT_MAX, width=32)


def term_of(fitted: fit.Fitted, columns: int, group: int | None = None) -> TernaryTerm:
    return TernaryTerm(*fitted, columns, min(group or columns, columns))


def levels_of(fitted: fit.Fitted, shape: tuple[int, int], group: int) -> npt.NDArray[np.int64]:
    """multiplier * trit, int [N, K]."""
    multipliers = ternary.unpack_multipliers(fitted.multiplier, shape[0]).astype(int)
    wide = np.repeat(multipliers, group, axis=1)[:, : shape[1]]
    levels: npt.NDArray[np.int64] = ternary.unpack_trits(fitted.codes, shape) * wide
    return levels


# --- fit: the scale of one vector ---------------------------------------------------------------------------


@given(arrays(np.float32, st.integers(1, 40), elements=finite))
@settings(max_examples=100, deadline=None)
def test_lloyd_has_the_least_error_of_all_scales_and_trits(weight: Float32) -> None:
    exact = weight.astype(np.float64)
    falling = np.sort(np.abs(exact))[::-1]
    sums = np.cumsum(falling)
    best = (sums * sums / np.arange(1, len(falling) + 1)).max()  # what the best trits explain of the energy
    scale = float(fit.lloyd(np.abs(weight)))
    kept = np.abs(exact) > scale / 2
    explained = 2 * scale * np.abs(exact[kept]).sum() - kept.sum() * scale**2
    assert explained >= best * (1 - 1e-6) - 1e-90


def test_lloyd_finds_the_best_of_several_fixed_points() -> None:
    # Keeping all ten is a fixed point of alternating (mean 1.9, threshold 0.95); keeping the first is better.
    few = np.array([10.0] + [1.0] * 9, np.float32)
    assert fit.lloyd(few) == 10
    many = np.array([10.0] + [1.0] * 400, np.float32)
    assert fit.lloyd(many) == pytest.approx(410 / 401)


@pytest.mark.parametrize("shape", [(1000,), (7, 100), (3, 5, 64)])
def test_lloyd_does_not_depend_on_the_size_of_its_blocks(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    weight = np.abs(gaussian(*shape))
    whole = fit.lloyd(weight.copy())
    monkeypatch.setattr(fit, "_CHUNK", 64)
    np.testing.assert_array_equal(fit.lloyd(weight.copy()), whole)


@pytest.mark.parametrize(("values", "expected"), [([4, 1, 3, 2], 2), ([5, 1, 3], 3), ([7], 7), ([0, 0], 1e-5)])
def test_median_is_the_lower_of_the_middle_two(values: list[float], expected: float) -> None:
    assert fit.median(np.array(values, np.float32)) == np.float32(expected)


# --- fit: the paper -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mean", "median"])
@pytest.mark.parametrize("shape", [(64, 48), (33, 7)])
@pytest.mark.parametrize("size", [0.02, 1e-6, 3.0])
def test_per_tensor_is_the_paper_bit_for_bit(method: fit.Method, shape: tuple[int, int], size: float) -> None:
    weight = gaussian(*shape) * np.float32(size)
    magnitudes = np.sort(np.abs(weight), axis=None)
    middle = magnitudes[(magnitudes.size - 1) // 2]
    measure = np.float32(magnitudes.mean(dtype=np.float64)) if method == "mean" else middle
    measure = max(measure, np.float32(1e-5))
    trits = np.clip(np.rint(weight * (np.float32(1) / measure)), -1, 1)

    found = fit.fit_tensor(weight, method)
    np.testing.assert_array_equal(ternary.unpack_trits(found.codes, shape), trits)
    assert (found.multiplier == 1).all()
    assert set(found.scale.tolist()) == {float(measure)}


def test_the_paper_rounds_half_to_even() -> None:
    weight = np.array([[0.5, -0.5, 1.5, 1.5]], np.float32)  # mean 1
    assert ternary.unpack_trits(fit.fit_tensor(weight, "mean").codes, (1, 4)).tolist() == [[0, 0, 1, 1]]


# --- fit: rows, groups, refits ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_group_as_wide_as_the_row_is_the_row(method: fit.Method) -> None:
    weight = gaussian(20, 40)
    for one, two in zip(fit.fit_rows(weight, method, group=48), fit.fit_rows(weight, method), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("method", "refit"), [("lloyd", False), ("mean", True), ("median", True)])
@pytest.mark.parametrize("group", [None, 16])
def test_least_squares_leaves_nothing_along_the_levels(method: fit.Method, refit: bool, group: int | None) -> None:
    weight = gaussian(20, 40) * np.exp2(gaussian(20, 1) * 3)
    found = fit.fit_rows(weight, method, group=group, refit=refit)
    levels = levels_of(found, weight.shape, group or 40)
    residual = weight - found.scale[:, None].astype(np.float64) * levels
    energy = np.abs(weight * levels).sum(axis=1)
    np.testing.assert_array_less(np.abs((residual * levels).sum(axis=1)), 1e-6 * energy)


@pytest.mark.parametrize("method", ["mean", "median"])
def test_refit_of_a_tensor_keeps_the_trits_and_betters_the_scale(method: fit.Method) -> None:
    weight = gaussian(64, 64)
    paper, refit = fit.fit_tensor(weight, method), fit.fit_tensor(weight, method, refit=True)
    np.testing.assert_array_equal(paper.codes, refit.codes)
    trits = ternary.unpack_trits(paper.codes, weight.shape)
    assert refit.scale[0] == pytest.approx((weight * trits).sum() / np.abs(trits).sum(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_group_scales_are_64ths_of_the_largest(method: fit.Method) -> None:
    weight = gaussian(20, 100) * np.repeat(np.exp2(gaussian(20, 7)), 16, axis=1)[:, :100]
    found = fit.fit_rows(weight, method, group=16)
    multipliers = ternary.unpack_multipliers(found.multiplier, 20)
    parts = [fit._MEASURES[method](np.abs(weight[:, s : s + 16])) for s in range(0, 100, 16)]
    measures = np.stack(parts, axis=1)
    assert (multipliers.max(axis=1) == 64).all()
    np.testing.assert_allclose(multipliers / 64, measures / measures.max(axis=1, keepdims=True), atol=0.5 / 64)


def test_snapping_costs_next_to_nothing() -> None:
    weight = gaussian(64, 1024)
    snapped = relative_error(term_of(fit.fit_rows(weight, "lloyd", group=64), 1024, 64), weight)
    alone = fit.fit_rows(weight.reshape(-1, 64), "lloyd")
    free = relative_error(term_of(alone, 64), weight.reshape(-1, 64))
    assert free**2 < snapped**2 < free**2 + 1e-4


@pytest.mark.parametrize("group", [None, 16])
def test_chunks_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch, group: int | None) -> None:
    weight = gaussian(70, 48)
    whole = fit.fit_rows(weight, "lloyd", group=group), fit.fit_tensor(weight, "mean", refit=True)
    monkeypatch.setattr(fit, "_CHUNK", 16 * 48)
    parts = fit.fit_rows(weight, "lloyd", group=group), fit.fit_tensor(weight, "mean", refit=True)
    for one, two in zip([*whole[0], *whole[1]], [*parts[0], *parts[1]], strict=True):
        np.testing.assert_array_equal(one, two)


# --- fit: any finite weight ---------------------------------------------------------------------------------


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=finite),
    st.sampled_from(METHODS),
    st.sampled_from([None, 16, 32]),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_every_finite_weight_has_a_finite_valid_code(
    weight: Float32, method: fit.Method, group: int | None, refit: bool
) -> None:
    with np.errstate(invalid="raise", divide="raise"):
        term = term_of(fit.fit_rows(weight, method, group=group, refit=refit), weight.shape[1], group)
    fields = term.codes[..., None] >> np.array([0, 2, 4, 6]) & 3
    assert np.isfinite(term.dense()).all()
    assert term.multiplier.max() <= ternary.MAX_MULTIPLIER
    assert fields.max() < 3
    assert (term.scale >= 0).all()
    assert not term.dense()[weight == 0].any()


@pytest.mark.parametrize("group", [None, 16])
@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-38, 3.4e38])
def test_extreme_rows_do_not_disturb_each_other(group: int | None, size: float) -> None:
    weight = gaussian(3, 48).clip(-1, 1)
    alone = term_of(fit.fit_rows(weight[1:2], "lloyd", group=group), 48, group).dense()
    weight[0] *= np.float32(size)
    weight[2] = 0
    both = term_of(fit.fit_rows(weight, "lloyd", group=group), 48, group).dense()
    np.testing.assert_array_equal(both[1:2], alone)
    assert not both[2].any()
    assert np.isfinite(both).all()


def test_a_group_far_below_the_largest_becomes_zero() -> None:
    weight = np.ones((1, 32), np.float32)
    weight[0, 16:] = 1 / 200
    found = fit.fit_rows(weight, "lloyd", group=16)
    assert ternary.unpack_multipliers(found.multiplier, 1).tolist() == [[64, 0]]
    np.testing.assert_array_equal(ternary.unpack_trits(found.codes, (1, 32)), weight == 1)
    np.testing.assert_array_equal(term_of(found, 32, 16).dense(), weight * (weight == 1))


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_of_zeros(method: fit.Method) -> None:
    weight = np.zeros((20, 40), np.float32)
    for refit in (False, True):
        assert not term_of(fit.fit_tensor(weight, method, refit=refit), 40).dense().any()
        assert not term_of(fit.fit_rows(weight, method, group=16, refit=refit), 40, 16).dense().any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_an_error(bad: float) -> None:
    weight = gaussian(16, 16)
    weight[3, 5] = bad
    for call in (fit.fit_rows, fit.fit_tensor):
        with pytest.raises(ValueError, match="NaN or infinity"):
            call(weight, "lloyd")
