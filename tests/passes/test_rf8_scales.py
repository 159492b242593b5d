from __future__ import annotations

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


def fitted(weight: Float32) -> RF8Term:
    return RF8Term(*fit.encode(weight, fit.fitted_scales(weight), fit.NEAREST), weight.shape[1])


def octave(weight: Float32) -> RF8Term:
    """To the nearest, with powers of two."""
    return RF8Term(*fit.encode(weight, fit.octave_scales(weight, fit.NEAREST), fit.NEAREST), weight.shape[1])


def squared_error(term: RF8Term, weight: Float32) -> Float64:
    """Of each row, float64 [N]."""
    error: Float64 = np.square(term.dense().astype(np.float64) - weight).sum(axis=1)
    return error


def rf8_weight(*shape: int, seed: int = 0) -> Float32:
    codes = np.random.default_rng(seed).choice(np.flatnonzero(np.arange(256) & 7 != 7), shape)
    weight: Float32 = rf8.VALUES[codes]
    return weight


@pytest.mark.parametrize("exponent", [0, -112, 120, 127])
def test_weights_that_are_rf8_keep_their_values_and_a_power_of_two(exponent: int) -> None:
    weight = np.ldexp(rf8_weight(20, 300), exponent).astype(np.float32)
    weight[:, 0] = 2.0**exponent
    scale = fit.fitted_scales(weight)
    np.testing.assert_array_equal(scale, 2.0**exponent)
    np.testing.assert_array_equal(fitted(weight).dense(), weight)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=finite))
@settings(max_examples=100, deadline=None)
def test_fitted_scales_are_never_worse_than_the_power_of_two(weight: Float32) -> None:
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        error = squared_error(fitted(weight), weight)
    assert (error <= squared_error(octave(weight), weight) * (1 + 1e-6)).all()


@pytest.mark.parametrize("size", [1e-36, 1e-3, 1e37])
def test_fitted_scales_are_the_best_of_an_octave(size: float) -> None:
    weight = gaussian(50, 9) * np.float32(size)
    powers = fit.octave_scales(weight, fit.NEAREST)
    errors = []
    for step in range(16):
        scale = powers * fit.STEPS[step]
        errors.append(squared_error(RF8Term(*fit.encode(weight, scale, fit.NEAREST), 9), weight))
    found = squared_error(fitted(weight), weight)
    np.testing.assert_allclose(found, np.min(errors, axis=0), rtol=1e-5)
    assert found.sum() < 0.75 * errors[0].sum()


def test_a_scale_that_is_no_power_of_two_is_found() -> None:
    scale = fit.STEPS[5]
    weight = np.maximum(rf8_weight(20, 100), 2.0**-12) * scale
    assert relative_error(fitted(weight), weight) < 1e-7
    assert relative_error(octave(weight), weight) > 0.01


def test_fitted_scales_of_zero_rows_are_one() -> None:
    weight = gaussian(3, 8)
    weight[1] = 0
    assert fit.fitted_scales(weight)[1] == 1
    assert not fitted(weight).dense()[1].any()
    assert (fit.fitted_scales(np.zeros((3, 8), np.float32)) == 1).all()


@pytest.mark.parametrize("peak", [1e-45, 1e-40, 2.0**-126, 1.99 * 2.0**126, 2.0**127, 3.4e38])
def test_fitted_scales_at_the_ends_of_the_range(peak: float) -> None:
    weight = (gaussian(5, 40).clip(-1, 1) * peak).astype(np.float32)
    scale, term = fit.fitted_scales(weight), fitted(weight)
    assert (scale >= 2.0**-126).all() and (scale <= 2.0**127).all()
    assert np.isfinite(term.dense()).all()
    assert (squared_error(term, weight) <= squared_error(octave(weight), weight)).all()


@pytest.mark.parametrize("columns", [1, 2, 511, 512, 513, 1539, 4608, 9 * 4096])
def test_a_scale_is_judged_by_inputs_spread_over_the_row(columns: int) -> None:
    taken = fit._spread(columns)
    assert len(set(taken.tolist())) == len(taken) == min(columns, 512)
    assert taken.tolist() == sorted(taken) and np.diff(taken, prepend=-1, append=columns).max() <= 2 * columns / 512 + 2
    if columns % 9 == 0:
        assert np.bincount(taken % 9, minlength=9).min() > 35


@pytest.mark.parametrize("law", ["normal", "laplace"])
def test_fitted_scales_are_better_on_long_rows_too(law: str) -> None:
    weight = getattr(np.random.default_rng(1), law)(size=(500, 1000)).astype(np.float32)
    assert relative_error(fitted(weight), weight) < relative_error(octave(weight), weight)
