"""The operators of domain ``ai.regc``, version 1: names, inputs, documentation and bodies in standard ONNX operators.

The body *is* the definition of an operator. Written into a model as a model-local function of the same domain and
name, it lets any ONNX Runtime run the model without our library (the decoding is folded at load); with the library
registered the node stays and our kernel runs. A body is legal at the model's own opset, from ``since_opset`` up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops import integers, lookup
from regc.runtime_ops.body import Body
from regc.runtime_ops.endings import ENDINGS, Ending
from regc.runtime_ops.formats import block_sparse, rf8, ternary, ternary5

DOMAIN = "ai.regc"
VERSION = 1
MIN_IR_VERSION = 8
"""Model-local functions exist since this IR version (ONNX 1.10)."""
TINY = 1e-30
"""Smallest row maximum that int8 activations are scaled by: its reciprocal is still finite in float32."""


def _rf8(b: Body) -> str:
    """float32 [N, K]: the unscaled values."""
    return b.decode(rf8.VALUES, [0, 2, 4, 1, 3, 5], rf8.BLOCK)


_FIELDS = (np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3).astype(np.int8)


def _ternary(b: Body) -> str:
    """int32 [N, K]: multiplier times trit, of two-bit codes."""
    return _multiplied(b, b.decode(_FIELDS - np.int8(1), [0, 2, 1, 4, 3], ternary.BLOCK))


def _ternary5(b: Body) -> str:
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


def _block_places(b: Body, columns: str) -> str:
    """int64 [blocks]: the place of each kept block in a grid of tiles and block columns, flattened."""
    starts = b.op("Cast", "start", to=TensorProto.INT64)
    tiles = b.arange(b.op("Sub", b.count("start", 0), b.ints(1)))
    ends = b.op("Gather", starts, b.op("Add", tiles, b.ints(1)), axis=0)
    counts = b.op("Sub", ends, b.op("Gather", starts, tiles, axis=0))
    used = b.op("Less", b.arange(columns), b.op("Reshape", counts, b.ints(-1, 1)))
    # One row of indices for each axis of the grid, in ascending order: as many as a tile has blocks name the tile.
    tile_of_block = b.op("Reshape", b.op("Gather", b.op("NonZero", used), b.ints(0), axis=0), b.ints(-1))
    return b.op("Add", b.op("Mul", tile_of_block, columns), b.op("Cast", "index", to=TensorProto.INT64))


def _block_sparse(b: Body, values: str) -> str:
    """float32 [N, K] with zeros where no block is kept, from float32 values [blocks, B, 16]."""
    block, tile = b.item("shape", 2), b.ints(block_sparse.TILE)
    columns = b.op("Div", b.op("Sub", b.op("Add", b.item("shape", 1), block), b.ints(1)), block)
    tiles = b.op("Sub", b.count("start", 0), b.ints(1))
    places = _block_places(b, columns)
    nothing = b.op("ConstantOfShape", b.op("Mul", tiles, columns), value=numpy_helper.from_array(np.zeros(1, np.int64)))
    ordinals = b.op("Add", b.arange(b.count("index", 0)), b.ints(1))
    chosen = b.scatter(nothing, places, ordinals)
    empty = b.op("ConstantOfShape", b.op("Concat", b.ints(1), block, tile, axis=0))
    blocks = b.op("Gather", b.op("Concat", empty, values, axis=0), chosen, axis=0)
    grid = b.op("Reshape", blocks, b.op("Concat", tiles, columns, block, tile, axis=0))
    padded = b.op("Concat", b.op("Mul", tiles, tile), b.op("Mul", columns, block), axis=0)
    matrix = b.op("Reshape", b.op("Transpose", grid, perm=[0, 3, 1, 2]), padded)
    return b.leading(matrix, b.op("Gather", "shape", b.ints(0, 1), axis=0))


def _rf8_matmul(b: Body) -> None:
    b.affine(b.op("MatMul", "x", b.op("Transpose", _rf8(b), perm=[1, 0])))


def _block_sparse_matmul(b: Body) -> None:
    b.affine(b.op("MatMul", "x", b.op("Transpose", _block_sparse(b, "values"), perm=[1, 0])))


def _block_sparse_rf8_matmul(b: Body) -> None:
    b.affine(b.op("MatMul", "x", b.op("Transpose", _block_sparse(b, b.rf8_values()), perm=[1, 0])))


def _gated(b: Body, weights: str) -> None:
    """``weights`` are float32 [K, padded N]. A NaN is not less than the threshold: it passes."""
    below = b.op("Less", b.op("Mul", b.op("Abs", "x"), "norms"), "threshold")
    passed = b.op("Where", below, b.constant(0, np.float32), "x")
    b.affine(b.op("MatMul", passed, b.leading(weights, b.op("Gather", "shape", b.ints(1, 0), axis=0))))


def _gated_matmul(b: Body) -> None:
    _gated(b, "weights")


def _gated_rf8_matmul(b: Body) -> None:
    _gated(b, b.rf8_values())


def _block_sparse_decode(b: Body) -> None:
    b.op("Mul", _block_sparse(b, "values"), b.column_scale(), output="y")


def _block_sparse_rf8_decode(b: Body) -> None:
    b.op("Mul", _block_sparse(b, b.rf8_values()), b.column_scale(), output="y")


def _rf8_decode(b: Body) -> None:
    b.op("Mul", _rf8(b), b.column_scale(), output="y")


def _integer_decode(b: Body, levels: str) -> None:
    b.op("Mul", b.op("Cast", levels, to=TensorProto.FLOAT), b.column_scale(), output="y")


def _integer_matmul_float(b: Body, levels: str) -> None:
    weight = b.op("Cast", levels, to=TensorProto.FLOAT)
    b.affine(b.op("MatMul", "x", b.op("Transpose", weight, perm=[1, 0])))


def _integer_matmul(b: Body, levels: str) -> None:
    """``levels`` are int32 [N, K] that fit int8.

    Activations are multiplied as unsigned bytes around 128, the same sums: ONNX Runtime has no fast product of two
    signed ones on x86.
    """
    weight = b.op("Transpose", b.op("Cast", levels, to=TensorProto.INT8), perm=[1, 0])
    peak = _row_peak(b, "x")
    middle = b.op("Add", _levels(b, peak), b.constant(128, np.float32))
    sums = b.op("MatMulInteger", b.op("Cast", middle, to=TensorProto.UINT8), weight, b.constant(128, np.uint8))
    b.affine(b.op("Mul", b.op("Cast", sums, to=TensorProto.FLOAT), b.op("Div", peak, b.constant(127, np.float32))))


def _ternary_conv(b: Body) -> None:
    """Sums of products of integers, exact in float32 below 2^24: the Conv of any runtime gives the same."""
    kernel = b.attribute("kernel_shape")
    ones = b.ones(b.op("Shape", kernel))
    weight = _taps_last(b, b.op("Cast", _ternary(b), to=TensorProto.FLOAT), kernel)
    peak = b.op("Reshape", _row_peak(b, b.op("Flatten", "x", axis=1)), b.op("Concat", b.ints(-1, 1), ones, axis=0))
    sums = b.op("Conv", _levels(b, peak), weight)
    b.same_attributes(*_WINDOW)
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


@dataclass(frozen=True)
class Operator:
    """One operator: its name, its inputs in order, what it computes and the function body that defines it.

    ``since_opset`` is the lowest opset of the standard domain at which the body is legal. ``base`` is the operator
    that the body calls, if it does; ``attributes`` are lists of integers that a node must have.
    """

    name: str
    inputs: tuple[str, ...]
    doc: str
    build: Callable[[Body], None]
    since_opset: int
    base: str | None = None
    attributes: tuple[str, ...] = ()
    least_inputs: int = 1
    """Inputs K of a weight from which the operator is faster than ONNX Runtime's own with the decoded weight."""

    def pays(self, shape: tuple[int, int]) -> bool:
        """Whether a weight of this shape ``(N, K)`` is multiplied faster by the operator than in float32."""
        return shape[1] >= self.least_inputs

    def function(self, opset: int) -> onnx.FunctionProto:
        """The operator as a model-local function for a model of this opset.

        Raises:
            ValueError: ``opset`` is below ``since_opset``.
        """
        if opset < self.since_opset:
            raise ValueError(f"{self.name} needs opset {self.since_opset}, the model has {opset}")
        body = Body(opset)
        self.build(body)
        imports = [helper.make_opsetid("", opset)]
        if self.base is not None:
            imports.append(helper.make_opsetid(DOMAIN, VERSION))
        function = helper.make_function(
            DOMAIN, self.name, self.inputs, ["y"], body.nodes, imports, attributes=self.attributes
        )
        function.doc_string = self.doc
        return function


def _ending_in(base: Operator, ending: Ending) -> Operator:
    """The variant of an operator in which something follows the product."""

    def build(b: Body) -> None:
        product = b.op(base.name, *base.inputs, domain=DOMAIN)
        b.same_attributes(*base.attributes)
        ending.build(b, product)

    doc = f"{base.doc} {ending.doc}"
    inputs = (*base.inputs, *ending.inputs)
    return Operator(base.name + ending.suffix, inputs, doc, build, base.since_opset, base.name, base.attributes)


_TERNARY_INPUTS = ("codes", "multiplier", "scale", "bias", "shape")
_WINDOW = ("kernel_shape", "strides", "pads", "dilations")
"""Attributes of Conv. Ours have all of them, for a function body cannot ask which are there."""

_ROUNDED = (
    " On CPUs with AVX512-FP16, RF8 weights meet more than a few rows in float16: rows are scaled by a power of two "
    "and rounded, up to 128 products are added up in float16, these sums in float32. That adds an error of about "
    "0.001 of the result's norm, 0.002 at most. Inputs smaller than 2**-32 of their row's largest count as zero; NaN "
    "and infinity come out as in float32."
)
_MULTIPLY = (
    Operator(
        "TernaryMatMul",
        ("x", *_TERNARY_INPUTS),
        "y = quantized(x) * transpose(W) + bias for ternary W; every row of x is quantized to int8 by its largest "
        "magnitude and the sums are exact integers. A row with NaN or infinity gives a row of NaN.",
        lambda b: _integer_matmul(b, _ternary(b)),
        since_opset=11,
    ),
    Operator(
        "TernaryMatMulFloat",
        ("x", *_TERNARY_INPUTS),
        "y = x * transpose(W) + bias for ternary W and float32 activations.",
        lambda b: _integer_matmul_float(b, _ternary(b)),
        since_opset=9,
    ),
    Operator(
        "Ternary5MatMul",
        ("x", *_TERNARY_INPUTS),
        "TernaryMatMul with codes of five trits a byte.",
        lambda b: _integer_matmul(b, _ternary5(b)),
        since_opset=11,
    ),
    Operator(
        "Ternary5MatMulFloat",
        ("x", *_TERNARY_INPUTS),
        "TernaryMatMulFloat with codes of five trits a byte.",
        lambda b: _integer_matmul_float(b, _ternary5(b)),
        since_opset=9,
    ),
    Operator(
        "TernaryConv",
        ("x", *_TERNARY_INPUTS),
        "y = quantized(x) convolved with W, plus bias, for ternary W [N, taps * channels], the channels of the first "
        "tap first, over one or two axes and a multiple of four channels; every image is quantized to int8 by its "
        "largest magnitude and the sums are exact integers. An image with NaN or infinity gives NaN.",
        _ternary_conv,
        since_opset=12,
        attributes=_WINDOW,
        # One thread, AVX-512 VNNI, over Conv: 1.15 to 3.5 times as fast from 64 inputs on, 0.93 to 1.5 times below.
        least_inputs=64,
    ),
    Operator(
        "RF8MatMul",
        ("x", "codes", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for RF8 W and float32 activations." + _ROUNDED,
        _rf8_matmul,
        since_opset=9,
    ),
    Operator(
        "BlockSparseMatMul",
        ("x", "values", "index", "start", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for W with kept blocks of float32. NaN and infinity in x reach at least the "
        "outputs that keep their input.",
        _block_sparse_matmul,
        since_opset=9,
    ),
    Operator(
        "BlockSparseRF8MatMul",
        ("x", "codes", "index", "start", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for W with kept blocks of RF8. NaN and infinity in x reach at least the "
        "outputs that keep their input." + _ROUNDED,
        _block_sparse_rf8_matmul,
        since_opset=9,
    ),
    Operator(
        "GatedMatMul",
        ("x", "weights", "norms", "threshold", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for finite W; gated(x) is x, zero where |x| * norms < threshold.",
        _gated_matmul,
        since_opset=9,
    ),
    Operator(
        "GatedRF8MatMul",
        ("x", "codes", "norms", "threshold", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for RF8 W; gated(x) is x, zero where |x| * norms < threshold." + _ROUNDED,
        _gated_rf8_matmul,
        since_opset=9,
    ),
)
_DECODE = (
    Operator(
        "TernaryDecode",
        ("codes", "multiplier", "scale", "shape"),
        "The float32 matrix [N, K] that ternary codes stand for. A function only: folded when the model is loaded.",
        lambda b: _integer_decode(b, _ternary(b)),
        since_opset=9,
    ),
    Operator(
        "Ternary5Decode",
        ("codes", "multiplier", "scale", "shape"),
        "TernaryDecode with codes of five trits a byte.",
        lambda b: _integer_decode(b, _ternary5(b)),
        since_opset=9,
    ),
    Operator(
        "RF8Decode",
        ("codes", "scale", "shape"),
        "The float32 matrix [N, K] that RF8 codes stand for. A function only: folded when the model is loaded.",
        _rf8_decode,
        since_opset=9,
    ),
    Operator(
        "BlockSparseDecode",
        ("values", "index", "start", "scale", "shape"),
        "The float32 matrix [N, K] with kept blocks of float32. A function only: folded when the model is loaded.",
        _block_sparse_decode,
        since_opset=9,
    ),
    Operator(
        "BlockSparseRF8Decode",
        ("codes", "index", "start", "scale", "shape"),
        "The float32 matrix [N, K] with kept blocks of RF8. A function only: folded when the model is loaded.",
        _block_sparse_rf8_decode,
        since_opset=9,
    ),
)
_INT_DECODE = tuple(
    Operator(
        f"Int{bits}Decode",
        ("codes", "scale", "shape"),
        f"The float32 matrix [N, K] that {bits}-bit integers with a scale a block stand for. A function only: folded "
        "when the model is loaded.",
        build,
        since_opset=9,
    )
    for bits, build in ((4, integers.int4_decode), (8, integers.int8_decode))
)
_GATHER = (
    Operator(
        "RF8Gather",
        ("indices", "codes", "scale"),
        "y = the rows of W that indices name, for RF8 W with codes by rows; only those are decoded. Negative indices "
        "count from the end.",
        lookup.rf8_gather,
        since_opset=11,
    ),
    Operator(
        "RF8TiledGather",
        ("indices", "codes", "scale", "shape"),
        "y = the rows of W that indices name, for RF8 W with codes as of RF8MatMul, which may read the same.",
        lookup.rf8_tiled_gather,
        since_opset=11,
    ),
    Operator(
        "TernaryGather",
        ("indices", "codes", "multiplier", "scale", "shape"),
        "y = the rows of W that indices name, for ternary W with codes and multipliers by rows; only those are "
        "decoded. Negative indices count from the end.",
        lookup.ternary_gather,
        since_opset=11,
    ),
    Operator(
        "TernaryTiledGather",
        ("indices", "codes", "multiplier", "scale", "shape"),
        "y = the rows of W that indices name, for ternary W with codes as of TernaryMatMul, which may read the same.",
        lookup.ternary_tiled_gather,
        since_opset=11,
    ),
)
_ENDING_IN = tuple(_ending_in(base, ending) for base in _MULTIPLY for ending in ENDINGS.values())

OPERATORS: dict[str, Operator] = {
    operator.name: operator for operator in (*_MULTIPLY, *_ENDING_IN, *_GATHER, *_DECODE, *_INT_DECODE)
}


def functions(names: Iterable[str], opset: int) -> list[onnx.FunctionProto]:
    """The model-local functions of the named operators and of those that they call, for a model of this opset.

    A function comes after the one that it calls.
    """
    named = {OPERATORS[name] for name in names}
    called = {OPERATORS[operator.base] for operator in named if operator.base is not None}
    ordered = sorted(named | called, key=lambda operator: (operator.base is not None, operator.name))
    return [operator.function(opset) for operator in ordered]
