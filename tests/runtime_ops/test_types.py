"""Activations of float16 and bfloat16: the library's operators round what they compute in float32, and nothing else."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from regc.runtime_ops.ops import TYPED, functions

from .packed import INT8, OPERATORS, Array, Weights, assert_same_bits, by_body, by_kernel, model, weights

TYPES = {TensorProto.FLOAT16: np.dtype(np.float16), TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16)}
SHAPE = (37, 100)


def typed_model(op: str, inputs: Weights, kind: int, *, bodies: bool = True) -> onnx.ModelProto:
    """One operator between casts: x float32, to ``kind``, and back."""
    proto = model(op, inputs, variable=("other",) if "other" in inputs else (), function=False)
    (node,) = proto.graph.node
    halves = [name for name in ("x", "other") if name in node.input]
    casts = [helper.make_node("Cast", [name], [f"{name}.half"], to=kind) for name in halves]
    node.input[:] = [f"{name}.half" if name in halves else name for name in node.input]
    node.output[:] = ["y.half"]
    nodes = [*casts, node, helper.make_node("Cast", ["y.half"], ["y"], to=TensorProto.FLOAT)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    if bodies:
        proto.functions.extend(functions([op], 17, TYPED))
    return proto


def rounded(values: Array, kind: int) -> Array:
    return np.asarray(values.astype(TYPES[kind]).astype(np.float32))


def normal(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("op", OPERATORS)
def test_a_result_is_rounded_once(op: str, kind: int) -> None:
    inputs, x = weights(op, SHAPE, 32), normal(5, SHAPE[1])
    y = by_kernel(typed_model(op, inputs, kind), x, "avx512")
    assert_same_bits(y, rounded(by_kernel(model(op, inputs), rounded(x, kind), "avx512"), kind))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("other_shape", [(5, 37), (37,), (2, 1, 1)])
def test_sums(other_shape: tuple[int, ...], kind: int) -> None:
    inputs, x, other = weights("TernaryMatMul", SHAPE), normal(5, SHAPE[1]), normal(*other_shape)
    inputs["other"] = other
    y = by_kernel(typed_model("TernaryMatMulAdd", inputs, kind), x, "avx512", other=other)
    plain = model("TernaryMatMulAdd", inputs, variable=("other",))
    expected = by_kernel(plain, rounded(x, kind), "avx512", other=rounded(other, kind))
    assert_same_bits(y, rounded(expected, kind))


@pytest.mark.parametrize("op", [*INT8, "TernaryMatMulGelu", "RF8MatMulRelu"])
def test_bodies_say_the_same(op: str) -> None:
    inputs, x = weights(op.removesuffix("Gelu").removesuffix("Relu"), SHAPE, 32), normal(3, SHAPE[1])
    proto = typed_model(op, inputs, TensorProto.FLOAT16)
    onnx.checker.check_model(proto, full_check=True)
    ours, body = by_kernel(proto, x, "avx512"), by_body(proto, x)
    if op in INT8:
        assert_same_bits(body, ours)
    np.testing.assert_allclose(body, ours, rtol=2.0**-10, atol=2.0**-12)


@pytest.mark.parametrize("kind", TYPES)
def test_every_value_and_every_rounding(kind: int) -> None:
    """All values there are times factors that hit ties, the largest and the smallest results, and what is beyond."""
    one = weights("TernaryMatMulFloat", (6, 1))
    one["codes"][:] = 0xAA
    one["scale"] = np.array([1, 1 + 2.0**-9, 2.0**-8 * 1.25, 1.5, 2.0**-13, 2.0**9], np.float32)
    one["bias"] = np.zeros(1, np.float32)
    x = np.arange(1 << 16, dtype=np.uint16).view(TYPES[kind]).astype(np.float32)[:, None]
    y = by_kernel(typed_model("TernaryMatMulFloat", one, kind), x, "avx512")
    with np.errstate(all="ignore"):
        expected = rounded(x * one["scale"] + np.float32(0), kind)
    np.testing.assert_array_equal(y, expected)
