from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.passes.rf8 import fit, shaped
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import rf8

from .fitting import gaussian

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

KERNELS = [(2,), (3,), (9,), (64,), (3, 3), (1, 5), (7, 7), (2, 3, 4), (3, 3, 3)]


def kernels_of(outputs: int, channels: int, kernel: tuple[int, ...], seed: int = 0) -> Float32:
    return gaussian(outputs, channels * int(np.prod(kernel)), seed=seed)


def encode(weight: Float32, kernel: tuple[int, ...]) -> RF8Term:
    return RF8Term(*shaped.encode(weight, kernel), weight.shape[1])


def at(weight: Float32, scale: Float32) -> RF8Term:
    """Rounded to the nearest at these scales."""
    return RF8Term(*fit.encode(weight, scale, fit.NEAREST), weight.shape[1])


@cache
def gram_of(kernel: tuple[int, ...]) -> Float64:
    """The signal model of the module, written out tap by tap."""
    taps = list(product(*map(range, kernel)))
    gram = np.empty((len(taps), len(taps)))
    for (i, one), (j, two) in product(enumerate(taps), repeat=2):
        gram[i, j] = 0.8 ** sum(abs(a - b) for a, b in zip(one, two, strict=True)) + 0.03 * (i == j)
    return gram


def energy(term: RF8Term, weight: Float32, kernel: tuple[int, ...]) -> Float64:
    """e @ R @ e of each row, float64 [N]."""
    gram = gram_of(kernel)
    error = (term.dense().astype(np.float64) - weight).reshape(len(weight), -1, len(gram))
    found: Float64 = np.einsum("nci,ij,ncj->n", error, gram, error, optimize=True)
    return found


def nearest_energy(weight: Float32, kernel: tuple[int, ...]) -> Float64:
    """The least of each row when rounded to the nearest at any of the scales tried."""
    octave = fit.octave_scales(weight, fit.NEAREST)
    tried = [energy(at(weight, scale), weight, kernel) for scale in fit.candidates(octave)]
    least: Float64 = np.min(tried, axis=0)
    return least


# --- the signal model -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [*KERNELS, (1,), (1, 1)])
def test_the_gram_matrix_is_that_of_the_signal_model(kernel: tuple[int, ...]) -> None:
    np.testing.assert_allclose(shaped.signal_gram(kernel), gram_of(kernel), rtol=1e-12)


@pytest.mark.parametrize("kernel", [(9,), (300,), (7, 7), (3, 3, 3)])
def test_the_triangular_form_is_the_gram_matrix(kernel: tuple[int, ...]) -> None:
    feedback = shaped._feedback(gram_of(kernel))
    kept = np.arange(len(feedback.first)) >= np.array(feedback.first)[:, None]
    inverse = np.linalg.inv(feedback.asked.astype(np.float64) * kept)
    np.testing.assert_allclose(inverse.T * feedback.variance @ inverse, gram_of(kernel), atol=1e-5)


# --- how good it is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("channels", [1, 5])
def test_no_output_is_worse_than_rounded_to_the_nearest(kernel: tuple[int, ...], channels: int) -> None:
    weight = kernels_of(100, channels, kernel)
    term = encode(weight, kernel)
    found = energy(term, weight, kernel)
    assert (found <= nearest_energy(weight, kernel) * (1 + 1e-4)).all()
    assert (found <= energy(at(weight, term.scale), weight, kernel) * (1 + 1e-4)).all()


@pytest.mark.parametrize(("kernel", "decibels"), [((5,), 2.0), ((3, 3), 3.5), ((3, 3, 3), 4.5), ((7, 7), 3.5)])
def test_many_channels_gain(kernel: tuple[int, ...], decibels: float) -> None:
    weight = kernels_of(32, 24, kernel)
    gain = nearest_energy(weight, kernel).sum() / energy(encode(weight, kernel), weight, kernel).sum()
    assert 10 * np.log10(gain) > decibels


def test_a_fourier_basis_gains_3_decibels() -> None:
    angles = 2 * np.pi * np.outer(np.arange(129), np.arange(256)) / 256
    weight = (np.concatenate([np.cos(angles), -np.sin(angles)]) * np.hanning(256)).astype(np.float32)
    found = energy(encode(weight, (256,)), weight, (256,)).sum()
    assert 10 * np.log10(nearest_energy(weight, (256,)).sum() / found) > 3
    assert 10 * np.log10(energy(at(weight, fit.fitted_scales(weight)), weight, (256,)).sum() / found) > 3


def test_smooth_inputs_see_less_error() -> None:
    weight = kernels_of(64, 8, (3, 3))
    noise = gaussian(2000, 8, 3, 3, seed=1)
    smooth = (noise.mean(axis=(2, 3), keepdims=True) * 3 + 0.3 * noise).reshape(2000, -1)
    shaped_error = np.linalg.norm(smooth @ (encode(weight, (3, 3)).dense() - weight).T)
    nearest_error = np.linalg.norm(smooth @ (at(weight, fit.fitted_scales(weight)).dense() - weight).T)
    assert shaped_error < 0.75 * nearest_error


# --- what must hold for any weight ------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [(1,), *KERNELS])
def test_kernels_that_are_rf8_stay_as_they_are(kernel: tuple[int, ...]) -> None:
    codes = np.random.default_rng(0).choice(np.flatnonzero(np.arange(256) & 7 != 7), kernels_of(20, 3, kernel).shape)
    weight = rf8.VALUES[codes]
    weight[:, 0] = 1
    term = encode(weight, kernel)
    np.testing.assert_array_equal(term.dense(), weight)
    np.testing.assert_array_equal(term.scale, 1)


@pytest.mark.parametrize("kernel", [(1,), (1, 1), (1, 1, 1)])
def test_kernels_of_one_tap_are_rounded_to_the_nearest(kernel: tuple[int, ...]) -> None:
    weight = gaussian(30, 100)
    term = encode(weight, kernel)
    np.testing.assert_array_equal(term.codes, at(weight, term.scale).codes)
    np.testing.assert_array_equal(term.scale, fit.fitted_scales(weight))


def test_channels_and_outputs_do_not_disturb_each_other() -> None:
    weight = kernels_of(40, 4, (3, 3))
    weight[:, :9] = weight[0, :9]
    whole = encode(weight, (3, 3))
    for row in range(0, 40, 7):  # as in a grouped convolution, whose groups are encoded apart
        alone = encode(weight[row : row + 1], (3, 3))
        np.testing.assert_array_equal(alone.scale, whole.scale[row : row + 1])
        np.testing.assert_array_equal(alone.dense(), whole.dense()[row : row + 1])
    same = np.flatnonzero(whole.scale == whole.scale[0])
    assert len(same) > 1
    np.testing.assert_array_equal(whole.dense()[same, :9], np.repeat(whole.dense()[:1, :9], len(same), axis=0))


@given(
    st.sampled_from([(3,), (2, 2), (3, 3), (2, 2, 2)]),
    st.integers(1, 20),
    st.integers(1, 3),
    st.sampled_from([1e-45, 1e-40, 1e-38, 1e-20, 1.0, 1e20, 1e38, 3.4e38]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_every_finite_weight_has_a_finite_canonical_code(
    kernel: tuple[int, ...], outputs: int, channels: int, size: float, seed: int
) -> None:
    weight = (kernels_of(outputs, channels, kernel, seed).clip(-1, 1) * size).astype(np.float32)
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        term = encode(weight, kernel)
    codes = rf8.unpack_codes(term.codes, term.shape)
    magnitude = codes & 127
    assert np.isfinite(term.dense()).all()
    assert (magnitude[magnitude < 8] == 0).all() and not (codes == 128).any()
    assert not (magnitude & 7 == 7).any()
    assert (term.scale >= 2.0**-126).all() and (term.scale <= 2.0**127).all()
    allowed = 0.5 * np.abs(weight).max().astype(np.float64) + 2.0**-140
    assert (np.abs(term.dense() - weight.astype(np.float64)) <= allowed).all()


def test_extreme_rows_do_not_disturb_each_other() -> None:
    weight = kernels_of(4, 2, (3, 3)).clip(-1, 1)
    alone = encode(weight[1:2], (3, 3)).dense()
    weight[0] *= np.float32(3.4e38)
    weight[2] = 0
    weight[3] *= np.float32(1e-40)
    both = encode(weight, (3, 3))
    np.testing.assert_array_equal(both.dense()[1:2], alone)
    assert both.scale[2] == 1
    assert not both.dense()[2].any()


def test_chunks_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = kernels_of(70, 5, (3, 3))
    whole = encode(weight, (3, 3))
    monkeypatch.setattr(shaped, "_CHUNK", 16 * 45)
    parts = encode(weight, (3, 3))
    np.testing.assert_array_equal(parts.codes, whole.codes)
    np.testing.assert_array_equal(parts.scale, whole.scale)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_an_error(bad: float) -> None:
    weight = kernels_of(16, 2, (3, 3))
    weight[3, 5] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        shaped.encode(weight, (3, 3))


@pytest.mark.parametrize(
    ("kernel", "suits"), [((), False), ((1, 1), False), ((2,), True), ((32, 64), True), ((2049,), False)]
)
def test_which_kernels_are_shaped(kernel: tuple[int, ...], suits: bool) -> None:
    assert shaped.suits(kernel) == suits
