"""Bodies of the operators that look up rows: the codes of the rows asked for first, then what they stand for."""

import numpy as np
from onnx import TensorProto

from regc.runtime_ops.body import Body
from regc.runtime_ops.formats import rf8, rows, ternary


def _asked(b: Body, matrix: str) -> str:
    """The rows that ``indices`` name: from here on only those are decoded."""
    return b.op("Gather", matrix, "indices", axis=0)


def _untiled(b: Body, tensor: str, perm: list[int], block: int) -> str:
    """A tensor ``[tiles, blocks, ...]`` with ``block`` elements an output as a matrix, one row after the other."""
    tiles = b.op("Gather", b.op("Shape", tensor), b.ints(0, 1), axis=0)
    padded = b.op("Mul", tiles, b.ints(rows.TILE, block))
    return b.op("Reshape", b.op("Transpose", tensor, perm=perm), padded)


def _real_rows(b: Body, matrix: str) -> str:
    """A matrix without the rows that fill up its last tile: negative indices count from the end of the others."""
    return b.leading(matrix, b.op("Concat", b.item("shape", 0), b.count(matrix, 1), axis=0))


def rf8_gather(b: Body) -> None:
    """RF8 codes [N, K], one row after the other."""
    b.op("Mul", b.rf8_values(_asked(b, "codes")), _asked(b, b.column_scale()), output="y")


def rf8_tiled_gather(b: Body) -> None:
    """RF8 codes in tiles."""
    codes = b.leading(_untiled(b, "codes", [0, 2, 4, 1, 3, 5], rf8.BLOCK), "shape")
    b.op("Mul", b.rf8_values(_asked(b, codes)), _asked(b, b.column_scale()), output="y")


def _ternary_rows(b: Body, codes: str, multiplier: str, place: str) -> None:
    """``codes`` [N, bytes] and ``multiplier`` [N, G] by rows; ``place`` [K] is the field of a row for each input."""
    fields = np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3
    bytes_ = b.op("Cast", _asked(b, codes), to=TensorProto.INT32)
    trits = b.op("Gather", b.constant(fields - 1, np.int32), bytes_, axis=0)
    count = b.op("Mul", b.count(codes, 1), b.ints(4))
    flat = b.op("Reshape", trits, b.op("Concat", b.op("Shape", "indices"), count, axis=0))
    group_of = b.op("Div", b.arange(b.item("shape", 1)), b.item("shape", 2))
    wide = b.op("Gather", b.op("Cast", _asked(b, multiplier), to=TensorProto.INT32), group_of, axis=-1)
    levels = b.op("Mul", b.op("Gather", flat, place, axis=-1), wide)
    b.op("Mul", b.op("Cast", levels, to=TensorProto.FLOAT), _asked(b, b.column_scale()), output="y")


def ternary_gather(b: Body) -> None:
    """Ternary codes [N, ceil(K/4)] and multipliers [N, G], one row after the other."""
    _ternary_rows(b, "codes", "multiplier", b.arange(b.item("shape", 1)))


def ternary_tiled_gather(b: Body) -> None:
    """Ternary codes and multipliers in tiles.

    Field p of byte j of a block is input 4 p + j: input k is field p + 4 j of its block.
    """
    inputs = b.arange(b.item("shape", 1))
    quads = b.op("Div", inputs, b.ints(4))
    blocks = b.op("Div", inputs, b.ints(ternary.BLOCK))
    j = b.op("Sub", inputs, b.op("Mul", quads, b.ints(4)))
    p = b.op("Sub", quads, b.op("Mul", blocks, b.ints(4)))
    in_block = b.op("Add", p, b.op("Mul", j, b.ints(4)))
    place = b.op("Add", in_block, b.op("Mul", blocks, b.ints(ternary.BLOCK)))
    codes = _untiled(b, "codes", [0, 2, 1, 3], ternary.BLOCK // 4)
    multiplier = _untiled(b, "multiplier", [0, 2, 1], 1)
    _ternary_rows(b, _real_rows(b, codes), _real_rows(b, multiplier), place)
