"""What looks up rows of a weight, and decodes only those."""

from regc.runtime_ops import lookup
from regc.runtime_ops.operator import Operator

_OUT_OF_RANGE = " An index out of range is an error, but for the CUDA provider: there its row is NaN."
LOOKUPS = (
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
