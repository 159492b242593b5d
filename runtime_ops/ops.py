"""The operators of domain ``ai.regc``, version 1: names, inputs, documentation and bodies in standard ONNX operators.

The body *is* the definition of an operator. Written into a model as a model-local function of the same domain and
name, it lets any ONNX Runtime run the model without our library (the decoding is folded at load); with the library
registered the node stays and our kernel runs. A body is legal at the model's own opset, from ``since_opset`` up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops.formats import rf8, ternary

DOMAIN = "ai.regc"
VERSION = 1
MIN_IR_VERSION = 8
"""Model-local functions exist since this IR version (ONNX 1.10)."""
TINY = 1e-30
"""Smallest row maximum that int8 activations are scaled by: its reciprocal is still finite in float32."""


class Body:
    """Collects the nodes of a function body that is legal at one opset of the standard domain."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []

    def op(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Append a Constant node and return the name of its output."""
        return self.op("Constant", value=numpy_helper.from_array(np.asarray(values, dtype)))

    def ints(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(values, np.int64)

    def item(self, vector: str, index: int) -> str:
        """Element ``index`` of a vector, with shape [1]."""
        return self.op("Gather", vector, self.ints(index), axis=0)

    def arange(self, count: str) -> str:
        """The int64 vector ``0 .. count - 1`` for a count of shape [1]."""
        ones = self.op("ConstantOfShape", count, value=numpy_helper.from_array(np.ones(1, np.int64)))
        return self.op("Reshape", self.op("NonZero", ones), self.ints(-1))

    def leading(self, matrix: str, sizes: str) -> str:
        """The top left ``sizes`` (int64 [2]) of a matrix. Slice takes tensors only from opset 10 on."""
        if self.opset >= 10:
            return self.op("Slice", matrix, self.ints(0, 0), sizes)
        rows = self.op("Gather", matrix, self.arange(self.item(sizes, 0)), axis=0)
        return self.op("Gather", rows, self.arange(self.item(sizes, 1)), axis=1)

    def decode(self, table: npt.NDArray[np.generic], perm: list[int], block: int) -> str:
        """Look every byte of ``codes`` up in a table and put the tiles in order: [N, K]."""
        indices = self.op("Cast", "codes", to=TensorProto.INT32)
        values = self.op("Gather", self.constant(table, table.dtype), indices, axis=0)
        tiles = self.op("Gather", self.op("Shape", "codes"), self.ints(0, 1), axis=0)
        padded = self.op("Mul", tiles, self.ints(rf8.TILE, block))
        matrix = self.op("Reshape", self.op("Transpose", values, perm=perm), padded)
        return self.leading(matrix, self.op("Gather", "shape", self.ints(0, 1), axis=0))

    def affine(self, product: str) -> None:
        """``y = product * scale + bias``."""
        self.op("Add", self.op("Mul", product, "scale"), "bias", output="y")


def _rf8(b: Body) -> str:
    """float32 [N, K]: the unscaled values."""
    return b.decode(rf8.VALUES, [0, 2, 4, 1, 3, 5], rf8.BLOCK)


def _ternary(b: Body) -> str:
    """int32 [N, K]: multiplier times trit."""
    fields = np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3
    trits = b.decode((fields - 1).astype(np.int8), [0, 2, 1, 4, 3], ternary.BLOCK)
    groups = b.item(b.op("Shape", "multiplier"), 1)
    rows = b.op("Transpose", "multiplier", perm=[0, 2, 1])
    rows = b.op("Reshape", rows, b.op("Concat", b.ints(-1), groups, axis=0))
    group_of = b.op("Div", b.arange(b.item("shape", 1)), b.item("shape", 2))
    wide = b.op("Gather", b.op("Cast", rows, to=TensorProto.INT32), group_of, axis=1)
    sizes = b.op("Gather", "shape", b.ints(0, 1), axis=0)
    return b.op("Mul", b.op("Cast", trits, to=TensorProto.INT32), b.leading(wide, sizes))


def _column_scale(b: Body) -> str:
    return b.op("Reshape", "scale", b.ints(-1, 1))


def _rf8_matmul(b: Body) -> None:
    b.affine(b.op("MatMul", "x", b.op("Transpose", _rf8(b), perm=[1, 0])))


def _rf8_decode(b: Body) -> None:
    b.op("Mul", _rf8(b), _column_scale(b), output="y")


def _ternary_decode(b: Body) -> None:
    b.op("Mul", b.op("Cast", _ternary(b), to=TensorProto.FLOAT), _column_scale(b), output="y")


def _ternary_matmul_float(b: Body) -> None:
    weight = b.op("Cast", _ternary(b), to=TensorProto.FLOAT)
    b.affine(b.op("MatMul", "x", b.op("Transpose", weight, perm=[1, 0])))


def _ternary_matmul(b: Body) -> None:
    weight = b.op("Transpose", b.op("Cast", _ternary(b), to=TensorProto.INT8), perm=[1, 0])
    peak = _row_peak(b)
    steps = b.constant(127, np.float32)
    levels = b.op("Round", b.op("Mul", "x", b.op("Div", steps, peak)))
    finite = b.op("Where", b.op("IsNaN", levels), b.constant(0, np.float32), levels)
    sums = b.op("MatMulInteger", b.op("Cast", finite, to=TensorProto.INT8), weight)
    b.affine(b.op("Mul", b.op("Cast", sums, to=TensorProto.FLOAT), b.op("Div", peak, steps)))


def _row_peak(b: Body) -> str:
    """Largest magnitude of each row, keeping the axis; infinite for a row with NaN, so that its result is NaN."""
    infinity = b.constant(np.inf, np.float32)
    magnitude = b.op("Where", b.op("IsNaN", "x"), infinity, b.op("Abs", "x"))
    if b.opset >= 18:
        peak = b.op("ReduceMax", magnitude, b.ints(-1), keepdims=1)
    else:
        peak = b.op("ReduceMax", magnitude, axes=[-1], keepdims=1)
    return b.op("Max", peak, b.constant(TINY, np.float32))


@dataclass(frozen=True)
class Operator:
    """One operator: its name, its inputs in order, what it computes and the function body that defines it.

    ``since_opset`` is the lowest opset of the standard domain at which the body is legal.
    """

    name: str
    inputs: tuple[str, ...]
    doc: str
    build: Callable[[Body], None]
    since_opset: int

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
        function = helper.make_function(DOMAIN, self.name, self.inputs, ["y"], body.nodes, imports)
        function.doc_string = self.doc
        return function


_TERNARY_INPUTS = ("codes", "multiplier", "scale", "bias", "shape")

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator(
            "TernaryMatMul",
            ("x", *_TERNARY_INPUTS),
            "y = quantized(x) * transpose(W) + bias for ternary W; every row of x is quantized to int8 by its largest "
            "magnitude and the sums are exact integers. A row with NaN or infinity gives a row of NaN.",
            _ternary_matmul,
            since_opset=11,
        ),
        Operator(
            "TernaryMatMulFloat",
            ("x", *_TERNARY_INPUTS),
            "y = x * transpose(W) + bias for ternary W and float32 activations.",
            _ternary_matmul_float,
            since_opset=9,
        ),
        Operator(
            "RF8MatMul",
            ("x", "codes", "scale", "bias", "shape"),
            "y = x * transpose(W) + bias for RF8 W and float32 activations.",
            _rf8_matmul,
            since_opset=9,
        ),
        Operator(
            "TernaryDecode",
            ("codes", "multiplier", "scale", "shape"),
            "The float32 matrix [N, K] that ternary codes stand for. A function only: folded when the model is loaded.",
            _ternary_decode,
            since_opset=9,
        ),
        Operator(
            "RF8Decode",
            ("codes", "scale", "shape"),
            "The float32 matrix [N, K] that RF8 codes stand for. A function only: folded when the model is loaded.",
            _rf8_decode,
            since_opset=9,
        ),
    )
}


def functions(names: Iterable[str], opset: int) -> list[onnx.FunctionProto]:
    """The model-local functions of the named operators, for a model of this opset."""
    return [OPERATORS[name].function(opset) for name in sorted(set(names))]
