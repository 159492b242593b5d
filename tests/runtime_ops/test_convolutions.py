"""Convolutions: kernels, function body and reference evaluator over any window."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .convolutions import Window, convolution, images, packed
from .packed import (
    ISAS,
    assert_same_bits,
    by_body,
    by_kernel,
    by_reference,
    session,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), axes=st.integers(1, 2), seed=st.integers(0, 2**32 - 1))
def test_any_window(data: st.DataObject, axes: int, seed: int) -> None:
    """Odd sizes, pads, strides and dilations; kernels and function body agree bit for bit, with any ending."""
    several = lambda least, most, count: data.draw(st.tuples(*[st.integers(least, most)] * count))  # noqa: E731
    window = Window(several(1, 4, axes), several(1, 3, axes), several(0, 3, 2 * axes), several(1, 3, axes))
    extents = [(k - 1) * d + 1 for k, d in zip(window.kernel_shape, window.dilations, strict=True)]
    pads = [before + after for before, after in zip(window.pads[:axes], window.pads[axes:], strict=True)]
    sizes = [max(1, e - p) + data.draw(st.integers(0, 25)) for e, p in zip(extents, pads, strict=True)]
    count, outputs, channels = (
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 70)),
        4 * data.draw(st.integers(1, 12)),
    )
    taps = int(np.prod(window.kernel_shape))
    inputs = packed(outputs, channels, taps, data.draw(st.sampled_from([None, 16])), seed=seed)
    ending = data.draw(st.sampled_from(["", "Relu", "Add"]))
    places = [(s + p - e) // t + 1 for s, p, e, t in zip(sizes, pads, extents, window.strides, strict=True)]
    x = images(count, channels, *sizes, seed=seed)
    feeds = {"other": images(count, outputs, *places, seed=seed + 1)} if ending == "Add" else {}
    proto = convolution(inputs, window, ["n", channels, *sizes], ending=ending)
    expected = np.asarray(session(proto, library=False).run(None, {"x": x, **feeds})[0])
    assert expected.shape == (count, outputs, *places)
    for name in ISAS:
        assert_same_bits(by_kernel(proto, x, name, **feeds), expected)


@pytest.mark.parametrize("opset", range(12, 23))
def test_the_three_ways_agree(opset: int) -> None:
    proto = convolution(packed(21, 8, 9), Window(strides=(2, 1)), [2, 8, 9, 11], opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    x = images(2, 8, 9, 11)
    assert_same_bits(by_body(proto, x), by_reference(proto, x))
    assert_same_bits(by_kernel(proto, x, "avx512"), by_reference(proto, x))


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("window", [Window(), Window((1, 1), pads=(0, 0, 0, 0))])
def test_special_values(window: Window, name: str) -> None:
    """An image with NaN or infinity gives NaN, whatever lies beside it; zeros and huge and tiny values are exact."""
    x = images(8, 4, 3, 5)
    x[0] = 0
    x[1, 0, 0, 0], x[2, -1, -1, -1], x[3, 0, 0] = np.nan, np.inf, -np.inf
    x[4] = np.linspace(-3e38, 3e38, x[4].size).reshape(x[4].shape)
    x[5] *= np.float32(1e-38)
    x[6] = -0.0
    proto = convolution(packed(18, 4, int(np.prod(window.kernel_shape))), window, [8, 4, 3, 5])
    y = by_kernel(proto, x, name)
    assert_same_bits(y, by_body(proto, x))
    assert np.isnan(y[1:4]).all()
    assert not np.isnan(np.delete(y, [1, 2, 3], axis=0)).any()


@pytest.mark.parametrize("window", [Window(), Window((1, 1), pads=(0, 0, 0, 0))])
@pytest.mark.parametrize("name", ISAS)
def test_threads_and_other_images_do_not_change_a_bit(name: str, window: Window) -> None:
    """Large enough for several blocks of positions, of 16 outputs each."""
    x = images(5, 8, 30, 21)
    proto = convolution(packed(40, 8, int(np.prod(window.kernel_shape))), window, ["n", 8, 30, 21])
    y = by_kernel(proto, x, name)
    assert_same_bits(by_kernel(proto, x, name, threads=2), y)
    assert_same_bits(by_kernel(proto, x[3:4], name), y[3:4])


def test_no_images() -> None:
    proto = convolution(packed(6, 4, 9), Window(), ["n", 4, 5, 5])
    assert by_kernel(proto, images(1, 4, 5, 5)[:0], "avx512").shape == (0, 6, 5, 5)


def test_what_is_added_is_broadcast() -> None:
    proto = convolution(packed(6, 4, 9), Window(), ["n", 4, 5, 7], ending="Add")
    x, other = images(2, 4, 5, 7), images(1, 6, 1, 1, seed=3)
    plain = by_kernel(convolution(packed(6, 4, 9), Window(), ["n", 4, 5, 7]), x, "avx512")
    assert_same_bits(by_kernel(proto, x, "avx512", other=other), plain + other)


def test_weights_that_are_not_constant() -> None:
    inputs, x = packed(20, 8, 9), images(2, 8, 6, 5)
    variable = convolution(inputs, Window(), ["n", 8, 6, 5], variable=tuple(inputs))
    expected = by_kernel(convolution(inputs, Window(), ["n", 8, 6, 5]), x, "avx512")
    assert_same_bits(by_kernel(variable, x, "avx512", **inputs), expected)


def test_shape_inference() -> None:
    proto = convolution(packed(6, 4, 9), Window(strides=(2, 1)), ["n", 4, 9, "w"])
    images_, outputs, height, width = session(proto).get_outputs()[0].shape
    assert (images_, outputs, height) == ("n", 6, 5)
    assert isinstance(width, str)
    assert width != "w"
    sound = Window((5,), (2,), (1, 1), (2,))
    assert session(convolution(packed(6, 4, 5), sound, [1, 4, 20])).get_outputs()[0].shape == [1, 6, 7]


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize(("channels", "group"), [(131072, None), (2048, 16)])
def test_the_largest_sums_are_exact(channels: int, group: int | None, name: str) -> None:
    inputs = packed(3, channels, 1, group)
    inputs["codes"][:] = 0xAA  # all trits are 1
    inputs["multiplier"][:] = 1 if group is None else 64
    proto = convolution(inputs, Window((1, 1), pads=(0, 0, 0, 0)), [1, channels, 1, 1])
    x = np.full((1, channels, 1, 1), 3.5, np.float32)
    unit = np.float32(127 * channels * (1 if group is None else 64)) * (np.float32(3.5) / np.float32(127))
    expected = (unit * inputs["scale"] + inputs["bias"]).reshape(1, 3, 1, 1)
    assert_same_bits(by_kernel(proto, x, name), expected)
    assert_same_bits(by_body(proto, x), expected)
