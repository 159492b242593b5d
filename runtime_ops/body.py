"""Writing function bodies: nodes that are legal at one opset of the standard domain."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops.formats import rf8

SIZES = ("N", "K", "block_size")
"""Attributes of our operators that are one integer; all others are lists of them."""


def _kind(attribute: str) -> onnx.AttributeProto.AttributeType:
    return onnx.AttributeProto.INT if attribute in SIZES else onnx.AttributeProto.INTS


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

    def top(self, scores: str, count: str) -> tuple[str, str]:
        """The ``count`` (int64 [1]) largest of each row in order, of equal ones the first, and their places, int64.

        Needs opset 10.
        """
        values = self.op("TopK", scores, count)
        self.nodes[-1].output.append(f"{values}.places")
        return values, f"{values}.places"

    def same_attributes(self, *names: str) -> None:
        """Give the last node these attributes of the node that the function stands for."""
        for name in names:
            attribute = self.nodes[-1].attribute.add(name=name, type=_kind(name))
            attribute.ref_attr_name = name

    def attribute(self, name: str) -> str:
        """An attribute of the node that the function stands for, an int64 vector or number. Needs opset 12."""
        output = self.op("Constant")
        self.same_attributes(name)
        self.nodes[-1].attribute[0].name = "value_ints" if _kind(name) == onnx.AttributeProto.INTS else "value_int"
        return output

    def ones(self, shape: str) -> str:
        """Ones of an int64 shape."""
        return self.op("ConstantOfShape", shape, value=numpy_helper.from_array(np.ones(1, np.int64)))

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
        """The int64 vector ``0 .. count - 1`` for a count of shape [1].

        Range, from opset 11 on, is folded when the model is loaded; ONNX Runtime does not fold NonZero.
        """
        if self.opset >= 11:
            limit = self.op("Reshape", count, self.constant([], np.int64))
            return self.op("Range", self.constant(0, np.int64), limit, self.constant(1, np.int64))
        return self.op("Reshape", self.op("NonZero", self.ones(count)), self.ints(-1))

    def count(self, tensor: str, axis: int) -> str:
        """A dimension of a tensor, with shape [1]."""
        return self.item(self.op("Shape", tensor), axis)

    def scatter(self, data: str, indices: str, updates: str, axis: int) -> str:
        """A tensor with some of its elements replaced. The operator got another name in opset 11."""
        return self.op("ScatterElements" if self.opset >= 11 else "Scatter", data, indices, updates, axis=axis)

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

    def rf8_values(self, codes: str = "codes") -> str:
        """What RF8 codes stand for without a scale, float32 in their shape."""
        return self.op(
            "Gather", self.constant(rf8.VALUES, np.float32), self.op("Cast", codes, to=TensorProto.INT32), axis=0
        )

    def column_scale(self) -> str:
        """``scale`` [N] as [N, 1]."""
        return self.op("Reshape", "scale", self.ints(-1, 1))

    def affine(self, product: str, shape: str | None = None) -> None:
        """``y = product * scale + bias``, these in another shape if one is given."""
        scale, bias = ("scale", "bias") if shape is None else (self.op("Reshape", v, shape) for v in ("scale", "bias"))
        self.op("Add", self.op("Mul", product, scale), bias, output="y")
