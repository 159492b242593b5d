"""Heads of attention are found through reshapes, masks and joint projections."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.compiler.structure.units import check, refusals
from tests.support import model, normal

PROJECTED = """
    q = MatMul (x, q_w)
    q4 = Reshape (q, split)
    qt = Transpose <perm: ints = [0, 2, 1, 3]> (q4)
    k = MatMul (x, k_w)
    k4 = Reshape (k, split)
    kt = Transpose <perm: ints = [0, 2, 3, 1]> (k4)
    v = MatMul (x, v_w)
    v4 = Reshape (v, split)
    vt = Transpose <perm: ints = [0, 2, 1, 3]> (v4)"""
ATTENTION = """g (float[b, 5, 8] x) => (float[b, 5, 8] y) {
    PROJECTED
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
    return model(ATTENTION.replace("PROJECTED", PROJECTED).replace("AXIS", str(axis)), **weights, **targets)


def test_heads_of_attention() -> None:
    result = check(attention(), "q_w", [1, 2], normal(3, 5, 8), "heads")
    assert sorted(list(t.dims) for t in result.graph.initializer if len(t.dims) == 2) == [
        [4, 8],
        [8, 4],
        [8, 4],
        [8, 4],
    ]


def test_softmax_over_heads_is_refused() -> None:
    assert "Softmax" in (refusals(attention(axis=1))["q_w"] or "")


MASKED = """g (float[b, s, 8] x, int64[b, s] mask) => (float[b, s, 8] y) {
    PROJECTED
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
    return model(
        MASKED.replace("PROJECTED", PROJECTED).replace("HEADS", heads).replace("REST", rest),
        **weights,
        **constants,
        **floats,
    )


def test_heads_that_share_a_mask_whose_shape_is_computed() -> None:
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    result = check(masked(), "q_w", [1, 3], {"x": normal(2, 4, 8), "mask": mask}, "heads")
    assert sorted(list(t.dims) for t in result.graph.initializer if len(t.dims) == 2) == [
        [4, 8],
        [8, 4],
        [8, 4],
        [8, 4],
    ]


def test_heads_that_a_mask_is_repeated_for() -> None:
    assert "Expand" in (refusals(masked(heads="all"))["q_w"] or "")


def test_heads_whose_number_is_joined_with_sizes_of_the_input() -> None:
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    result = check(masked(rest="eight"), "q_w", [0], {"x": normal(2, 4, 8), "mask": mask}, "heads")
    shapes = {tensor.name: list(tensor.dims) for tensor in result.graph.initializer}
    assert (shapes["q_w"], shapes["o_w"]) == ([8, 6], [6, 8])


JOINT = """g (float[b, 5, 8] x) => (float[b, 5, 8] y) {
    qkv = MatMul (x, qkv_w)
    biased = Add (qkv, qkv_b)
    CUT
    q4 = Reshape (q, parts)
    qt = Transpose <perm: ints = [0, 2, 1, 3]> (q4)
    k4 = Reshape (k, parts)
    kt = Transpose <perm: ints = [0, 2, 3, 1]> (k4)
    v4 = Reshape (v, parts)
    vt = Transpose <perm: ints = [0, 2, 1, 3]> (v4)
    s = MatMul (qt, kt)
    p = Softmax <axis: int = -1> (s)
    o = MatMul (p, vt)
    ot = Transpose <perm: ints = [0, 2, 1, 3]> (o)
    o3 = Reshape (ot, join)
    y = MatMul (o3, o_w)
}"""
CUTS = {
    "split": "q, k, v = Split <axis: int = -1> (biased)",
    "sizes": "q, k, v = Split <axis: int = 2> (biased, thirds)",
    "slices": "q = Slice (biased, none, one, last) k = Slice (biased, one, two, last) "
    "v = Slice (biased, two, end, last)",
}


def joint(cut: str) -> onnx.ModelProto:
    ints = {"parts": [0, 0, 4, 2], "join": [0, 0, 8], "thirds": [8, 8, 8], "none": [0], "one": [8], "two": [16]}
    constants = {name: np.array(value) for name, value in (ints | {"last": [-1], "end": [2**62]}).items()}
    return model(
        JOINT.replace("CUT", cut), qkv_w=normal(8, 24), qkv_b=normal(24), o_w=normal(8, 8, seed=1), **constants
    )


@pytest.mark.parametrize("cut", list(CUTS))
def test_heads_of_a_joint_projection(cut: str) -> None:
    result = check(joint(CUTS[cut]), "qkv_w", [0, 3], normal(3, 5, 8), "heads")
    shapes = {tensor.name: list(tensor.dims) for tensor in result.graph.initializer}
    assert (shapes["qkv_w"], shapes["qkv_b"], shapes["o_w"]) == ([8, 12], [12], [4, 8])


def test_parts_that_cut_heads_are_refused() -> None:
    cut = CUTS["slices"].replace("(biased, none, one, last)", "(biased, first, ninth, last)")
    proto = joint(cut)
    for name, value in (("first", 1), ("ninth", 9)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    assert "cuts them" in (refusals(proto)["qkv_w"] or "")
