"""Heads of which several share their keys and values, with rotations, as exporters write them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.compiler.structure.units import check, refusals
from tests.support import model, normal

SHAPES = {
    "constant": "",
    "computed": """
    xs = Shape (x)
    bs = Gather (xs, none)
    b1 = Unsqueeze (bs, at0)
    ss = Gather (xs, one)
    s1 = Unsqueeze (ss, at0)
    wide0 = Concat <axis: int = 0> (b1, two_, three_, s1, four_)
    len = Shape (wide0)
    ones = ConstantOfShape <value: tensor = int64[1] {1}> (len)
    least = Mul (ones, minus)
    open = Equal (wide0, least)
    wide = Where (open, ones, wide0)
    heads = Concat <axis: int = 0> (b1, six_, s1, four_)""",
}
ATTENTION = """g (float[b, s, 8] x) => (float[b, s, 8] y) {
    SHAPES
    length = Shape (x)
    l0 = Gather (length, one)
    l1 = Unsqueeze (l0, at0)
    c = Slice (cosines, none1, l1, at0, one1)
    c3 = Unsqueeze (c, at1)
    q = MatMul (x, q_w)
    q4 = Reshape (q, q_heads)
    q_a, q_b = Split <axis: int = -1> (q4)
    q_n = Neg (q_b)
    q_r = Concat <axis: int = -1> (q_n, q_a)
    q_c = Mul (q_r, c3)
    qt = Transpose <perm: ints = [0, 2, 1, 3]> (q_c)
    k = MatMul (x, k_w)
    k4 = Reshape (k, k_heads)
    kt = Transpose <perm: ints = [0, 2, 1, 3]> (k4)
    k5 = Unsqueeze (kt, at2)
    ke = Expand (k5, wide)
    kr = Reshape (ke, heads)
    kx = Transpose <perm: ints = [0, 1, 3, 2]> (kr)
    v = MatMul (x, v_w)
    v4 = Reshape (v, k_heads)
    vt = Transpose <perm: ints = [0, 2, 1, 3]> (v4)
    v5 = Unsqueeze (vt, at2)
    ve = Expand (v5, wide)
    vr = Reshape (ve, heads)
    w = MatMul (qt, kx)
    p = Softmax <axis: int = -1> (w)
    o = MatMul (p, vr)
    ot = Transpose <perm: ints = [0, 2, 1, 3]> (o)
    o3 = Reshape (ot, join)
    y = MatMul (o3, o_w)
}"""


def attention(shapes: str) -> onnx.ModelProto:
    """Six heads of four, of which three each share one of two pairs of keys and values."""
    ints: dict[str, object] = {"none": 0, "one": 1, "none1": [0], "one1": [1], "at0": [0], "at1": [1], "at2": [2]}
    ints |= {"q_heads": [0, 0, 6, 4], "k_heads": [0, 0, 2, 4], "join": [0, 0, 24], "minus": -1}
    ints |= {"two_": [2], "three_": [3], "four_": [4], "six_": [6]}
    if shapes == "constant":
        ints |= {"wide": [1, 2, 3, 1, 1], "heads": [0, 6, -1, 4]}
    weights = {"q_w": normal(8, 24), "k_w": normal(8, 8, seed=1), "v_w": normal(8, 8, seed=2), "o_w": normal(24, 8)}
    constants = {name: np.array(value) for name, value in ints.items()}
    return model(ATTENTION.replace("SHAPES", SHAPES[shapes]), cosines=normal(20, 4), **weights, **constants)


@pytest.mark.parametrize("shapes", list(SHAPES))
def test_queries_go_with_the_keys_that_they_share(shapes: str) -> None:
    result = check(attention(shapes), "q_w", [0], normal(2, 5, 8), "heads")
    left = {tensor.name: list(tensor.dims) for tensor in result.graph.initializer}
    assert [left[f"{name}_w"] for name in "qkvo"] == [[8, 12], [8, 4], [8, 4], [12, 8]]


def test_a_number_of_heads_that_something_else_reads() -> None:
    proto = attention("computed")
    text = "g (int64[4] heads) => (int64[4] z) { z = Neg (heads) }"
    extra = onnx.parser.parse_graph(text)
    proto.graph.node.append(extra.node[0])
    proto.graph.output.append(extra.output[0])
    assert "reads their number, too" in (refusals(proto)["q_w"] or "")
