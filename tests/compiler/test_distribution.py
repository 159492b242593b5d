from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler import distribution
from regc.compiler.distribution import describe, entropy, entropy_of_codes, ratio_of, scale_of, shape_of

Float32 = npt.NDArray[np.float32]
COUNT = 400_000


def sample(shape: float, scale: float, count: int = COUNT, seed: int = 0) -> Float32:
    """Values of a generalized Gaussian: ``|x / scale| ** shape`` has a gamma law."""
    random = np.random.default_rng(seed)
    magnitudes = scale * random.gamma(1 / shape, size=count) ** (1 / shape)
    values: Float32 = (magnitudes * random.choice([-1.0, 1.0], count)).astype(np.float32)
    return values


@pytest.mark.parametrize(("shape", "expected"), [(0.5, 3.333), (0.8, 2.269), (1, 2), (1.4, 1.737), (2, 1.571)])
def test_the_ratio_of_moments_at_known_shapes(shape: float, expected: float) -> None:
    assert ratio_of(shape) == pytest.approx(expected, abs=1e-3)
    assert shape_of(ratio_of(shape)) == pytest.approx(shape, rel=1e-9)


@pytest.mark.parametrize("shape", [0.5, 0.8, 1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("scale", [0.02, 3.0])
def test_shape_and_scale_of_samples_are_found(shape: float, scale: float) -> None:
    found = describe(sample(shape, scale).reshape(400, -1))
    assert found.shape == pytest.approx(shape, rel=0.03)
    assert found.scale == pytest.approx(scale, rel=0.06)
    assert found.skewness == pytest.approx(0, abs=0.3 if shape < 1 else 0.05)


@pytest.mark.parametrize(
    ("law", "skewness", "kurtosis"),
    [("normal", 0, 3), ("laplace", 0, 6), ("uniform", 0, 1.8), ("exponential", 2, 9)],
)
def test_skewness_and_kurtosis_of_known_laws(law: str, skewness: float, kurtosis: float) -> None:
    values = getattr(np.random.default_rng(0), law)(size=COUNT)
    found = describe(values.astype(np.float32))
    assert found.skewness == pytest.approx(skewness, abs=0.1)
    assert found.kurtosis == pytest.approx(kurtosis, rel=0.05)
    assert found.mean == pytest.approx(values.mean(), abs=1e-5)
    assert found.deviation == pytest.approx(values.std(), rel=1e-5)
    assert found.peak == pytest.approx(np.abs(values).max(), rel=1e-6)


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0])
def test_predicted_bits_are_those_of_the_rounded_values(shape: float) -> None:
    values = sample(shape, 1.0)
    levels = np.rint(values / np.abs(values).max() * 127).astype(int) + 127
    assert describe(values).bits == pytest.approx(entropy_of_codes(levels.astype(np.uint8)), abs=0.06)


def test_narrower_laws_take_fewer_bits() -> None:
    bits = [entropy(shape, scale_of(shape, 0.2)) for shape in (0.5, 1.0, 2.0)]
    assert bits == sorted(bits)
    assert entropy(2.0, 1e6) == pytest.approx(math.log2(255))


def test_the_entropy_of_codes() -> None:
    assert entropy_of_codes(np.arange(256, dtype=np.uint8).repeat(3)) == 8
    assert entropy_of_codes(np.full((4, 4), 7, np.uint8)) == 0
    assert entropy_of_codes(np.array([1, 1, 2, 3], np.uint8)) == 1.5


@given(st.floats(-120, 120), st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_what_is_dimensionless_does_not_depend_on_the_unit(exponent: float, count: int) -> None:
    values = sample(1.0, 1.0, count)
    one, two = describe(values), describe(np.ldexp(values, int(exponent)).astype(np.float32))
    assert two.shape == pytest.approx(one.shape)
    assert two.bits == pytest.approx(one.bits)
    assert two.scale == pytest.approx(math.ldexp(one.scale, int(exponent)))
    assert two.kurtosis == pytest.approx(one.kurtosis, nan_ok=True)


def test_values_that_are_all_alike() -> None:
    zeros = describe(np.zeros((3, 4), np.float32))
    assert (zeros.peak, zeros.deviation, zeros.bits) == (0, 0, 0)
    assert math.isnan(zeros.shape)
    ones = describe(np.full((3, 4), 0.1, np.float32))
    assert ones.mean == pytest.approx(0.1)
    assert math.isnan(ones.kurtosis)
    assert math.isnan(ones.skewness)


def test_large_weights_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = sample(1.3, 1.0, 1001)
    whole = describe(values)
    monkeypatch.setattr(distribution, "_CHUNK", 100)
    assert describe(values).kurtosis == pytest.approx(whole.kurtosis, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        describe(np.array([1, bad, 2], np.float32))
