"""What the products, convolutions and decoders of domain ``ai.regc`` compute, in standard ONNX operators.

Each function appends the nodes of a body, or of a part of one whose result it names. The weights are decoded by nodes
without inputs that change, which ONNX Runtime folds when it loads a model.
"""

import numpy as np
from onnx import TensorProto, numpy_helper

from regc.runtime_ops.body import Body
from regc.runtime_ops.formats import block_sparse, rf8, sparse, ternary, ternary5

WINDOW = ("kernel_shape", "strides", "pads", "dilations")
"""The attributes of a convolution."""
TINY = 1e-30
"""Smallest row maximum that int8 activations are scaled by: its reciprocal is still finite in float32."""


def _rf8(b: Body) -> str:
    """float32 [N, K]: the unscaled values."""
    return b.decode(rf8.VALUES, [0, 2, 4, 1, 3, 5], rf8.BLOCK)


_FIELDS = (np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3).astype(np.int8)


def ternary_levels(b: Body) -> str:
    """int32 [N, K]: multiplier times trit, of two-bit codes."""
    return _multiplied(b, b.decode(_FIELDS - np.int8(1), [0, 2, 1, 4, 3], ternary.BLOCK))


def ternary5_levels(b: Body) -> str:
    """int32 [N, K]: multiplier times trit, of codes of five trits."""
    return _multiplied(b, b.decode(ternary5.TRITS, [0, 2, 1, 4, 3], ternary5.BLOCK))


def _multiplied(b: Body, trits: str) -> str:
    """int32 [N, K]: each trit times the multiplier of its group."""
    groups = b.item(b.op("Shape", "multiplier"), 1)
    by_row = b.op("Transpose", "multiplier", perm=[0, 2, 1])
    by_row = b.op("Reshape", by_row, b.op("Concat", b.ints(-1), groups, axis=0))
    group_of = b.op("Div", b.arange(b.item("shape", 1)), b.item("shape", 2))
    wide = b.op("Gather", b.op("Cast", by_row, to=TensorProto.INT32), group_of, axis=1)
    sizes = b.op("Gather", "shape", b.ints(0, 1), axis=0)
    return b.op("Mul", b.op("Cast", trits, to=TensorProto.INT32), b.leading(wide, sizes))


def _block_at(b: Body, tiles: str, columns: str) -> str:
    """int64 [tiles * columns]: the ordinal, from 1, of the block that is kept at each place, and 0 for none.

    In rows of places, twice as many as there are columns: the second half takes what a tile does not have. Nothing here
    asks how many blocks there are where (NonZero), which ONNX Runtime would work out anew at every call.
    """
    starts = b.op("Cast", "start", to=TensorProto.INT64)
    numbers, slots = b.arange(tiles), b.arange(columns)
    first = b.op("Reshape", b.op("Gather", starts, numbers, axis=0), b.ints(-1, 1))
    end = b.op("Reshape", b.op("Gather", starts, b.op("Add", numbers, b.ints(1)), axis=0), b.ints(-1, 1))
    ordinals = b.op("Add", first, slots)
    has = b.op("Less", ordinals, end)
    index = b.op("Concat", b.op("Cast", "index", to=TensorProto.INT64), b.ints(0), axis=0)
    kept = b.op("Gather", index, b.op("Where", has, ordinals, b.count("index", 0)), axis=0)
    places = b.op("Where", has, kept, b.op("Add", slots, columns))
    twice = b.op("Concat", tiles, b.op("Mul", columns, b.ints(2)), axis=0)
    nothing = b.op("ConstantOfShape", twice, value=numpy_helper.from_array(np.zeros(1, np.int64)))
    chosen = b.scatter(nothing, places, b.op("Add", ordinals, b.ints(1)), axis=1)
    return b.op("Reshape", b.leading(chosen, b.op("Concat", tiles, columns, axis=0)), b.ints(-1))


def _block_sparse(b: Body, values: str) -> str:
    """float32 [N, K] with zeros where no block is kept, from float32 values [blocks, B, 16]."""
    block, tile = b.item("shape", 2), b.ints(block_sparse.TILE)
    columns = b.op("Div", b.op("Sub", b.op("Add", b.item("shape", 1), block), b.ints(1)), block)
    tiles = b.op("Sub", b.count("start", 0), b.ints(1))
    empty = b.op("ConstantOfShape", b.op("Concat", b.ints(1), block, tile, axis=0))
    blocks = b.op("Gather", b.op("Concat", empty, values, axis=0), _block_at(b, tiles, columns), axis=0)
    grid = b.op("Reshape", blocks, b.op("Concat", tiles, columns, block, tile, axis=0))
    padded = b.op("Concat", b.op("Mul", tiles, tile), b.op("Mul", columns, block), axis=0)
    matrix = b.op("Reshape", b.op("Transpose", grid, perm=[0, 3, 1, 2]), padded)
    return b.leading(matrix, b.op("Gather", "shape", b.ints(0, 1), axis=0))


def rf8_matmul(b: Body) -> None:
    """Products with RF8 weights."""
    b.affine(b.op("MatMul", "x", b.op("Transpose", _rf8(b), perm=[1, 0])))


def block_sparse_matmul(b: Body) -> None:
    """Products with kept blocks of float32."""
    b.affine(b.op("MatMul", "x", b.op("Transpose", _block_sparse(b, "values"), perm=[1, 0])))


def block_sparse_rf8_matmul(b: Body) -> None:
    """Products with kept blocks of RF8."""
    b.affine(b.op("MatMul", "x", b.op("Transpose", _block_sparse(b, b.rf8_values()), perm=[1, 0])))


def _below(b: Body) -> str:
    """bool like x: which inputs are below the threshold. A NaN is not less than it: it passes."""
    return b.op("Less", b.op("Mul", b.op("Abs", "x"), "norms"), "threshold")


def _beyond(b: Body) -> str:
    """bool like x: which inputs are not among the ``active`` ones of their row of the largest |x * norms|.

    Of equal ones the first are; NaN counts as infinity. The last one that is tells all of them.
    """
    scores = b.op("Abs", b.op("Mul", "x", "norms"))
    scores = b.op("Where", b.op("IsNaN", scores), b.constant(np.inf, np.float32), scores)
    values, places = b.top(scores, "active")
    at = b.op("Sub", "active", b.ints(1))
    least, last = (b.op("Gather", v, at, axis=-1) for v in (values, places))
    behind = b.op("Greater", b.arange(b.item("shape", 1)), last)
    tied = b.op("And", behind, b.op("Not", b.op("Greater", scores, least)))
    return b.op("Or", tied, b.op("Less", scores, least))


def _gated(b: Body, weights: str, skipped: str) -> None:
    """``weights`` are float32 [K, padded N]; ``skipped`` is bool like x."""
    passed = b.op("Where", skipped, b.constant(0, np.float32), "x")
    b.affine(b.op("MatMul", passed, b.leading(weights, b.op("Gather", "shape", b.ints(1, 0), axis=0))))


def gated_matmul(b: Body) -> None:
    """Products of the inputs that pass a gate with float32 weights."""
    _gated(b, "weights", _below(b))


def gated_rf8_matmul(b: Body) -> None:
    """Products of the inputs that pass a gate with RF8 weights."""
    _gated(b, b.rf8_values(), _below(b))


def gated_topk_matmul(b: Body) -> None:
    """Products of the inputs of each row that matter most with float32 weights."""
    _gated(b, "weights", _beyond(b))


def gated_topk_rf8_matmul(b: Body) -> None:
    """Products of the inputs of each row that matter most with RF8 weights."""
    _gated(b, b.rf8_values(), _beyond(b))


def block_sparse_decode(b: Body) -> None:
    """The matrix float32 ``[N, K]`` with kept blocks of float32."""
    b.op("Mul", _block_sparse(b, "values"), b.column_scale(), output="y")


def block_sparse_rf8_decode(b: Body) -> None:
    """The matrix float32 ``[N, K]`` with kept blocks of RF8."""
    b.op("Mul", _block_sparse(b, b.rf8_values()), b.column_scale(), output="y")


def _sparse(b: Body, values: str) -> str:
    """float32 [N, K] with zeros where the mask has none, from the float32 values that are kept, row after row.

    From opset 11 on the places are counted, which ONNX Runtime does once, when it loads a model.
    """
    bits = (np.arange(256)[:, None] >> np.arange(sparse.BITS) & 1).astype(np.int32)
    whole = b.op("Gather", b.constant(bits, np.int32), b.op("Cast", "mask", to=TensorProto.INT32), axis=0)
    wide = b.op("Reshape", whole, b.op("Concat", b.item("shape", 0), b.ints(-1), axis=0))
    kept = b.op("Reshape", b.leading(wide, "shape"), b.ints(-1))
    if b.opset >= 11:
        ordinals = b.op("Mul", b.op("CumSum", kept, b.constant(0, np.int32)), kept)
        flat = b.op("Gather", b.op("Concat", b.constant([0], np.float32), values, axis=0), ordinals, axis=0)
    else:
        places = b.op("Reshape", b.op("NonZero", kept), b.ints(-1))
        flat = b.scatter(b.op("ConstantOfShape", b.op("Shape", kept)), places, values, axis=0)
    return b.op("Reshape", flat, "shape")


def sparse_decode(b: Body) -> None:
    """The matrix float32 ``[N, K]`` of kept values of float32."""
    b.op("Mul", _sparse(b, "values"), b.column_scale(), output="y")


def sparse_rf8_decode(b: Body) -> None:
    """The matrix float32 ``[N, K]`` of kept values of RF8."""
    b.op("Mul", _sparse(b, b.rf8_values()), b.column_scale(), output="y")


def rf8_decode(b: Body) -> None:
    """The matrix float32 ``[N, K]`` of RF8 codes."""
    b.op("Mul", _rf8(b), b.column_scale(), output="y")


def integer_decode(b: Body, levels: str) -> None:
    """The matrix float32 ``[N, K]`` of int32 ``levels`` and a scale for each output."""
    b.op("Mul", b.op("Cast", levels, to=TensorProto.FLOAT), b.column_scale(), output="y")


def integer_matmul_float(b: Body, levels: str) -> None:
    """Products of float32 activations with int32 ``levels`` ``[N, K]``."""
    weight = b.op("Cast", levels, to=TensorProto.FLOAT)
    b.affine(b.op("MatMul", "x", b.op("Transpose", weight, perm=[1, 0])))


def integer_matmul(b: Body, levels: str) -> None:
    """``levels`` are int32 [N, K] that fit int8.

    Activations are multiplied as unsigned bytes around 128, the same sums: ONNX Runtime has no fast product of two
    signed ones on x86.
    """
    weight = b.op("Transpose", b.op("Cast", levels, to=TensorProto.INT8), perm=[1, 0])
    peak = _row_peak(b, "x")
    middle = b.op("Add", _levels(b, peak), b.constant(128, np.float32))
    sums = b.op("MatMulInteger", b.op("Cast", middle, to=TensorProto.UINT8), weight, b.constant(128, np.uint8))
    b.affine(b.op("Mul", b.op("Cast", sums, to=TensorProto.FLOAT), b.op("Div", peak, b.constant(127, np.float32))))


def ternary_conv(b: Body) -> None:
    """Sums of products of integers, exact in float32 below 2^24: the Conv of any runtime gives the same."""
    kernel = b.attribute("kernel_shape")
    ones = b.ones(b.op("Shape", kernel))
    weight = _taps_last(b, b.op("Cast", ternary_levels(b), to=TensorProto.FLOAT), kernel)
    peak = b.op("Reshape", _row_peak(b, b.op("Flatten", "x", axis=1)), b.op("Concat", b.ints(-1, 1), ones, axis=0))
    sums = b.op("Conv", _levels(b, peak), weight)
    b.same_attributes(*WINDOW)
    product = b.op("Mul", sums, b.op("Div", peak, b.constant(127, np.float32)))
    b.affine(product, b.op("Concat", b.ints(-1), ones, axis=0))


def _taps_last(b: Body, matrix: str, kernel: str) -> str:
    """A matrix ``[N, K]``, whose inputs are the channels of each tap in turn, as a kernel ``[N, C, *kernel]``."""
    outputs = b.item("shape", 0)
    taps = b.op("ReduceProd", kernel, keepdims=1)
    each = b.op("Reshape", matrix, b.op("Concat", outputs, taps, b.ints(-1), axis=0))
    return b.op("Reshape", b.op("Transpose", each, perm=[0, 2, 1]), b.op("Concat", outputs, b.ints(-1), kernel, axis=0))


def _levels(b: Body, peak: str) -> str:
    """x in 127 steps of the largest magnitude, rounded; 0 where that is infinite."""
    levels = b.op("Round", b.op("Mul", "x", b.op("Div", b.constant(127, np.float32), peak)))
    return b.op("Where", b.op("IsNaN", levels), b.constant(0, np.float32), levels)


def _row_peak(b: Body, x: str) -> str:
    """Largest magnitude of each row, keeping the axis; infinite for a row with NaN, so that its result is NaN."""
    infinity = b.constant(np.inf, np.float32)
    magnitude = b.op("Where", b.op("IsNaN", x), infinity, b.op("Abs", x))
    if b.opset >= 18:
        peak = b.op("ReduceMax", magnitude, b.ints(-1), keepdims=1)
    else:
        peak = b.op("ReduceMax", magnitude, axes=[-1], keepdims=1)
    return b.op("Max", peak, b.constant(TINY, np.float32))
