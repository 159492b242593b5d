"""Bodies of the operators that decode integers with a scale a block (:mod:`regc.runtime_ops.formats.nbits`)."""

import numpy as np
from onnx import TensorProto

from regc.runtime_ops.body import Body


def _blocks_decode(b: Body, levels: str) -> None:
    """``levels`` are float32 [N, blocks, block]."""
    sizes = b.op("Gather", b.op("Shape", levels), b.ints(0, 1), axis=0)
    scale = b.op("Reshape", "scale", b.op("Concat", sizes, b.ints(1), axis=0))
    padded = b.op("Concat", b.item(sizes, 0), b.ints(-1), axis=0)
    b.op("Identity", b.leading(b.op("Reshape", b.op("Mul", levels, scale), padded), "shape"), output="y")


def int8_decode(b: Body) -> None:
    """Codes [N, blocks, block]."""
    _blocks_decode(b, b.op("Sub", b.op("Cast", "codes", to=TensorProto.FLOAT), b.constant(128, np.float32)))


def int4_decode(b: Body) -> None:
    """Codes [N, blocks, block / 2]."""
    nibbles = (np.arange(256)[:, None] >> np.array([0, 4]) & 15) - 8
    pairs = b.op("Gather", b.constant(nibbles, np.float32), b.op("Cast", "codes", to=TensorProto.INT32), axis=0)
    _blocks_decode(b, b.op("Reshape", pairs, b.ints(0, 0, -1)))
