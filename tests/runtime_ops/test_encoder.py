"""RF8 codes and scales by the library, against the same in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.passes.rf8.fit import AUTHORS, NEAREST, STEPS, octave_scales
from regc.runtime_ops import OperatorLibraryError, encoder, threads
from regc.runtime_ops.formats import rf8

from .packed import ISAS, isa

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

RULES = {"authors": AUTHORS, "nearest": NEAREST}


def rule(scaled: Float32, thresholds: Int32) -> UInt8:
    """The codes, by the bits of the floats."""
    bits = scaled.view(np.int32)
    magnitude = bits & 0x7FFFFFFF
    residual = ((magnitude & 0x7FFFFF)[..., None] >= thresholds).sum(axis=-1)
    residual += residual == 7
    code = (((magnitude >> 23) - 112) * 8 + residual).clip(8, 126) | (bits < 0) * 128
    return np.where(magnitude > 112 << 23, code, 0).astype(np.uint8)


def missed(weight: Float32, scale: Float32) -> Float64:
    """The squared error of each row, rounded to the nearest, float64 ``[N]``."""
    values = rf8.VALUES[rule(weight / scale[:, None], NEAREST)]
    error: Float64 = np.square(values.astype(np.float64) * scale[:, None] - weight).sum(axis=1)
    return error


def random(rows: int, columns: int, seed: int = 0) -> Float32:
    """Rows of many sizes, with zeros and a row of them."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, columns)) * np.exp(rng.normal(0, 8, (rows, 1)))
    weight[rng.random((rows, columns)) < 0.1] = 0
    weight[rows // 2] = 0
    return weight.astype(np.float32)


@pytest.mark.parametrize("thresholds", RULES.values(), ids=RULES)
def test_codes_are_the_rule_for_every_upper_half_of_a_float(thresholds: Int32) -> None:
    upper = np.arange(1 << 16, dtype=np.uint32) << 16  # both signs, all exponents: NaN is never asked for
    low = np.array([0, 1, 0x8000, 0xFFFF], np.uint32)
    around = (127 << 23) + thresholds.astype(np.uint32)[:, None] + np.arange(-3, 4).astype(np.uint32)
    bits = np.append((upper[(upper & 0x7FFFFFFF) < 0x7F800000, None] + low).ravel(), around)
    scaled = bits.view(np.float32)
    expected = rule(scaled, thresholds)
    for name in ISAS:
        with isa(name):
            np.testing.assert_array_equal(encoder.codes_of(scaled, thresholds), expected)


@given(st.integers(1, 60), st.integers(1, 600), st.integers(0, 9), st.sampled_from(list(RULES.values())))
@settings(max_examples=40, deadline=None)
def test_packed_codes_of_any_shape(rows: int, columns: int, seed: int, thresholds: Int32) -> None:
    weight = random(rows, columns, seed)
    scale = octave_scales(weight, thresholds) * np.float32(1.3)
    expected = rf8.pack_codes(rule(weight / scale[:, None], thresholds))
    for name in ISAS:
        with isa(name):
            np.testing.assert_array_equal(encoder.pack(weight, scale, thresholds), expected)


@given(st.integers(1, 40), st.integers(1, 512), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_best_of_all_steps_is_found(rows: int, columns: int, seed: int) -> None:
    weight, inputs = random(rows, columns, seed), np.arange(columns)
    octave = octave_scales(weight, NEAREST)
    least = np.min([missed(weight, octave * step) for step in STEPS], axis=0)
    found = [_scales(name, weight, octave, inputs) for name in ISAS]
    assert (missed(weight, found[0]) <= least * (1 + 1e-5)).all()
    assert all((scale == found[0]).all() for scale in found)


def _scales(name: str, weight: Float32, octave: Float32, inputs: npt.NDArray[np.int64]) -> Float32:
    with isa(name):
        return encoder.best_scales(weight, octave, inputs, STEPS)


def test_scales_are_judged_by_the_inputs_asked_for() -> None:
    weight, inputs = random(30, 700), np.sort(np.random.default_rng(1).permutation(700)[:333])
    octave = octave_scales(weight, NEAREST)
    found = encoder.best_scales(weight, octave, inputs, STEPS)
    few = np.ascontiguousarray(weight[:, inputs])
    np.testing.assert_array_equal(found, encoder.best_scales(few, octave, np.arange(333), STEPS))
    assert (found != encoder.best_scales(weight, octave, np.arange(333), STEPS)).any()


def test_of_equal_steps_the_first_is_taken() -> None:
    steps = np.array([1, 1, 1.5, 1.5], np.float32)
    weight = np.array([[1, 0.5, 0.25], [1.5, 0.75, 0], [0, 0, 0]], np.float32)
    assert encoder.best_scales(weight, np.ones(3, np.float32), np.arange(3), steps).tolist() == [1, 1, 1]


def test_more_inputs_or_steps_than_there_is_room_for() -> None:
    weight, octave = random(2, 600), np.ones(2, np.float32)
    for inputs, steps in ((np.arange(513), STEPS), (np.arange(9), np.linspace(1, 1.9, 17, dtype=np.float32))):
        with pytest.raises(ValueError, match="where 512 and 16 may be"):
            encoder.best_scales(weight, octave, inputs, steps)


@given(st.integers(1, 60), st.integers(1, 300), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_squared_error_is_that_of_the_codes(rows: int, columns: int, seed: int) -> None:
    weight = random(rows, columns, seed)
    scale = octave_scales(weight, NEAREST)
    codes = encoder.pack(weight, scale, NEAREST)
    assert encoder.squared_error(weight, scale, codes) == pytest.approx(missed(weight, scale).sum(), rel=1e-5)


def test_threads_share_the_rows_without_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = random(203, 70)
    octave = octave_scales(weight, NEAREST)
    whole = _everything(weight, octave)
    monkeypatch.setattr(threads, "SHARED", 1)
    monkeypatch.setattr(threads, "_cores", lambda: 5)
    for one, other in zip(whole, _everything(weight, octave), strict=True):
        np.testing.assert_array_equal(one, other)


def _everything(weight: Float32, octave: Float32) -> tuple[Float32, UInt8, float]:
    scale = encoder.best_scales(weight, octave, np.arange(70), STEPS)
    codes = encoder.pack(weight, scale, NEAREST)
    return scale, codes, encoder.squared_error(weight, scale, codes)


def test_arrays_in_any_order_and_without_values() -> None:
    weight = random(20, 48)
    scale = octave_scales(weight, NEAREST)
    turned = np.asfortranarray(weight)
    np.testing.assert_array_equal(encoder.pack(turned, scale, NEAREST), encoder.pack(weight, scale, NEAREST))
    np.testing.assert_array_equal(encoder.codes_of(turned.T, NEAREST), encoder.codes_of(weight, NEAREST).T)
    assert encoder.codes_of(np.empty((0, 3), np.float32), NEAREST).shape == (0, 3)


def test_a_library_that_is_missing_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_OPS_LIBRARY", "/nowhere/ops.so")
    with pytest.raises(OperatorLibraryError, match=r"REGC_OPS_LIBRARY names /nowhere/ops\.so"):
        encoder.codes_of(np.ones(3, np.float32), NEAREST)
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(np._core._multiarray_umath.__file__))
    with pytest.raises(OperatorLibraryError, match="has no regc_rf8_codes: it is of another regc"):
        encoder.codes_of(np.ones(3, np.float32), NEAREST)
    monkeypatch.setenv("REGC_OPS_LIBRARY", __file__)
    with pytest.raises(OperatorLibraryError, match=r"test_encoder\.py cannot be loaded"):
        encoder.codes_of(np.ones(3, np.float32), NEAREST)


def test_an_instruction_set_that_there_is_not() -> None:
    with isa("sse9"), pytest.raises(OperatorLibraryError, match="REGC_ISA is 'sse9'"):
        encoder.codes_of(np.ones(3, np.float32), NEAREST)
