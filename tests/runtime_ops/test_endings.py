"""What follows the product in the variants of every operator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops import ops
from regc.runtime_ops.endings import ENDINGS

from .packed import (
    ISAS,
    OPERATORS,
    Array,
    Weights,
    assert_same_bits,
    by_body,
    by_kernel,
    by_reference,
    model,
    session,
    weights,
)

ACTIVATIONS = [suffix for suffix, ending in ENDINGS.items() if not ending.inputs]
K = 96


def activated(suffix: str, product: Array) -> Array:
    """The exact activation, in float64."""
    wide = product.astype(np.float64)
    if suffix == "Relu":
        return np.maximum(wide, 0)
    if suffix == "Silu":
        return wide / (1 + np.exp(-wide))
    if suffix == "GeluTanh":
        return wide / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    return wide / 2 * np.vectorize(math.erfc)(-wide / math.sqrt(2))


def normal(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def small(op: str, outputs: int = 37) -> Weights:
    """Weights whose products have a magnitude of about 4."""
    inputs = weights(op, (outputs, K), 32, seed=5)
    inputs["scale"] *= np.float32(4 / np.std(by_kernel(model(op, inputs), normal(40, K), "avx512")))
    return inputs


def with_other(suffix: str, op: str, inputs: Weights, other_shape: Any = None, x_shape: Any = None) -> onnx.ModelProto:
    """A model whose input ``other`` is added; ``y`` is left to shape inference."""
    variable = {**inputs, "other": np.zeros((1, 1), np.float32)}
    proto = model(op + suffix, variable, variable=("other",), x_shape=x_shape, shape_of_y=False)
    shape = ["rows", len(inputs["scale"])] if other_shape is None else other_shape
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("other", TensorProto.FLOAT, shape))
    return proto


@pytest.mark.parametrize("suffix", ACTIVATIONS)
@pytest.mark.parametrize("op", OPERATORS)
def test_activations(op: str, suffix: str) -> None:
    """All instruction sets and both kernels of a format agree bit for bit, and with the body to a tolerance."""
    inputs, x = small(op), normal(40, K)
    product = by_kernel(model(op, inputs), x, "avx512")
    proto = model(op + suffix, inputs)
    onnx.checker.check_model(proto, full_check=True)
    results = [by_kernel(proto, rows, name) for name in ISAS for rows in (x, x[:1])]
    for result in results[1:]:
        assert_same_bits(result, results[0][: len(result)])
    tolerance = 3e-7 * np.maximum(1, np.abs(product))
    assert (np.abs(results[0] - activated(suffix, product)) <= tolerance).all()
    for body in (by_body(proto, x), by_reference(proto, x)):
        np.testing.assert_allclose(body, results[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", ENDINGS)
@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20, 22])
def test_bodies_call_the_base(opset: int, suffix: str) -> None:
    functions = ops.functions([f"TernaryMatMul{suffix}"], opset)
    assert [function.name for function in functions] == ["TernaryMatMul", f"TernaryMatMul{suffix}"]
    assert functions[1].ByteSize() < functions[0].ByteSize()
    inputs = weights("TernaryMatMul", (21, 50), 32)
    if suffix == "Add":
        inputs["other"] = normal(4, 21)
    proto = model(f"TernaryMatMul{suffix}", inputs, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    x = normal(4, 50)
    np.testing.assert_allclose(by_body(proto, x), by_kernel(proto, x, "avx512"), rtol=1e-6, atol=1e-6)


def identity(values: Array, suffix: str, name: str) -> Array:
    """The activation of each value by the kernel: one output with weight 1 in float32."""
    inputs = weights("GatedMatMul", (1, 1), biases=1)
    inputs |= {"weights": np.zeros((1, 16), np.float32), "threshold": np.float32([0])}
    inputs["weights"][0, 0] = 1
    inputs |= {"scale": np.float32([1]), "bias": np.float32([0]), "norms": np.float32([1])}
    return by_kernel(model(f"GatedMatMul{suffix}", inputs), values[:, None], name)[:, 0]


@pytest.mark.parametrize("suffix", ACTIVATIONS)
def test_activations_over_all_magnitudes(suffix: str) -> None:
    bits = np.arange(0, 1 << 32, 77_777, np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.linspace(-30, 30, 20_001, dtype=np.float32)])
    results = [identity(values, suffix, name) for name in ISAS]
    for result in results[1:]:
        assert_same_bits(result, results[0])
    with np.errstate(over="ignore", invalid="ignore"):
        exact = activated(suffix, values)
    assert (np.abs(results[0] - exact) <= 3e-7 * np.maximum(1, np.abs(values))).all()
    assert (results[0][values < -100] == 0).all()
    assert (results[0][values > 100] == values[values > 100]).all()


@pytest.mark.parametrize("suffix", ACTIVATIONS)
@pytest.mark.parametrize("name", ISAS)
def test_activations_of_what_is_not_finite(suffix: str, name: str) -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0, -0.0], np.float32)
    result = identity(special, suffix, name)
    minus_infinity = 0 if suffix == "Relu" else np.nan
    np.testing.assert_array_equal(result, [np.nan, np.inf, minus_infinity, 0, 0])


@pytest.mark.parametrize("op", OPERATORS)
def test_add(op: str) -> None:
    inputs, x, other = small(op), normal(40, K), normal(40, 37, seed=4)
    product = by_kernel(model(op, inputs), x, "avx512")
    proto = with_other("Add", op, inputs)
    for name in ISAS:
        assert_same_bits(by_kernel(proto, x, name, other=other), product + other)
        assert_same_bits(by_kernel(proto, x[:2], name, other=other[:2]), product[:2] + other[:2])
    (body,) = session(proto, library=False).run(None, {"x": x, "other": other})
    np.testing.assert_allclose(body, product + other, rtol=1e-4, atol=1e-4)


SHAPES = [
    ((3, 5, K), (37,)),
    ((3, 5, K), (1,)),
    ((3, 5, K), ()),
    ((3, 5, K), (5, 37)),
    ((3, 5, K), (3, 1, 37)),
    ((3, 5, K), (1, 5, 1)),
    ((1, K), (4, 37)),
    ((K,), (4, 37)),
    ((1, 5, K), (2, 3, 1, 37)),
    ((0, 5, K), (0, 5, 37)),
    ((0, 5, K), (1, 5, 37)),
    ((1, 5, K), (0, 1, 37)),
]


@pytest.mark.parametrize(("x_shape", "shape"), SHAPES)
def test_other_is_broadcast(x_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    inputs, x, other = small("TernaryMatMul"), normal(*x_shape), normal(*shape, seed=4)
    product = by_kernel(model("TernaryMatMul", inputs, x_shape=list(x_shape)), x, "avx512")
    for known in (True, False):
        axes = [list(x_shape), list(shape)] if known else [[None] * (len(x_shape) - 1) + [K], [None] * len(shape)]
        proto = with_other("Add", "TernaryMatMul", inputs, axes[1], axes[0])
        assert_same_bits(by_kernel(proto, x, "avx512", other=other), product + other)


@pytest.mark.parametrize("shape", [(5, 36), (4, 37), (2, 1, 3, 37)])
def test_other_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    proto = with_other("Add", "RF8MatMul", small("RF8MatMul"), [None] * len(shape), [None, 5, K])
    pattern = rf"ai.regc::RF8MatMulAdd node .*other has shape \[{', '.join(map(str, shape))}\], which cannot be added"
    with pytest.raises(Exception, match=pattern):
        by_kernel(proto, normal(2, 5, K), "avx512", other=normal(*shape))


@pytest.mark.parametrize(
    ("x_shape", "shape", "expected"),
    [
        (["a", 5, K], ["a", 5, 37], ["a", 5, 37]),
        (["a", K], ["b", 37], [None, 37]),
        (["a", K], [4, 37], [4, 37]),
        ([7, K], ["b", 37], [7, 37]),
        ([1, K], ["b", 37], ["b", 37]),
        (["a", K], ["b", "a", 37], ["b", "a", 37]),
        (["a", K], [37], ["a", 37]),
    ],
)
def test_shape_of_a_sum(x_shape: list[Any], shape: list[Any], expected: list[Any]) -> None:
    inferred = session(with_other("Add", "RF8MatMul", small("RF8MatMul"), shape, x_shape)).get_outputs()[0].shape
    assert len(inferred) == len(expected)
    for ours, theirs in zip(inferred, expected, strict=True):
        assert ours == theirs if theirs is not None else isinstance(ours, str) and ours not in {"a", "b"}


def test_a_library_without_the_variant_runs_the_base() -> None:
    """The kernel of the base runs inside the body of a variant that the library does not know."""
    inputs = weights("TernaryMatMul", (6, 20))
    proto = model("TernaryMatMulRelu", inputs)
    proto.functions[1].name = proto.graph.node[0].op_type = "TernaryMatMulLater"
    x = normal(3, 20)
    expected = np.maximum(by_kernel(model("TernaryMatMul", inputs), x, "generic"), 0)
    np.testing.assert_array_equal(by_kernel(proto, x, "generic"), expected)
    with pytest.raises(Exception, match="REGC_ISA"):
        by_kernel(proto, x, "none")


def test_threads_do_not_change_a_bit() -> None:
    inputs, x, other = weights("TernaryMatMul", (650, 300), 64), normal(100, 300), normal(100, 650, seed=4)
    for suffix in ACTIVATIONS:
        proto = model(f"TernaryMatMul{suffix}", inputs)
        assert_same_bits(by_kernel(proto, x, "avx512", threads=2), by_kernel(proto, x, "avx512"))
    proto = with_other("Add", "TernaryMatMul", inputs)
    one, two = (by_kernel(proto, x, "avx512", threads=threads, other=other) for threads in (1, 2))
    assert_same_bits(one, two)


def test_other_may_be_a_constant() -> None:
    inputs = {**small("RF8MatMul"), "other": normal(5, 37)}
    proto = model("RF8MatMulAdd", inputs)
    assert numpy_helper.to_array(proto.graph.initializer[-1]).shape == (5, 37)
    np.testing.assert_allclose(by_kernel(proto, normal(5, K), "avx512"), by_body(proto, normal(5, K)), atol=1e-4)
