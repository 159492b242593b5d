"""The operators of domain ``ai.regc``, version 1: names, inputs, documentation and bodies in standard ONNX operators.

The body *is* the definition of an operator. Written into a model as a model-local function of the same domain and
name, it lets any ONNX Runtime run the model without our library (the decoding is folded at load); with the library
registered the node stays and our kernel runs. A body is legal at the model's own opset, from ``since_opset`` up.

Products take x, and what is added, in float32, float16 or bfloat16 and give the same type; they compute in float32 and
round once. Models with activations of two bytes have bodies that cast (``TYPED``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import onnx

from regc.runtime_ops import bodies, integers, lookup, nbits, regions
from regc.runtime_ops.body import SIZES
from regc.runtime_ops.endings import ENDINGS
from regc.runtime_ops.operator import DOMAIN, MIN_IR_VERSION, VERSION, Operator, ending_in
from regc.runtime_ops.typed import typed

__all__ = [
    "DOMAIN",
    "MATMULNBITS",
    "MIN_IR_VERSION",
    "ON_CUDA",
    "OPERATORS",
    "TYPED",
    "VERSION",
    "Operator",
    "functions",
    "loses",
    "wins",
]

_TERNARY_INPUTS = ("codes", "multiplier", "scale", "bias", "shape")
"""What follows x in all operators that multiply by ternary weights."""

_ROUNDED = (
    " On CPUs with AVX512-FP16, RF8 weights meet more than a few rows in float16: rows are scaled by a power of two "
    "and rounded, up to 128 products are added up in float16, these sums in float32. That adds an error of about "
    "0.001 of the result's norm, 0.002 at most. Inputs smaller than 2**-32 of their row's largest count as zero; NaN "
    "and infinity come out as in float32."
)
_ROUNDED_ON_CUDA = (
    " The CUDA provider rounds more than eight rows to float16 in the same way, and adds the products up in float32."
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
        region=regions.CONVOLUTION,
    ),
    Operator(
        "RF8MatMul",
        ("x", "codes", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for RF8 W and float32 activations." + _ROUNDED + _ROUNDED_ON_CUDA,
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
        region=regions.SPARSE,
    ),
    Operator(
        "BlockSparseRF8MatMul",
        ("x", "codes", "index", "start", "scale", "bias", "shape"),
        "y = x * transpose(W) + bias for W with kept blocks of RF8. NaN and infinity in x reach at least the "
        "outputs that keep their input." + _ROUNDED,
        bodies.block_sparse_rf8_matmul,
        since_opset=9,
        region=regions.SPARSE_RF8,
    ),
    Operator(
        "GatedMatMul",
        ("x", "weights", "norms", "threshold", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for finite W; gated(x) is x, zero where |x| * norms < threshold.",
        bodies.gated_matmul,
        since_opset=9,
        region=regions.GATED,
    ),
    Operator(
        "GatedRF8MatMul",
        ("x", "codes", "norms", "threshold", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for RF8 W; gated(x) is x, zero where |x| * norms < threshold." + _ROUNDED,
        bodies.gated_rf8_matmul,
        since_opset=9,
        region=regions.GATED_RF8,
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
_OUT_OF_RANGE = " An index out of range is an error, but for the CUDA provider: there its row is NaN."
_GATHER = (
    Operator(
        "RF8Gather",
        ("indices", "codes", "scale"),
        "y = the rows of W that indices name, for RF8 W with codes by rows; only those are decoded. Negative indices "
        "count from the end." + _OUT_OF_RANGE,
        lookup.rf8_gather,
        since_opset=11,
    ),
    Operator(
        "RF8TiledGather",
        ("indices", "codes", "scale", "shape"),
        "y = the rows of W that indices name, for RF8 W with codes as of RF8MatMul, which may read the same."
        + _OUT_OF_RANGE,
        lookup.rf8_tiled_gather,
        since_opset=11,
    ),
    Operator(
        "TernaryGather",
        ("indices", "codes", "multiplier", "scale", "shape"),
        "y = the rows of W that indices name, for ternary W with codes and multipliers by rows; only those are "
        "decoded. Negative indices count from the end." + _OUT_OF_RANGE,
        lookup.ternary_gather,
        since_opset=11,
    ),
    Operator(
        "TernaryTiledGather",
        ("indices", "codes", "multiplier", "scale", "shape"),
        "y = the rows of W that indices name, for ternary W with codes as of TernaryMatMul, which may read the same."
        + _OUT_OF_RANGE,
        lookup.ternary_tiled_gather,
        since_opset=11,
    ),
)
_ENDING_IN = tuple(ending_in(base, ending) for base in _MULTIPLY for ending in ENDINGS.values())

OPERATORS: dict[str, Operator] = {
    operator.name: operator for operator in (*_MULTIPLY, *_ENDING_IN, *_GATHER, *_DECODE, *_INT_DECODE)
}

ON_CUDA = frozenset(
    operator.name for operator in (*_MULTIPLY, *_ENDING_IN, *_GATHER) if not operator.name.startswith("TernaryConv")
)
"""The operators that the CUDA provider has, too."""

TYPED: dict[str, Operator] = {
    operator.name: typed(operator)
    for operator in (*_MULTIPLY, *_ENDING_IN)
    if not operator.name.startswith("TernaryConv")
}
"""The products with bodies for activations of float16 and bfloat16 also: see :mod:`regc.runtime_ops.typed`."""


def _by_nbits(base: Operator) -> Iterable[Operator]:
    """An operator and its variants, with a body that calls MatMulNBits."""
    since = max(base.since_opset, nbits.SINCE_OPSET)
    base = replace(base, build=nbits.ternary_matmul, since_opset=since, attributes=SIZES, domain=nbits.DOMAIN)
    return (base, *(ending_in(base, ending) for ending in ENDINGS.values()))


MATMULNBITS: dict[str, Operator] = {operator.name: operator for operator in _by_nbits(OPERATORS["TernaryMatMul"])}
"""Operators with other bodies: see :mod:`regc.runtime_ops.nbits`."""


def functions(
    names: Iterable[str], opset: int, operators: Mapping[str, Operator] = OPERATORS
) -> list[onnx.FunctionProto]:
    """The model-local functions of the named operators and of those that they call, for a model of this opset.

    A function comes after the one that it calls. ``operators`` has them all.
    """
    named = {operators[name] for name in names}
    called = {operators[operator.base] for operator in named if operator.base is not None}
    ordered = sorted(named | called, key=lambda operator: (operator.base is not None, operator.name))
    return [operator.function(opset) for operator in ordered]


def loses(operator: str, shape: tuple[int, int], rows: int | None = None, share: float = 1.0) -> str | None:
    """Why an operator is no faster than what takes its place otherwise, in words; None where it wins.

    ``shape`` is ``(N, K)`` of the weight. ``rows`` are the rows of x in one product, None where they are not known:
    the operator then has to win for some number of them. ``share`` is the part of the weight that a row uses, of
    GatedMatMul the mean share of inputs that pass the gate, of BlockSparseMatMul the share of blocks that are kept.
    How that was measured is told in :mod:`regc.runtime_ops.regions`, which has the numbers.
    """
    found = OPERATORS[operator].region.loses(shape[1], rows, share)
    return None if found is None else f"{operator} {found}"


def wins(operator: str, shape: tuple[int, int], rows: int | None = None, share: float = 1.0) -> bool:
    """Whether an operator is faster than what takes its place otherwise; see :func:`loses`."""
    return loses(operator, shape, rows, share) is None
