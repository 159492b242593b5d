"""Units are found with all that touches them, and removing dead ones changes no output."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.model import from_proto
from regc.compiler.structure import find_groups, remove
from tests.compiler.structure.units import check, refusals
from tests.support import model, normal

MLP = """g (float[n, 4] x) => (float[n, 3] y) {
    a = MatMul (x, up_w)
    b = Add (a, up_b)
    c = Div (b, root)
    d = Erf (c)
    e = Add (d, one)
    f = Mul (b, e)
    h = Mul (f, half)
    i = MatMul (h, down_w)
    y = Add (i, down_b)
}"""


def mlp(units: int = 8) -> onnx.ModelProto:
    scalars = {name: np.array(value, np.float32) for name, value in (("root", 1.4142), ("one", 1), ("half", 0.5))}
    weights = {"up_w": normal(4, units), "up_b": normal(units), "down_w": normal(units, 3), "down_b": normal(3)}
    return model(MLP, **weights, **scalars)


def test_neurons_behind_a_gelu_in_pieces() -> None:
    result = check(mlp(), "up_w", [1, 6], normal(5, 4))
    shapes = {tensor.name: list(tensor.dims) for tensor in result.graph.initializer}
    assert (shapes["up_w"], shapes["up_b"], shapes["down_w"]) == ([4, 6], [6], [6, 3])


def test_a_gate_couples_two_weights() -> None:
    proto = model(
        """g (float[n, 4] x) => (float[n, 4] y) {
            a = MatMul (x, gate_w)
            s = Sigmoid (a)
            g = Mul (a, s)
            u = MatMul (x, up_w)
            h = Mul (g, u)
            y = MatMul (h, down_w)
        }""",
        gate_w=normal(4, 6),
        up_w=normal(4, 6, seed=1),
        down_w=normal(6, 4),
    )
    result = check(proto, "gate_w", [0, 3], normal(2, 4))
    assert {tuple(t.dims) for t in result.graph.initializer} == {(4, 4)}


def test_gemm_with_a_transposed_weight() -> None:
    proto = model(
        """g (float[n, 4] x) => (float[n, 3] y) {
            a = Gemm <transB: int = 1> (x, l1_w, l1_b)
            r = Relu (a)
            y = Gemm <transB: int = 1> (r, l2_w, l2_b)
        }""",
        l1_w=normal(6, 4),
        l1_b=normal(6),
        l2_w=normal(3, 6),
        l2_b=normal(3),
    )
    check(proto, "l1_w", [5], normal(2, 4))


def test_filters_through_normalization_a_depthwise_convolution_and_pooling() -> None:
    proto = model(
        """g (float[n, 2, 8, 8] x) => (float[n, 3] y) {
            a = Conv <pads: ints = [1, 1, 1, 1]> (x, c1_w)
            b = BatchNormalization (a, scale, shift, mean, variance)
            r = Relu (b)
            d = Conv <pads: ints = [1, 1, 1, 1], group: int = 6> (r, dw_w, dw_b)
            m = MaxPool <kernel_shape: ints = [2, 2], strides: ints = [2, 2]> (d)
            f = Flatten (m)
            y = MatMul (f, out_w)
        }""",
        c1_w=normal(6, 2, 3, 3),
        dw_w=normal(6, 1, 3, 3),
        dw_b=normal(6),
        scale=normal(6),
        shift=normal(6, seed=1),
        mean=normal(6, seed=2),
        variance=np.abs(normal(6, seed=3)) + 1,
        out_w=normal(96, 3),
    )
    result = check(proto, "c1_w", [2, 4], normal(2, 2, 8, 8), "filters")
    assert [a.i for node in result.graph.node for a in node.attribute if a.name == "group"] == [4]


@pytest.mark.parametrize(
    ("between", "words"),
    [
        ("h = LayerNormalization (a, scale)", "normalizes over them"),
        ("h = Softmax (a)", "normalizes over them"),
        ("h = CumSum (a, axis)", "(CumSum) uses them in a way that is not followed"),
        ("h = Add (a, x)", "they meet 'x', an input of the graph"),
        ("h = Relu (a) z = Neg (a)", "they are in 'z', an output of the graph"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_words(between: str, words: str) -> None:
    outputs = "float[n, 4] y, float[n, 4] z" if "z =" in between else "float[n, 4] y"
    text = f"g (float[n, 4] x) => ({outputs}) {{ a = MatMul (x, up_w) {between} y = MatMul (h, down_w) }}"
    weights = {"up_w": normal(4, 4), "down_w": normal(4, 4), "scale": normal(4), "axis": np.array(1)}
    assert words in (refusals(model(text, **weights))["up_w"] or "")


def test_the_last_layer_is_refused_and_cannot_be_cut() -> None:
    opened = from_proto(mlp())
    last = find_groups(opened)[-1]
    assert last.refusal == "they are in 'y', an output of the graph"
    with pytest.raises(UsageError, match="output of the graph"):
        remove(opened, last, np.arange(2))
