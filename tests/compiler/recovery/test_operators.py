from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import support
from regc.compiler.recovery.check import Checked, check_nodes, difference

FEEDS: dict[str, npt.NDArray[Any]] = {
    "x": np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32),
    "p": np.random.default_rng(1).uniform(0.1, 0.9, size=(2, 4, 6)).astype(np.float32),
    "image": np.random.default_rng(2).normal(size=(2, 4, 7, 8)).astype(np.float32),
    "i": np.array([[3, -1], [0, 2]], np.int64),
    "b": np.array([[True], [False]])[:, :, None],
}
HEAD = "float[2, 4, 6] x, float[2, 4, 6] p, float[2, 4, 7, 8] image, int64[2, 2] i, bool[2, 1, 1] b"
C = {"v": np.array([0.5, -1, 2, 0.25, 3, -0.125], np.float32), "half": np.float32(0.5), "two": np.array(2, np.int64)}
UNARY = [
    "Abs",
    "Neg",
    "Exp",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Sin",
    "Cos",
    "Tan",
    "Sinh",
    "Cosh",
    "Tanh",
    "Asinh",
    "Atan",
    "Erf",
    "Sigmoid",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Softplus",
    "Softsign",
    "HardSigmoid",
    "HardSwish",
    "ThresholdedRelu",
    "Identity",
    "IsNaN",
    "IsInf",
    "Shrink",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "Size",
    "Shape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Dropout",
    "LpNormalization",
]
REDUCE = ("Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")
NODES = [
    *(f"y = {op} (x)" for op in UNARY),
    *(f"y = {op} (p)" for op in ("Log", "Sqrt", "Reciprocal", "Asin", "Acos", "Atanh", "ReduceLogSum")),
    *(f"y = {op} (x, v)" for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "PRelu")),
    *(f"y = {op} (x, v)" for op in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal")),
    *(f"c = Not (b) y = {op} (c, b)" for op in ("And", "Or", "Xor")),
    *(f"y = Reduce{op} <axes: ints = [1], keepdims: int = {keep}> (x)" for op in REDUCE for keep in (0, 1)),
    "y = Pow (p, v)",
    "y = Pow (x, two)",
    "y = Div (i, two)",
    "y = Mod (i, two)",
    "y = Mod <fmod = 1> (x, v)",
    "y = Clip (x, , half)",
    "y = Clip (x, half)",
    "y = Where (b, x, p)",
    "y = Cast <to = 7> (x)",
    "y = CastLike (i, x)",
    "y = Concat <axis = -1> (x, p)",
    "a, y = Split <axis = 2> (x)",
    "s = Constant <value_ints: ints = [1, 3]> () a, y = Split <axis = 1> (x, s)",
    "s = Constant <value_ints: ints = [0, -1]> () y = Reshape (x, s)",
    "s = Constant <value_ints: ints = [0, -1]> () y = Unsqueeze (x, s)",
    "s = Constant <value_ints: ints = [3, 1, 1, 1]> () y = Expand (x, s)",
    "s = Constant <value_ints: ints = [2, 1, 3]> () y = Tile (x, s)",
    "s = Constant <value_ints: ints = [2, 3]> () y = ConstantOfShape (s)",
    "s = Constant <value_ints: ints = [0, 1, 0, 2, 0, 1]> () y = Pad (x, s, half)",
    "s = Constant <value_ints: ints = [0, 1, 0, 0, 0, 1]> () y = Pad <mode = 'reflect'> (x, s)",
    "s = Constant <value_ints: ints = [0, 1, 0, 0, 0, 1]> () y = Pad <mode = 'edge'> (x, s)",
    "f = Constant <value_ints: ints = [1, -1]> () l = Constant <value_ints: ints = [9, -7]> () "
    "a = Constant <value_ints: ints = [1, 2]> () s = Constant <value_ints: ints = [2, -1]> () "
    "y = Slice (x, f, l, a, s)",
    "y = Trilu <upper = 0> (x)",
    "a = Constant <value_int = 1> () l = Constant <value_int = 7> () y = Range (a, l, two)",
    "y = Gather <axis = 1> (x, i)",
    "y = Gather <axis = -1> (x, two)",
    "j = Clip (i, zero, two) h = Sub (j, two) y = GatherElements <axis = 1> (h, h)",
    "y = GatherND <batch_dims = 1> (x, i)",
    "y = NonZero (x)",
    "d = Constant <value_int = 5> () o = Constant <value_floats: floats = [0.0, 1.0]> () y = OneHot (i, d, o)",
    "k = Constant <value_ints: ints = [2]> () y, j = TopK <axis = 1> (x, k)",
    "y = ArgMax <axis = 1, keepdims = 0> (x)",
    "y = ArgMin <axis = 2, select_last_index = 1> (x)",
    "y = CumSum <exclusive = 1, reverse = 1> (x, two)",
    "u = Cast <to = 1> (i) j = Abs (i) y = ScatterElements <axis = 1> (w24, j, u)",
    "u = Constant <value_floats: floats = [1.0, 2.0]> () y = ScatterND (w44, i, u)",
    "y = MatMul (x, w64)",
    "f = Flatten <axis = 2> (x) y = Gemm <alpha = 0.5, transB = 1> (f, w46, w1)",
    "y = Einsum <equation = 'bij, bkj -> bik'> (x, p)",
    "y = LayerNormalization (x, v, v)",
    "y = LayerNormalization <axis = 1> (x, w46)",
    "y = BatchNormalization (x, w1, w1, w1, w2)",
    "y = InstanceNormalization (x, w1, w1)",
    "y = LRN <size = 3> (image)",
    "y = Conv <strides = [2, 1], pads = [1, 0, 0, 1], dilations = [1, 2]> (image, kernel, w1)",
    "y = Conv <auto_pad = 'SAME_UPPER', strides = [2, 2]> (image, kernel)",
    "y = Conv <auto_pad = 'SAME_LOWER'> (image, kernel)",
    "y = Conv <group = 4, pads = [1, 1, 1, 1]> (image, depthwise)",
    "y = ConvTranspose <strides = [2, 2], pads = [1, 0, 0, 1], output_padding = [1, 0]> (image, kernel)",
    "y = ConvTranspose <strides = [2, 2], auto_pad = 'SAME_UPPER'> (image, kernel)",
    "y = MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 1]> (image)",
    "y = AveragePool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 1]> (image)",
    "y = AveragePool <kernel_shape = [2, 2], pads = [1, 0, 1, 1], count_include_pad = 1> (image)",
    "y = GlobalAveragePool (image)",
    "y = GlobalMaxPool (image)",
    "y = DepthToSpace <blocksize = 2> (image)",
    "y = DepthToSpace <blocksize = 2, mode = 'CRD'> (image)",
    "s = Constant <value_floats: floats = [1.0, 1.0, 2.0, 3.0]> () "
    "y = Resize <coordinate_transformation_mode = 'asymmetric', nearest_mode = 'floor'> (image, , s)",
    "y, h, c = LSTM <hidden_size = 3, direction = 'bidirectional'> (x, lw, lr, lb)",
    "y, h = GRU <hidden_size = 3, linear_before_reset = 1> (x, gw, gr, gb)",
    "y, h = GRU <hidden_size = 3, direction = 'reverse'> (x, gw, gr, gb)",
    "y, h = RNN <hidden_size = 3> (x, rw, rr, rb)",
    "g = Constant <value = bool {1}> () y = If (g) <then_branch = t () => (float[2, 4, 6] a) { a = Neg (x) }, "
    "else_branch = e () => (float[2, 4, 6] a) { a = Abs (x) }>",
    "g = Constant <value = bool {1}> () y, z = Loop (two, g, x) <body = l (int64 n, bool k, float[2, 4, 6] a) => "
    "(bool keep, float[2, 4, 6] next, float[2, 4, 6] each) { keep = Identity (k) next = Add (a, x) each = Abs (a) }>",
]
WEIGHTS = {
    **C,
    "w1": np.array([1, 2, 0.5, -1], np.float32),
    "w2": np.array([1, 2, 0.5, 1], np.float32),
    "w24": np.zeros((2, 4), np.float32),
    "w44": support.normal(4, 4),
    "w64": support.normal(6, 4),
    "w46": support.normal(4, 6),
    "kernel": support.normal(4, 4, 3, 3),
    "zero": np.array(0, np.int64),
    "depthwise": support.normal(4, 1, 3, 3),
    **{
        f"{cell}{part}": support.normal(directions, *shape, seed=1)
        for cell, directions, gates in (("l", 2, 4), ("g", 1, 3), ("r", 1, 1))
        for part, shape in (("w", (gates * 3, 6)), ("r", (gates * 3, 3)), ("b", (gates * 6,)))
    },
}


def checked(nodes: str, opset: int = 17) -> list[Checked]:
    named = set(re.findall(r"\w+", nodes))
    used = {name: array for name, array in WEIGHTS.items() if name in named}
    proto = support.model(f"g ({HEAD}) => (y) {{ {nodes.replace(chr(39), chr(34))} }}", opset=opset, **used)
    return list(check_nodes(proto, FEEDS))


@pytest.mark.parametrize("nodes", NODES)
def test_an_operator_computes_what_onnx_runtime_does(nodes: str) -> None:
    assert [node for node in checked(nodes) if not node.error < 2e-6] == []


@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        ("y = Softmax <axis = 1> (x)", 11),
        ("y = ReduceSum <axes: ints = [0, 2]> (x)", 11),
        ("y = Clip <min = -0.5, max = 0.25> (x)", 10),
        ("y = Slice <starts = [1], ends = [3], axes = [1]> (x)", 9),
        ("y = Unsqueeze <axes: ints = [0]> (x)", 11),
        ("a, y = Split <axis = 1, split = [1, 3]> (x)", 11),
        ("y = Pad <pads = [0, 1, 0, 0, 0, 1], value = 2.0> (x)", 10),
        ("y = Mish (x)", 18),
        ("y = Gelu <approximate = 'tanh'> (x)", 20),
        ("y = ReduceMean <noop_with_empty_axes = 1> (x)", 18),
    ],
)
def test_an_operator_follows_the_opset_of_the_model(nodes: str, opset: int) -> None:
    assert [node for node in checked(nodes, opset) if not node.error < 2e-6] == []


def test_an_unknown_operator_is_named() -> None:
    (found,) = checked("y = MeanVarianceNormalization <axes = [0, 2]> (x)")
    assert found.words == "MeanVarianceNormalization is not known"


def test_a_use_of_an_operator_that_is_not_known_is_named() -> None:
    found = checked(
        "s = Constant <value_floats: floats = [1.0, 1.0, 2.0, 3.0]> () y = Resize <mode = 'linear'> (image, , s)"
    )
    assert "whole numbers" in found[-1].words


def test_differences_see_shapes_types_and_nan() -> None:
    one = np.ones(2, np.float32)
    assert difference(one, one[:1]) == difference(one, one.astype(np.float64)) == float("inf")
    assert difference(one * np.nan, one) == float("inf")
    assert difference(one * np.nan, one * np.nan) == 0
    assert difference(one * 3, one * 4) == 0.25
