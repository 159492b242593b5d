"""The operators of domain ``ai.regc``, version 1: names, inputs, documentation and bodies in standard ONNX operators.

The body *is* the definition of an operator. Written into a model as a model-local function of the same domain and
name, it lets any ONNX Runtime run the model without our library (the decoding is folded at load); with the library
registered the node stays and our kernel runs. A body is legal at the model's own opset, from ``since_opset`` up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx
from onnx import helper

from regc.runtime_ops import bodies, integers, lookup
from regc.runtime_ops.body import Body
from regc.runtime_ops.endings import ENDINGS, Ending

DOMAIN = "ai.regc"
VERSION = 1
MIN_IR_VERSION = 8
"""Model-local functions exist since this IR version (ONNX 1.10)."""


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
        lambda b: bodies.integer_matmul(b, bodies.ternary_levels(b)),
        since_opset=11,
    ),
    Operator(
        "TernaryMatMulFloat",
        ("x", *_TERNARY_INPUTS),
        "y = x * transpose(W) + bias for ternary W and float32 activations.",
        lambda b: bodies.integer_matmul_float(b, bodies.ternary_levels(b)),
        since_opset=9,
    ),
    Operator(
        "Ternary5MatMul",
        ("x", *_TERNARY_INPUTS),
        "TernaryMatMul with codes of five trits a byte.",
        lambda b: bodies.integer_matmul(b, bodies.ternary5_levels(b)),
        since_opset=11,
    ),
    Operator(
        "Ternary5MatMulFloat",
        ("x", *_TERNARY_INPUTS),
        "TernaryMatMulFloat with codes of five trits a byte.",
        lambda b: bodies.integer_matmul_float(b, bodies.ternary5_levels(b)),
        since_opset=9,
    ),
    Operator(
        "TernaryConv",
        ("x", *_TERNARY_INPUTS),
        "y = quantized(x) convolved with W, plus bias, for ternary W [N, taps * channels], the channels of the first "
        "tap first, over one or two axes and a multiple of four channels; every image is quantized to int8 by its "
        "largest magnitude and the sums are exact integers. An image with NaN or infinity gives NaN.",
        bodies.ternary_conv,
        since_opset=12,
        attributes=bodies.WINDOW,
        # One thread, AVX-512 VNNI, over Conv: 1.15 to 3.5 times as fast from 64 inputs on, 0.93 to 1.5 times below.
        least_inputs=64,
    ),
    Operator(
        "RF8MatMul",
        ("x", "codes", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for RF8 W and float32 activations." + _ROUNDED,
        bodies.rf8_matmul,
        since_opset=9,
    ),
    Operator(
        "BlockSparseMatMul",
        ("x", "values", "index", "start", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for W with kept blocks of float32. NaN and infinity in x reach at least the "
        "outputs that keep their input.",
        bodies.block_sparse_matmul,
        since_opset=9,
    ),
    Operator(
        "BlockSparseRF8MatMul",
        ("x", "codes", "index", "start", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for W with kept blocks of RF8. NaN and infinity in x reach at least the "
        "outputs that keep their input." + _ROUNDED,
        bodies.block_sparse_rf8_matmul,
        since_opset=9,
    ),
    Operator(
        "GatedMatMul",
        ("x", "weights", "norms", "threshold", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for finite W; gated(x) is x, zero where |x| * norms < threshold.",
        bodies.gated_matmul,
        since_opset=9,
    ),
    Operator(
        "GatedRF8MatMul",
        ("x", "codes", "norms", "threshold", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for RF8 W; gated(x) is x, zero where |x| * norms < threshold." + _ROUNDED,
        bodies.gated_rf8_matmul,
        since_opset=9,
    ),
)
_DECODE = (
    Operator(
        "TernaryDecode",
        ("codes", "multiplier", "scale", "shape"),
        "The float32 matrix [N, K] that ternary codes stand for. A function only: folded when the model is loaded.",
        lambda b: bodies.integer_decode(b, bodies.ternary_levels(b)),
        since_opset=9,
    ),
    Operator(
        "Ternary5Decode",
        ("codes", "multiplier", "scale", "shape"),
        "TernaryDecode with codes of five trits a byte.",
        lambda b: bodies.integer_decode(b, bodies.ternary5_levels(b)),
        since_opset=9,
    ),
    Operator(
        "RF8Decode",
        ("codes", "scale", "shape"),
        "The float32 matrix [N, K] that RF8 codes stand for. A function only: folded when the model is loaded.",
        bodies.rf8_decode,
        since_opset=9,
    ),
    Operator(
        "BlockSparseDecode",
        ("values", "index", "start", "scale", "shape"),
        "The float32 matrix [N, K] with kept blocks of float32. A function only: folded when the model is loaded.",
        bodies.block_sparse_decode,
        since_opset=9,
    ),
    Operator(
        "BlockSparseRF8Decode",
        ("codes", "index", "start", "scale", "shape"),
        "The float32 matrix [N, K] with kept blocks of RF8. A function only: folded when the model is loaded.",
        bodies.block_sparse_rf8_decode,
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
