"""Units are found with all that touches them, and removing dead ones changes no output."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.model import from_proto
from regc.compiler.structure import Group, find_groups, remove
from tests.support import model, normal, run


def _dead(group: Group, units: list[int]) -> dict[Any, Any]:
    """The weights that read units, with nothing read from some of them."""
    new = {}
    for place in group.consumers:
        values = place.values().copy()
        moved = np.moveaxis(values, place.axis, 0).reshape(group.units, place.inner, -1)
        moved[units] = 0
        back = np.moveaxis(values, place.axis, 0).shape
        new[place] = np.ascontiguousarray(np.moveaxis(moved.reshape(back), 0, place.axis))
    return new


def _check(proto: onnx.ModelProto, name: str, gone: list[int], x: Any, kind: str = "neurons") -> onnx.ModelProto:
    """Removing units that nothing reads changes no output; the smaller model. ``x`` is an input, or all of them."""
    feeds = x if isinstance(x, dict) else {"x": x}

    def group_of(opened: Any) -> Group:
        return next(g for g in find_groups(opened) if g.name == name)

    whole = from_proto(proto)
    group = group_of(whole)
    assert (group.refusal, group.kind) == (None, kind)
    remove(whole, group, np.arange(group.units), _dead(group, gone))
    expected = run(whole.to_proto(), feeds)[0]

    smaller = from_proto(proto)
    group = group_of(smaller)
    remove(smaller, group, np.setdiff1d(np.arange(group.units), gone), _dead(group, gone))
    result = smaller.to_proto()
    onnx.checker.check_model(result, full_check=True)
    np.testing.assert_allclose(run(result, feeds)[0], expected, rtol=1e-5, atol=1e-5)
    return result


def _refusals(proto: onnx.ModelProto) -> dict[str, str | None]:
    return {group.name: group.refusal for group in find_groups(from_proto(proto))}


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
    result = _check(mlp(), "up_w", [1, 6], normal(5, 4))
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
    result = _check(proto, "gate_w", [0, 3], normal(2, 4))
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
    _check(proto, "l1_w", [5], normal(2, 4))


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
    result = _check(proto, "c1_w", [2, 4], normal(2, 2, 8, 8), "filters")
    assert [a.i for node in result.graph.node for a in node.attribute if a.name == "group"] == [4]


ATTENTION = """g (float[b, 5, 8] x) => (float[b, 5, 8] y) {
    q = MatMul (x, q_w)
    q4 = Reshape (q, split)
    qt = Transpose <perm: ints = [0, 2, 1, 3]> (q4)
    k = MatMul (x, k_w)
    k4 = Reshape (k, split)
    kt = Transpose <perm: ints = [0, 2, 3, 1]> (k4)
    v = MatMul (x, v_w)
    v4 = Reshape (v, split)
    vt = Transpose <perm: ints = [0, 2, 1, 3]> (v4)
    s = MatMul (qt, kt)
    p = Softmax <axis: int = AXIS> (s)
    o = MatMul (p, vt)
    ot = Transpose <perm: ints = [0, 2, 1, 3]> (o)
    o3 = Reshape (ot, join)
    y = MatMul (o3, o_w)
}"""


def attention(axis: int = -1) -> onnx.ModelProto:
    weights = {f"{name}_w": normal(8, 8, seed=seed) for seed, name in enumerate("qkvo")}
    targets = {"split": np.array([0, 0, 4, 2]), "join": np.array([0, 0, 8])}
    return model(ATTENTION.replace("AXIS", str(axis)), **weights, **targets)


def test_heads_of_attention() -> None:
    result = _check(attention(), "q_w", [1, 2], normal(3, 5, 8), "heads")
    assert sorted(list(t.dims) for t in result.graph.initializer if len(t.dims) == 2) == [
        [4, 8],
        [8, 4],
        [8, 4],
        [8, 4],
    ]


def test_softmax_over_heads_is_refused() -> None:
    assert "Softmax" in (_refusals(attention(axis=1))["q_w"] or "")


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
    assert words in (_refusals(model(text, **weights))["up_w"] or "")


def test_the_last_layer_is_refused_and_cannot_be_cut() -> None:
    opened = from_proto(mlp())
    last = find_groups(opened)[-1]
    assert last.refusal == "they are in 'y', an output of the graph"
    with pytest.raises(UsageError, match="output of the graph"):
        remove(opened, last, np.arange(2))


MASKED = """g (float[b, s, 8] x, int64[b, s] mask) => (float[b, s, 8] y) {
    q = MatMul (x, q_w)
    q4 = Reshape (q, split)
    qt = Transpose <perm: ints = [0, 2, 1, 3]> (q4)
    k = MatMul (x, k_w)
    k4 = Reshape (k, split)
    kt = Transpose <perm: ints = [0, 2, 3, 1]> (k4)
    v = MatMul (x, v_w)
    v4 = Reshape (v, split)
    vt = Transpose <perm: ints = [0, 2, 1, 3]> (v4)
    sizes = Shape (x)
    batch = Gather (sizes, first)
    length = Gather (sizes, second)
    m4 = Unsqueeze (mask, between)
    seen = Cast <to: int = 9> (m4)
    wanted = Concat <axis: int = 0> (batch, HEADS, length, length)
    four = Shape (wanted)
    ones = ConstantOfShape <value: tensor = int64[1] {1}> (four)
    same = Mul (ones, minus)
    open = Equal (wanted, same)
    target = Where (open, ones, wanted)
    wide = Expand (seen, target)
    bias = Where (wide, zero, least)
    s = MatMul (qt, kt)
    sb = Add (s, bias)
    p = Softmax <axis: int = -1> (sb)
    o = MatMul (p, vt)
    ot = Transpose <perm: ints = [0, 2, 1, 3]> (o)
    joined = Concat <axis: int = 0> (batch, length, REST)
    o3 = Reshape (ot, joined)
    y = MatMul (o3, o_w)
}"""


def masked(heads: str = "minus", rest: str = "minus") -> onnx.ModelProto:
    weights = {f"{name}_w": normal(8, 8, seed=seed) for seed, name in enumerate("qkvo")}
    ints = {"split": [0, 0, -1, 2], "first": [0], "second": [1], "between": [1, 2], "minus": [-1], "all": [4]}
    constants = {name: np.array(value) for name, value in (ints | {"eight": [8]}).items()}
    floats = {"zero": np.array(0, np.float32), "least": np.array(-1e9, np.float32)}
    return model(MASKED.replace("HEADS", heads).replace("REST", rest), **weights, **constants, **floats)


def test_heads_that_share_a_mask_whose_shape_is_computed() -> None:
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    result = _check(masked(), "q_w", [1, 3], {"x": normal(2, 4, 8), "mask": mask}, "heads")
    assert sorted(list(t.dims) for t in result.graph.initializer if len(t.dims) == 2) == [
        [4, 8],
        [8, 4],
        [8, 4],
        [8, 4],
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"heads": "all"}, "Expand"), ({"rest": "eight"}, "has a target that is computed from their number")],
)
def test_heads_of_which_a_computed_shape_tells_the_number(options: dict[str, str], words: str) -> None:
    assert words in (_refusals(masked(**options))["q_w"] or "")
