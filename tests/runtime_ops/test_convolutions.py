"""Convolutions: kernels, function body and reference evaluator over any window, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops import ops
from regc.runtime_ops.endings import ENDINGS

from .packed import (
    ISAS,
    NODE,
    Array,
    Weights,
    assert_same_bits,
    by_body,
    by_kernel,
    by_reference,
    session,
    weights,
)

OP = "TernaryConv"


@dataclass
class Window:
    """The attributes of a node; by default a kernel of 3x3 that keeps the size."""

    kernel_shape: Sequence[int] = (3, 3)
    strides: Sequence[int] = (1, 1)
    pads: Sequence[int] = (1, 1, 1, 1)
    dilations: Sequence[int] = (1, 1)
    without: tuple[str, ...] = field(default=())

    def attributes(self) -> dict[str, list[int]]:
        names = ("kernel_shape", "strides", "pads", "dilations")
        return {name: list(getattr(self, name)) for name in names if name not in self.without}


def convolution(
    inputs: Weights,
    window: Window,
    x_shape: Sequence[int | str],
    *,
    ending: str = "",
    variable: tuple[str, ...] = (),
    function: bool = True,
    opset: int = 17,
) -> onnx.ModelProto:
    """One node NODE; ``other``, when the ending adds it, is an input of the graph like y."""
    names = [*inputs, *ENDINGS[ending].inputs] if ending else [*inputs]
    shapes: dict[str, Any] = {name: inputs[name].shape for name in variable}
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)]
    infos += [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(inputs[name].dtype), shape)
        for name, shape in shapes.items()
    ]
    free = [None] * len(x_shape)
    infos += [helper.make_tensor_value_info("other", TensorProto.FLOAT, free)] if "other" in names else []
    node = helper.make_node(OP + ending, ["x", *names], ["y"], domain=ops.DOMAIN, name=NODE, **window.attributes())
    graph = helper.make_graph(
        [node],
        "one_convolution",
        infos,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, free)],
        [numpy_helper.from_array(value, name) for name, value in inputs.items() if name not in variable],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    functions = ops.functions([OP + ending], opset) if function else []
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION)


def packed(outputs: int, channels: int, taps: int, group: int | None = None, *, seed: int = 0) -> Weights:
    return weights("TernaryMatMul", (outputs, taps * channels), group, seed=seed)


def images(*shape: int, seed: int = 0) -> Array:
    """Images of very different magnitudes."""
    random = np.random.default_rng(seed)
    magnitudes = 10.0 ** random.integers(-6, 6, (shape[0], *[1] * (len(shape) - 1)))
    return (random.standard_normal(shape) * magnitudes).astype(np.float32)


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


MALFORMED: dict[str, tuple[Window, tuple[int, ...], str]] = {
    "no strides": (Window(without=("strides",)), (2, 4, 5, 5), "attribute strides is missing"),
    "three axes": (
        Window((3, 3, 3)),
        (2, 4, 5, 5),
        r"attribute kernel_shape is \[3, 3, 3\], it must be 2 numbers from 1",
    ),
    "short pads": (
        Window(pads=(1, 1)),
        (2, 4, 5, 5),
        r"attribute pads is \[1, 1\], it must be 4 numbers from 0 to 32768",
    ),
    "negative pads": (Window(pads=(1, 1, -1, 1)), (2, 4, 5, 5), r"attribute pads is \[1, 1, -1, 1\]"),
    "no stride": (Window(strides=(0, 1)), (2, 4, 5, 5), r"attribute strides is \[0, 1\], it must be 2 numbers from 1"),
    "huge dilation": (Window(dilations=(1, 2**40)), (2, 4, 5, 5), r"attribute dilations is \[1, 1099511627776\]"),
    "other taps": (Window((3, 2)), (2, 4, 5, 5), "shape says K = 36, it must be the 6 taps .* multiple of 4 channels"),
    "odd channels": (
        Window((2, 3)),
        (2, 6, 5, 5),
        "shape says K = 36, it must be the 6 taps .* multiple of 4 channels",
    ),
    "channels of x": (Window(), (2, 8, 5, 5), r"x has shape \[2, 8, 5, 5\], it must have 4 dimensions and 4 channels"),
    "rank of x": (Window(), (2, 4, 5), r"x has shape \[2, 4, 5\], it must have 4 dimensions"),
    "small x": (Window(pads=(0, 0, 0, 0)), (2, 4, 2, 5), r"x has shape \[2, 4, 2, 5\], the kernel does not fit"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_windows(case: str) -> None:
    window, shape, reason = MALFORMED[case]
    free = [f"d{axis}" for axis in range(len(shape))]
    with pytest.raises(Exception, match=f"ai.regc::{OP} node '{NODE}': {reason}"):
        by_kernel(convolution(packed(6, 4, 9), window, free, function=False), images(*shape), "avx512")


@pytest.mark.parametrize("variable", [True, False])
def test_malformed_weights(variable: bool) -> None:
    for name, value, reason in (
        ("codes", np.zeros((1, 2, 16, 4), np.uint8), r"codes has shape \[1, 2, 16, 4\], expected \[1, 3, 16, 4\]"),
        ("scale", np.ones(5, np.float32), r"scale has shape \[5\], expected \[6\]"),
        ("shape", np.array([6, -36, -36]), "shape says K = -36, it must be 1 to"),
    ):
        inputs = {**packed(6, 4, 9), name: value}
        proto = convolution(inputs, Window(), [1, 4, 5, 5], variable=tuple(inputs) if variable else (), function=False)
        with pytest.raises(Exception, match=f"ai.regc::{OP} node '{NODE}': {reason}"):
            by_kernel(proto, images(1, 4, 5, 5), "avx512", **(inputs if variable else {}))


def test_too_many_inputs_for_exact_sums() -> None:
    """In float32, as the function body adds: up to 2^24."""
    window = Window((1, 1), pads=(0, 0, 0, 0))
    inputs = packed(1, 131076, 1)
    with pytest.raises(Exception, match="shape says K = 131076, sums of products are exact up to 131072"):
        session(convolution(inputs, window, [1, 131076, 1, 1], function=False))
    inputs = packed(1, 2052, 1, 16)
    inputs["multiplier"][:] = 64
    with pytest.raises(Exception, match="shape says K = 2052, sums of products are exact up to 2048"):
        session(convolution(inputs, window, [1, 2052, 1, 1], function=False))


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
