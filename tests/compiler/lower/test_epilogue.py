"""What follows a product goes into its operator, and only then when nothing else can tell."""

from __future__ import annotations

import math
import re

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from regc.compiler import compile_model
from regc.passes import RF8, LowRank, Ternary
from support import Array, model, normal, op_types, run

from .same import compile_proto

ROWS, INPUTS, OUTPUTS = 6, 64, 48
W = normal(INPUTS, OUTPUTS)
BIAS = normal(OUTPUTS, seed=3)
MATMUL = "p = MatMul(x, w) "


def graph(nodes: str, inputs: str = "", outputs: str = "y", *, opset: int = 17, **weights: Array) -> onnx.ModelProto:
    """A model of nodes on x ``[2, n, INPUTS]`` and w, with more inputs and outputs of any shape."""
    head = f"float[2,n,{INPUTS}] x{inputs}"
    tail = ", ".join(f"float[a{i},b{i},c{i}] {name}" for i, name in enumerate(outputs.split()))
    return model(f"g ({head}) => ({tail}) {{ {nodes} }}", opset=opset, **{"w": W, "b": BIAS, **weights})


def agree(proto: onnx.ModelProto, small: onnx.ModelProto, **feeds: Array) -> None:
    """As near as RF8 is to the weights, which is the same for a model in which nothing was merged."""
    feeds = {"x": normal(2, ROWS, INPUTS, seed=7), **feeds}
    expected = run(proto, feeds)
    exact = ReferenceEvaluator(small).run(None, feeds)
    for library in (True, False):
        for ours, body, original in zip(run(small, feeds, library=library), exact, expected, strict=True):
            np.testing.assert_allclose(ours, body, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(ours, original, rtol=0.1, atol=0.1 * np.abs(original).max())


CONSTANTS = {
    "s": f"float {{{math.sqrt(2)!r}}}",
    "k": f"float {{{math.sqrt(2 / math.pi)!r}}}",
    "c": "float {0.044715}",
    "one": "float {1}",
    "half": "float[1] {0.5}",
    "three": "float {3}",
}
ACTIVATIONS = {
    "relu": ("y = Relu(p)", "Relu", 17),
    "gelu of torch": ("d = Div(p, s) e = Erf(d) a = Add(e, one) m = Mul(p, a) y = Mul(m, half)", "Gelu", 17),
    "gelu, half first": ("d = Div(p, s) e = Erf(d) a = Add(one, e) h = Mul(half, p) y = Mul(a, h)", "Gelu", 17),
    "gelu, half inside": ("d = Div(p, s) e = Erf(d) a = Add(e, one) h = Mul(a, half) y = Mul(p, h)", "Gelu", 17),
    "gelu, one operator": ("y = Gelu(p)", "Gelu", 20),
    "gelu by tanh": (
        "q = Pow(p, three) l = Mul(q, c) i = Add(p, l) j = Mul(i, k) t = Tanh(j) a = Add(t, one) m = Mul(p, a) "
        "y = Mul(m, half)",
        "GeluTanh",
        17,
    ),
    "gelu by tanh, products": (
        "q = Mul(p, p) r = Mul(p, q) l = Mul(c, r) i = Add(l, p) j = Mul(k, i) t = Tanh(j) a = Add(one, t) "
        "h = Mul(half, p) y = Mul(h, a)",
        "GeluTanh",
        17,
    ),
    "gelu by tanh, one operator": ('y = Gelu<approximate = "tanh">(p)', "GeluTanh", 20),
    "silu": ("f = Sigmoid(p) y = Mul(p, f)", "Silu", 17),
    "silu, turned": ("f = Sigmoid(p) y = Mul(f, p)", "Silu", 17),
    "silu, written out": ("m = Neg(p) e = Exp(m) a = Add(one, e) y = Div(p, a)", "Silu", 17),
}


def with_constants(nodes: str) -> str:
    """The nodes behind Constant nodes for the constants that they name, as exporters write them."""
    used = [name for name in CONSTANTS if re.search(rf"\b{name}[,)]", nodes)]
    return "".join(f"{name} = Constant<value = {CONSTANTS[name]}>() " for name in used) + nodes


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("bias", ["", "u = MatMul(x, w) p = Add(u, b) ", "u = MatMul(x, w) p = Add(b, u) "])
def test_activations(name: str, bias: str) -> None:
    nodes, ending, opset = ACTIVATIONS[name]
    proto = graph(with_constants((bias or MATMUL) + nodes), opset=opset)
    small = compile_proto(proto)
    assert op_types(small) == [f"ai.regc::RF8MatMul{ending}"]
    agree(proto, small)


def test_swish() -> None:
    small = compile_proto(graph(MATMUL + "y = Swish(p)", opset=24))
    assert op_types(small) == ["ai.regc::RF8MatMulSilu"]
    assert op_types(compile_proto(graph(MATMUL + "y = Swish<alpha = 2.0>(p)", opset=24)))[1:] == ["Swish"]


@pytest.mark.parametrize("shape", [(OUTPUTS,), (1, OUTPUTS), (1, 1, OUTPUTS), (1,), ()])
def test_bias(shape: tuple[int, ...]) -> None:
    """Also a constant with more axes, when x is known to have as many."""
    proto = graph(MATMUL + "y = Add(p, b)", b=BIAS[: math.prod(shape)].reshape(shape))
    small = compile_proto(proto)
    assert op_types(small) == ["ai.regc::RF8MatMul"]
    agree(proto, small)


def test_gemm_with_bias_and_activation() -> None:
    proto = model(
        f"g (float[n,{INPUTS}] x) => (float[n,{OUTPUTS}] y) {{ p = Gemm<beta = 2.0>(x, w, b) y = Relu(p) }}",
        w=W,
        b=BIAS,
    )
    small = compile_proto(proto)
    assert op_types(small) == ["ai.regc::RF8MatMulRelu"]
    agree(proto, small, x=normal(ROWS, INPUTS, seed=7))


@pytest.mark.parametrize("order", ["u, r", "r, u"])
def test_residual(order: str) -> None:
    """Also one that is computed between the product and the sum."""
    proto = graph(
        f"p = MatMul(x, w) u = Add(p, b) r = Neg(z) y = Add({order})",
        inputs=f", float[2,n,{OUTPUTS}] z",
    )
    small = compile_proto(proto)
    assert op_types(small) == ["Neg", "ai.regc::RF8MatMulAdd"]
    agree(proto, small, z=normal(2, ROWS, OUTPUTS, seed=8))


@pytest.mark.parametrize("shape", ["n,48", "1,1,1", "3,2,1,48"])
def test_a_residual_that_is_broadcast(shape: str) -> None:
    sizes = [ROWS if size == "n" else int(size) for size in shape.split(",")]
    proto = graph(MATMUL + "y = Add(p, z)", inputs=f", float[{shape}] z")
    if len(sizes) == 4:
        proto.graph.output[0].type.tensor_type.shape.dim.add()
    small = compile_proto(proto)
    assert op_types(small) == ["ai.regc::RF8MatMulAdd"]
    agree(proto, small, z=normal(*sizes, seed=8))


def test_two_products_that_are_added() -> None:
    proto = graph("p = MatMul(x, w) q = MatMul(x, v) y = Add(p, q)", v=normal(INPUTS, OUTPUTS, seed=5))
    small = compile_proto(proto)
    assert sorted(op_types(small)) == ["ai.regc::RF8MatMul", "ai.regc::RF8MatMulAdd"]
    agree(proto, small)


SEPARATE = {
    "product is an output": (MATMUL + "y = Relu(p)", "y p"),
    "product is read twice": (MATMUL + "y = Relu(p) z = Neg(p)", "y z"),
    "biased product is an output": ("u = MatMul(x, w) p = Add(u, b) y = Relu(p)", "y p"),
    "inside of an activation is an output": (MATMUL + "s = Sigmoid(p) y = Mul(p, s)", "y s"),
    "inside of an activation is read": (MATMUL + "s = Sigmoid(p) y = Mul(p, s) z = Neg(s)", "y z"),
    "another factor": (MATMUL + "c = Constant<value = float {1.7}>() t = Mul(p, c) s = Sigmoid(t) y = Mul(p, s)", "y"),
    "added to itself": (MATMUL + "y = Add(p, p)", "y"),
    "another activation": (MATMUL + "y = Tanh(p)", "y"),
    "constant for each row": (MATMUL + "y = Add(p, v)", "y"),
    "read in a branch": (
        MATMUL + "c = Constant<value = bool {1}>() y = If(c)<then_branch = t () => (float[a,b,c] r) { r = Relu(p) }, "
        "else_branch = e () => (float[a,b,c] r) { r = Neg(x) }>",
        "y",
    ),
}


@pytest.mark.parametrize("name", SEPARATE)
def test_what_others_read_stays(name: str) -> None:
    nodes, outputs = SEPARATE[name]
    proto = graph(nodes, outputs=outputs, v=normal(ROWS, 1))
    small = compile_proto(proto)
    assert [op for op in op_types(small) if op.startswith("ai.regc")] == ["ai.regc::RF8MatMul"]
    assert not {"MatMul", "Gemm"} & set(op_types(small))
    agree(proto, small)


def test_a_bias_that_would_change_the_shape_stays() -> None:
    """A product of one output is widened by a constant of several values."""
    proto = graph(MATMUL + "y = Add(p, b)", w=normal(INPUTS * 40, 1)[:INPUTS], b=BIAS)
    narrow = compile_model(proto, [RF8()])
    assert not narrow.changed or op_types(narrow.model.to_proto())[-1] == "Add"
    proto = model(
        f"g (float[{INPUTS}] x) => (float[1,{OUTPUTS}] y) {{ p = MatMul(x, w) y = Add(p, b) }}", w=W, b=BIAS[None]
    )
    small = compile_proto(proto)
    assert op_types(small) == ["ai.regc::RF8MatMul", "Add"]
    agree(proto, small, x=normal(INPUTS))


def test_float16_stays_as_it_was_rounded() -> None:
    text = f"g (float16[n,{INPUTS}] x) => (float16[n,{OUTPUTS}] y) {{ p = MatMul(x, w) u = Add(p, b) y = Relu(u) }}"
    small = compile_proto(model(text, w=W.astype(np.float16), b=BIAS.astype(np.float16)))
    assert op_types(small) == ["Cast", "ai.regc::RF8MatMul", "Cast", "Add", "Relu"]


def test_old_broadcasting_stays() -> None:
    """Before opset 7, Add had attributes of its own for this."""
    text = f"g (float[4,{INPUTS}] x) => (float[4,{OUTPUTS}] y) {{ p = MatMul(x, w) y = Add<broadcast = 1>(p, b) }}"
    small = compile_model(model(text, opset=6, w=W, b=BIAS), [RF8()]).model.to_proto()
    assert "Add" in op_types(small)


def test_products_and_sums_of_factors() -> None:
    proto = graph("u = MatMul(x, w) p = Add(u, b) y = Relu(p)", w=normal(INPUTS, 256), b=normal(256))
    small = compile_proto(proto, LowRank(rank=24), RF8())
    assert op_types(small) == ["ai.regc::RF8MatMul", "ai.regc::RF8MatMulRelu"]
    plain = compile_proto(proto, LowRank(rank=24))
    assert op_types(plain) == ["MatMul", "MatMul", "Add", "Relu"]


def test_exact_sums_with_an_epilogue() -> None:
    """Ternary with int8 activations: bias, ReLU and residual give the very bits of separate nodes."""
    nodes = "u = MatMul(x, w) p = Add(u, b) r = Relu(p) v = MatMul(r, w2) y = Add(v, x)"
    proto = graph(nodes, w=normal(INPUTS, 96), b=normal(96), w2=normal(96, INPUTS))
    small = compile_proto(proto, Ternary())
    assert op_types(small) == ["ai.regc::TernaryMatMulRelu", "ai.regc::TernaryMatMulAdd"]
    feeds = {"x": normal(2, ROWS, INPUTS, seed=7)}
    with_library, without = (run(small, feeds, library=way)[0] for way in (True, False))
    np.testing.assert_array_equal(with_library, without)


def test_nothing_is_left_of_what_was_merged() -> None:
    nodes, ending, opset = ACTIVATIONS["gelu of torch"]
    small = compile_proto(graph(with_constants(MATMUL + nodes), opset=opset))
    assert [node.op_type for node in small.graph.node] == [f"RF8MatMul{ending}"]
    assert "w" not in [tensor.name for tensor in small.graph.initializer]
    assert [function.name for function in small.functions] == ["RF8MatMul", f"RF8MatMul{ending}"]


def test_compiled_again() -> None:
    """The function of an earlier run comes before the new one that calls it."""
    nodes = "p = MatMul(x, w) q = MatMul(p, v) y = Relu(q)"
    proto = graph(nodes, w=normal(INPUTS, 96), v=normal(96, INPUTS, seed=5))
    first = compile_proto(proto, RF8(include=("w",)))
    second = compile_proto(first, RF8())
    assert op_types(second) == ["ai.regc::RF8MatMul", "ai.regc::RF8MatMulRelu"]
    assert [function.name for function in second.functions] == ["RF8MatMul", "RF8MatMulRelu"]
    agree(proto, second)
