"""Convolutions by operators of ours: the same result as Conv with the weights that they stand for, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from regc.compiler.lower.window import window
from regc.passes import LowRank, Ternary
from support import Array, model, normal, op_types, run

from .same import compile_proto

CHANNELS, OUTPUTS = 8, 32


def trits(*shape: int) -> Array:
    """Weights that ternary codes hold exactly."""
    values = np.sign(normal(*shape)).astype(np.float32)
    values.reshape(shape[0], -1)[:, ::3] = 0
    return values * np.linspace(0.5, 1, shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1))


def agree(proto: onnx.ModelProto, small: onnx.ModelProto, **feeds: Array) -> None:
    """Kernel, function and reference give the same bits, as near to the original as int8 activations are."""
    exact = ReferenceEvaluator(small).run(None, feeds)
    for library in (True, False):
        for ours, body, original in zip(run(small, feeds, library=library), exact, run(proto, feeds), strict=True):
            np.testing.assert_array_equal(ours, body)
            np.testing.assert_allclose(ours, original, rtol=0.02, atol=0.02 * np.abs(original).max())


def conv(nodes: str, *x: int | str, opset: int = 17, extra: str = "", **weights: Array) -> onnx.ModelProto:
    sizes = ",".join(map(str, x))
    free = ",".join("abcd"[: len(x)])
    return model(f"g (float[{sizes}] x{extra}) => (float[{free}] y) {{ {nodes} }}", opset=opset, **weights)


K3, K1, K5 = trits(OUTPUTS, CHANNELS, 3, 3), trits(OUTPUTS, 64, 1, 1), trits(OUTPUTS, 16, 5)
BIAS = normal(OUTPUTS, seed=3)
WINDOWS: dict[str, tuple[str, tuple[int | str, ...], Array]] = {
    "plain": ("y = Conv(x, w)", (2, CHANNELS, 7, 9), K3),
    "all written out": (
        "y = Conv<kernel_shape=[3,3], strides=[2,1], pads=[1,0,2,3], dilations=[1,2]>(x, w)",
        (2, CHANNELS, 9, 11),
        K3,
    ),
    "valid": ('y = Conv<auto_pad="VALID", strides=[2,2]>(x, w)', (1, CHANNELS, 8, 9), K3),
    "same, upper": ('y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)', (1, CHANNELS, 8, 9), K3),
    "same, lower": ('y = Conv<auto_pad="SAME_LOWER", strides=[2,3]>(x, w)', (1, CHANNELS, 8, 10), K3),
    "same, any size": ('y = Conv<auto_pad="SAME_UPPER">(x, w)', ("n", CHANNELS, "h", "w"), K3),
    "pointwise": ("y = Conv(x, w)", (2, 64, 5, 3), K1),
    "pointwise, stride": ("y = Conv<strides=[2,2]>(x, w)", (2, 64, 5, 4), K1),
    "one axis": ("y = Conv<strides=[2], pads=[2,2]>(x, w)", (2, 16, 30), K5),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str) -> None:
    nodes, shape, kernel = WINDOWS[name]
    proto = conv(nodes, *shape, w=kernel)
    small = compile_proto(proto, Ternary())
    assert op_types(small) == ["ai.regc::TernaryConv"]
    known = [size if isinstance(size, int) else 6 for size in shape]
    agree(proto, small, x=normal(*known, seed=5))


FOLLOWED = {
    "bias": ("y = Conv(x, w, b)", "TernaryConv", {"b": BIAS}),
    "relu": ("c = Conv(x, w, b) y = Relu(c)", "TernaryConvRelu", {"b": BIAS}),
    "residual": ("c = Conv(x, w, b) y = Add(r, c)", "TernaryConvAdd", {"b": BIAS}),
    "residual without bias": ("c = Conv(x, w) y = Add(c, r)", "TernaryConvAdd", {}),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_follows_goes_into_the_operator(name: str) -> None:
    nodes, operator, weights = FOLLOWED[name]
    residual = "r" in nodes.split("Add(")[-1] and "Add" in nodes
    extra = f", float[2,{OUTPUTS},5,6] r" if residual else ""
    proto = conv(nodes, 2, CHANNELS, 7, 8, extra=extra, w=K3, **weights)
    small = compile_proto(proto, Ternary())
    assert op_types(small) == [f"ai.regc::{operator}"]
    feeds = {"r": normal(2, OUTPUTS, 5, 6, seed=9)} if residual else {}
    agree(proto, small, x=normal(2, CHANNELS, 7, 8, seed=5), **feeds)


def test_a_constant_added_along_the_width_is_no_bias() -> None:
    """Its size happens to be the number of outputs."""
    proto = conv("c = Conv<pads=[1,1,1,1]>(x, w) y = Add(c, b)", 1, CHANNELS, 4, OUTPUTS, w=K3, b=BIAS)
    small = compile_proto(proto, Ternary())
    assert op_types(small) == ["ai.regc::TernaryConv", "Add"]
    agree(proto, small, x=normal(1, CHANNELS, 4, OUTPUTS, seed=5))


def test_a_kernel_that_two_nodes_read_is_stored_once() -> None:
    nodes = "a = Conv<pads=[1,1,1,1]>(x, w) b = Conv<pads=[2,2,2,2], dilations=[2,2]>(x, w) y = Mul(a, b)"
    proto = conv(nodes, 1, CHANNELS, 6, 6, w=K3)
    small = compile_proto(proto, Ternary())
    assert op_types(small) == ["ai.regc::TernaryConv", "ai.regc::TernaryConv", "Mul"]
    assert sum("codes" in tensor.name for tensor in small.graph.initializer) == 1
    agree(proto, small, x=normal(1, CHANNELS, 6, 6, seed=5))


def test_float16() -> None:
    proto = model(
        f"g (float16[1,{CHANNELS},6,6] x) => (float16[a,b,c,d] y) {{ y = Conv(x, w, b) }}",
        w=trits(96, CHANNELS, 3, 3).astype(np.float16),
        b=normal(96).astype(np.float16),
    )
    small = compile_proto(proto, Ternary())
    assert op_types(small) == ["Cast", "ai.regc::TernaryConv", "Cast"]
    feeds = {"x": normal(1, CHANNELS, 6, 6, seed=5).astype(np.float16)}
    (ours,), (original,) = run(small, feeds, library=True), run(proto, feeds)
    np.testing.assert_allclose(ours, original, rtol=0.03, atol=0.03 * np.abs(original).max())


def test_both_factors_of_a_kernel() -> None:
    weight = (normal(96, 64) @ normal(64, 32 * 9, seed=2)).reshape(96, 32, 3, 3)
    proto = conv("c = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b) y = Relu(c)", 1, 32, 7, 7, w=weight, b=normal(96))
    small = compile_proto(proto, LowRank(rank=64, force=True), Ternary())
    assert op_types(small) == ["ai.regc::TernaryConv", "ai.regc::TernaryConvRelu"]
    feeds = {"x": normal(1, 32, 7, 7, seed=5)}
    for ours, body in zip(run(small, feeds, library=True), run(small, feeds), strict=True):
        np.testing.assert_array_equal(ours, body)


DECODED: dict[str, tuple[dict[str, Any], Ternary, Array, str]] = {
    "few inputs": ({}, Ternary(), trits(64, 32, 1, 1), ""),
    "channels not in fours": ({}, Ternary(), trits(OUTPUTS, 10, 3, 3), ""),
    "groups of inputs across taps": ({}, Ternary(group=16), normal(64, CHANNELS, 3, 3), ""),
    "float activations": ({}, Ternary(act="float32"), K3, ""),
    "five trits a byte": ({}, Ternary(storage="1.6bit"), K3, ""),
    "old opset": ({"opset": 11}, Ternary(), K3, ""),
    "groups of channels": ({}, Ternary(), trits(OUTPUTS, 16, 3, 3), "group=2"),
    "three axes": ({}, Ternary(), trits(OUTPUTS, 4, 3, 3, 3), ""),
}


@pytest.mark.parametrize("name", DECODED)
def test_decoded_where_there_is_no_operator_or_it_does_not_pay(name: str) -> None:
    options, pass_, kernel, attributes = DECODED[name]
    channels = kernel.shape[1] * (2 if attributes else 1)
    shape = (1, channels, *[6] * (kernel.ndim - 2))
    attributes = f"<{attributes}>" if attributes else ""
    proto = (
        conv(f"y = Conv{attributes}(x, w)", *shape, w=kernel, **options)
        if kernel.ndim == 4
        else model(f"g (float[1,{channels},6,6,6] x) => (float[a,b,c,d,e] y) {{ y = Conv(x, w) }}", w=kernel)
    )
    small = compile_proto(proto, pass_)
    assert "Conv" in op_types(small)
    assert not any("TernaryConv" in op for op in op_types(small))


def test_pointwise_kernels_may_have_groups_of_inputs() -> None:
    proto = conv("y = Conv(x, w)", 2, 64, 5, 3, w=normal(OUTPUTS, 64, 1, 1))
    small = compile_proto(proto, Ternary(group=16))
    assert op_types(small) == ["ai.regc::TernaryConv"]
    feeds = {"x": normal(2, 64, 5, 3, seed=5)}
    np.testing.assert_array_equal(run(small, feeds, library=True)[0], run(small, feeds)[0])


def test_window_without_an_answer() -> None:
    assert window({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (3, 3), None) is None
    assert window({"auto_pad": "SAME_UPPER", "strides": [2, 1]}, (3, 3), ["h", 5]) is None
    assert window({"pads": [-1, 0]}, (3,), None) is None
    assert window({"auto_pad": "SAME_LOWER", "strides": [1, 2]}, (4, 3), ["h", 5]) == {
        "kernel_shape": [4, 3],
        "strides": [1, 2],
        "pads": [2, 1, 1, 1],
        "dilations": [1, 1],
    }
