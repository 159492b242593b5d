"""What multiplies by a weight."""

from regc.runtime_ops import bodies, regions
from regc.runtime_ops.operator import Operator

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
_TOP = (
    " but for the inputs of the `active` largest |x * norms| of each row, 1 to K: as TopK has them, of equal ones the "
    "first. NaN counts as infinity."
)
PRODUCTS = (
    Operator(
        "TernaryMatMul",
        ("x", *_TERNARY_INPUTS),
        "y = quantized(x) * transpose(W) + bias for ternary W; every row of x is quantized to int8 by its largest "
        "magnitude and the sums are exact integers. A row with NaN or infinity gives a row of NaN.",
        lambda b: bodies.integer_matmul(b, bodies.ternary_levels(b)),
        since_opset=11,
        region=regions.TERNARY,
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
    Operator(
        "GatedTopKMatMul",
        ("x", "weights", "norms", "active", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for finite W; gated(x) is x, zero" + _TOP,
        bodies.gated_topk_matmul,
        since_opset=10,
        region=regions.GATED,
    ),
    Operator(
        "GatedTopKRF8MatMul",
        ("x", "codes", "norms", "active", "scale", "bias", "shape"),
        "y = gated(x) * transpose(W) + bias for RF8 W; gated(x) is x, zero" + _TOP + _ROUNDED,
        bodies.gated_topk_rf8_matmul,
        since_opset=10,
        region=regions.GATED_RF8,
    ),
)
