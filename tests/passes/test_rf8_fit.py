from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from regc.compiler.terms import relative_error
from regc.passes.rf8 import fit
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import rf8

from .fitting import gaussian

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FLOAT_MAX = float(np.finfo(np.float32).max)
finite = st.floats(-FLOAT_MAX, FLOAT_MAX, width=32)
MEMBERS = np.array([1, 1.0625, 1.125, 1.25, 1.5, 1.75, 1.875])


def encode(weight: Float32, *, per_row: bool = True, nearest: bool = False) -> RF8Term:
    thresholds = fit.NEAREST if nearest else fit.AUTHORS
    scale = fit.octave_scales(weight, thresholds, per_row=per_row)
    return RF8Term(*fit.encode(weight, scale, thresholds), weight.shape[1])


def authors(weight: Float32) -> Float64:
    """The rule as it is published, in float64: two powers of two, the second at most 2**4 below the first."""
    exact = weight.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.round(np.log2(np.abs(exact)))
        power = np.where(exact == 0, 0, np.sign(exact) * np.exp2(first))
        residual = exact - power
        second = np.round(np.log2(np.abs(residual)))
        both = (residual != 0) & (first - second <= 4)
        return power + np.where(both, np.sign(residual) * np.exp2(second), 0)


def least(term: RF8Term) -> Float64:
    """The smallest magnitude that the rows of a term can hold, float64 [N, 1]."""
    return np.ldexp(term.scale.astype(np.float64), -14)[:, None]


def octave(step: int, *more: int) -> Float32:
    """Every so many of the significands of an octave, and more of them, float32 ``[1, n]``."""
    chosen = np.union1d(np.arange(0, 1 << 23, step), np.array(more, int))
    return (chosen.astype(np.uint32) + np.uint32(127 << 23)).view(np.float32)[None]


# --- fit: the authors' rule ---------------------------------------------------------------------------------


def test_an_octave_is_rounded_as_the_authors_do() -> None:
    around = (np.array(fit.AUTHORS)[:, None] + np.arange(-4096, 4096)).ravel()
    weight = octave(16, *around)
    np.testing.assert_array_equal(encode(weight, per_row=False).dense(), authors(weight))


def test_thresholds() -> None:
    listed = [1.04419, 1.08839, 1.17678, 1.35355, 2 * 0.82322, 2 * 0.91161, 2 * 0.95581]
    np.testing.assert_allclose(1 + np.array(fit.AUTHORS) / 2**23, listed, rtol=1e-5)


def test_error_over_an_octave() -> None:
    weight = octave(64)
    coded = encode(weight, per_row=False).dense()
    error = np.abs(coded / weight.astype(np.float64) - 1)
    assert error.max() == pytest.approx(0.1082, abs=1e-4)
    assert np.sqrt((error**2).mean()) == pytest.approx(0.0397, abs=5e-4)


@given(st.integers(-125, 126), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_exponent_any_sign(top: int, seed: int, per_row: bool) -> None:
    rng = np.random.default_rng(seed)
    exact = np.ldexp(rng.uniform(-2, 2, (5, 50)), top - rng.integers(0, 30, (5, 50)))
    weight: Float32 = exact.astype(np.float32)
    term = encode(weight, per_row=per_row)
    expected = authors(weight)
    inside = np.abs(expected) >= least(term)
    np.testing.assert_array_equal(term.dense()[inside], expected[inside])


def test_subnormal_weights_keep_the_rule() -> None:
    weight = np.ldexp(np.arange(-2000, 2000).reshape(40, 100), -149).astype(np.float32)
    term = encode(weight)
    expected = authors(weight)
    inside = np.abs(expected) >= 2.0**-140
    assert (term.scale == 2.0**-126).all()
    assert inside.any()
    np.testing.assert_array_equal(term.dense()[inside], expected[inside])


# --- fit: the edges of the range ----------------------------------------------------------------------------


def test_below_the_range_the_nearer_of_zero_and_the_smallest() -> None:
    small = 2.0**-14
    values = [1, small, 0.99 * small, 0.51 * small, 0.5 * small, 0.49 * small, -0.6 * small, -0.4 * small]
    weight = np.array([values], np.float32)
    for nearest in (False, True):
        coded = encode(weight, nearest=nearest).dense()[0]
        assert coded.tolist() == [1, small, small, small, 0, 0, -small, 0]
        assert not np.signbit(coded[[4, 5, 7]]).any()


@pytest.mark.parametrize("nearest", [False, True])
def test_the_largest_float_stays_finite(nearest: bool) -> None:
    weight = np.array([[FLOAT_MAX, -FLOAT_MAX, 1.9375 * 2.0**127, 2.0**113]], np.float32)
    top = 1.875 * 2.0**127
    assert encode(weight, nearest=nearest).dense().tolist() == [[top, -top, top, 2.0**113]]


def test_zero_rows() -> None:
    weight = gaussian(3, 8)
    weight[1] = 0
    for per_row in (True, False):
        assert not encode(weight, per_row=per_row).dense()[1].any()
    term = encode(np.zeros((3, 8), np.float32))
    assert (term.scale == 1).all()
    assert not term.codes.any()


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=finite), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_finite_weight_has_a_finite_canonical_code(weight: Float32, nearest: bool) -> None:
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        term = encode(weight, nearest=nearest)
    codes = rf8.unpack_codes(term.codes, term.shape)
    magnitude = codes & 127
    assert np.isfinite(term.dense()).all()
    assert (magnitude[magnitude < 8] == 0).all() and not (codes == 128).any()
    assert not (magnitude & 7 == 7).any()
    again = encode(term.dense(), nearest=nearest)
    np.testing.assert_array_equal(again.dense(), term.dense())


@given(arrays(np.float32, (3, 10), elements=finite))
@settings(max_examples=50, deadline=None)
def test_the_largest_octave_is_used(weight: Float32) -> None:
    top = rf8.unpack_codes(encode(weight).codes, (3, 10)) >> 3 & 15
    tall = np.abs(weight).max(axis=1) >= 2.0**-126  # below, the scale stays at the smallest normal float
    assert (top.max(axis=1)[tall] == 15).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_an_error(bad: float) -> None:
    weight = gaussian(16, 16)
    weight[3, 5] = bad
    for find in (partial(fit.octave_scales, thresholds=fit.AUTHORS), fit.fitted_scales):
        with pytest.raises(ValueError, match="NaN or infinity"):
            find(weight)


# --- fit: nearest value, exponents --------------------------------------------------------------------------


def test_nearest_is_the_nearest_member() -> None:
    weight = octave(64)
    weight[0, 0] = 1
    grid = np.append(MEMBERS, 2.0)
    coded = encode(weight, per_row=False, nearest=True).dense().astype(np.float64)
    best = np.abs(weight[..., None].astype(np.float64) - grid).min(axis=-1)
    np.testing.assert_array_equal(np.abs(weight - coded), best)


def test_nearest_breaks_ties_to_the_even_residual() -> None:
    members = np.append(MEMBERS, 2.0)
    middles = (members[1:] + members[:-1]) / 2
    weight = np.append(middles, 1).astype(np.float32)[None]
    assert encode(weight, nearest=True).dense()[0].tolist() == [1, 1.125, 1.125, 1.5, 1.5, 1.875, 2, 1]


def test_error_of_nearest_over_an_octave() -> None:
    weight = octave(8)
    error = np.abs(encode(weight, nearest=True).dense() / weight.astype(np.float64) - 1)
    assert error.max() == pytest.approx(0.0909, abs=1e-4)


def test_one_exponent_for_the_tensor() -> None:
    weight = gaussian(20, 30) * np.exp2(np.arange(20, dtype=np.float32))[:, None]
    rows, tensor = encode(weight), encode(weight, per_row=False)
    assert len(set(tensor.scale.tolist())) == 1
    assert tensor.scale[0] == rows.scale.max()
    inside = np.abs(weight) > 2 * least(tensor)
    np.testing.assert_array_equal(rows.dense()[inside], tensor.dense()[inside])
    assert relative_error(RF8Term(rows.codes[:1], rows.scale[:16], 30), weight[:16]) < 0.05
    assert np.linalg.norm(tensor.dense()[0] - weight[0]) > 0.5 * np.linalg.norm(weight[0])


@pytest.mark.parametrize(
    ("law", "nearest", "expected"),
    [("normal", False, 28.0), ("laplace", False, 28.0), ("normal", True, 28.5), ("laplace", True, 28.5)],
)
def test_signal_to_noise_ratio(law: str, nearest: bool, expected: float) -> None:
    weight = getattr(np.random.default_rng(1), law)(size=(500, 1000)).astype(np.float32)
    error = relative_error(encode(weight, nearest=nearest), weight)
    assert -20 * np.log10(error) == pytest.approx(expected, abs=0.1)
    assert relative_error(encode(weight, nearest=True), weight) < relative_error(encode(weight), weight)
