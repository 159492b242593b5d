"""Bodies that call ONNX Runtime's own ``com.microsoft::MatMulNBits`` with two bits in place of the standard ones.

Without our library such a model keeps two bits a weight in memory, where the standard bodies are folded to int8. ONNX
Runtime loads it since 1.24 and is fast since 1.28; with our library any release does, for it leaves the body alone.
The codes become those of MatMulNBits by nodes that are folded when the model is loaded. Activations are quantized in
blocks there and not by rows, so the results are near those of the operator, and bit for bit those of MatMulNBits.

Measured on ONNX Runtime 1.24.1, 1.28.0 and 1.32.0: the same bits and, once loaded, the speed of a plain MatMulNBits.
"""

import numpy as np
from onnx import TensorProto

from regc.runtime_ops.body import SIZES, Body
from regc.runtime_ops.formats import ternary

DOMAIN = "com.microsoft"
SINCE_OPSET = 12
"""Attributes become tensors since this opset."""

_BITS = 2
_IN_BYTE = 8 // _BITS
_LEVELS = ((np.arange(256)[:, None] >> np.array([0, 2, 4, 6])) & 3).astype(np.int32) + 1
"""int32 [256, 4]: the levels 1, 2 and 3 of the four trits of a byte."""


def ternary_matmul(b: Body) -> None:
    """Products with two-bit ternary weights, of which every group is a whole number of blocks."""
    block = b.op("Reshape", b.attribute("block_size"), b.ints(1))
    blocks = b.op("Div", b.op("Sub", b.op("Add", b.item("shape", 1), block), b.ints(1)), block)
    codes, scales = _codes(b, block, blocks), _scales(b, block, blocks)
    product = b.op("MatMulNBits", "x", codes, scales, domain=DOMAIN, bits=_BITS, accuracy_level=4)
    b.same_attributes(*SIZES)
    b.op("Add", "bias", product, output="y")  # the type is that of the first: the checker does not know the operator


def _codes(b: Body, block: str, blocks: str) -> str:
    """uint8 [N, blocks, block / 4]: the levels, filled up with zeros, the first of a byte in its lowest bits."""
    levels = b.decode(_LEVELS, [0, 2, 1, 4, 3], ternary.BLOCK)
    missing = b.op("Sub", b.op("Mul", blocks, block), b.item("shape", 1))
    whole = b.op("Pad", levels, b.op("Concat", b.ints(0, 0, 0), missing, axis=0), b.constant(_BITS, np.int32))
    in_byte = b.ints(_IN_BYTE)
    sizes = b.op("Concat", b.item("shape", 0), blocks, b.op("Div", block, in_byte), in_byte, axis=0)
    places = np.left_shift(1, _BITS * np.arange(_IN_BYTE))[:, None]
    packed = b.op("MatMul", b.op("Reshape", whole, sizes), b.constant(places, np.int32))
    sizes = b.op("Concat", b.item("shape", 0), blocks, b.ints(-1), axis=0)
    return b.op("Cast", b.op("Reshape", packed, sizes), to=TensorProto.UINT8)


def _scales(b: Body, block: str, blocks: str) -> str:
    """float32 [N * blocks]: the scale of each block is its group's multiplier times the row's scale."""
    by_row = b.op("Transpose", "multiplier", perm=[0, 2, 1])
    by_row = b.op("Reshape", by_row, b.op("Concat", b.ints(-1), b.count("multiplier", 1), axis=0))
    group_of = b.op("Div", b.op("Mul", b.arange(blocks), block), b.item("shape", 2))
    wide = b.op("Gather", b.op("Cast", by_row, to=TensorProto.FLOAT), group_of, axis=1)
    wide = b.leading(wide, b.op("Concat", b.item("shape", 0), blocks, axis=0))
    return b.op("Reshape", b.op("Mul", wide, b.column_scale()), b.ints(-1))
