"""What gives a whole matrix, for nodes that none of ours can take the place of."""

from regc.runtime_ops import bodies, integers
from regc.runtime_ops.operator import Operator

_OF_CODES = (
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
    Operator(
        "SparseDecode",
        ("values", "mask", "scale", "shape"),
        "The float32 matrix [N, K] with single weights of float32 kept. A function only: folded when the model is "
        "loaded.",
        bodies.sparse_decode,
        since_opset=9,
    ),
    Operator(
        "SparseRF8Decode",
        ("codes", "mask", "scale", "shape"),
        "The float32 matrix [N, K] with single weights of RF8 kept. A function only: folded when the model is loaded.",
        bodies.sparse_rf8_decode,
        since_opset=9,
    ),
)
_OF_INTEGERS = tuple(
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
DECODERS = (*_OF_CODES, *_OF_INTEGERS)
