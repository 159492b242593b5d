"""Units that a model always gives the same value, as its weights alone tell.

The rows of a weight that are zero leave a bias, a BatchNormalization of scale zero leaves its shift, and a factor of
zero leaves nothing: what follows, element by element, computes from that what a consumer reads, for every input of the
model. Tensors are known as arrays of one value for each unit, of the rank of the tensor and with the size 1 along all
other axes; NaN stands for what is not certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper

from regc.compiler.sites.chains import FLOATS, STANDARD, numpy_type, trace
from regc.compiler.structure.group import Group, Place
from regc.compiler.structure.rules import ELEMENTWISE
from regc.compiler.structure.walk import Dims

Float64 = npt.NDArray[np.float64]
_POOLS = frozenset({"MaxPool", "GlobalMaxPool", "GlobalAveragePool"})
"""Pools that leave a value that is the same everywhere as it is, at the borders, too."""


class Certain:
    """What is certain of the tensors of the main graph. ``dims`` are shapes by name, as far as they are known."""

    def __init__(self, group: Group, dims: Mapping[str, Dims], opset: int) -> None:
        self._producers = {id(place.node): place for place in group.producers}
        self._units = group.units
        self._dims = dims
        self._opset = opset
        self._known: dict[int, Float64 | None] = {}

    def inputs(self, place: Place) -> Float64:
        """The inputs of a consumer, float64 ``[K]`` in the order of its columns, NaN for those that are not certain.

        A convolution that pads sees zeros beside them.
        """
        shape = place.values().shape
        span = int(np.prod(shape[2:])) if place.node.op == "Conv" else 1
        found = self.of(place.node.inputs[0])
        whole, own = shape[place.axis], self._units * place.inner
        if found is None or found.size not in (1, whole):
            return np.full(own * span, np.nan)
        values = np.broadcast_to(found.reshape(-1), whole)[place.before :][:own]
        return np.repeat(values, span)

    def of(self, tensor: gs.Tensor) -> Float64 | None:
        """What is certain of a tensor; None where that is nothing."""
        if id(tensor) not in self._known:
            self._known[id(tensor)] = None  # a graph has no cycles, but nobody promised that here
            self._known[id(tensor)] = self._found(tensor)
        return self._known[id(tensor)]

    def _found(self, tensor: gs.Tensor) -> Float64 | None:
        if (chain := trace(tensor)) is not None:
            return chain.values().astype(np.float64)
        node = tensor.inputs[0] if tensor.inputs else None
        if node is None or node.domain not in STANDARD or node.outputs[0] is not tensor:
            return None
        if id(node) in self._producers:
            return self._produced(node, self._producers[id(node)])
        if node.op in ELEMENTWISE:
            return self._elementwise(node)
        if node.op in _POOLS:
            return self.of(node.inputs[0])
        rule = _RULES.get(node.op)
        return rule(self, node) if rule is not None else None

    def _produced(self, node: gs.Node, place: Place) -> Float64 | None:
        """Rows of zeros leave the bias."""
        rank = len(place.values().shape) if node.op == "Conv" else len(self._dims.get(node.outputs[0].name, ()))
        rows = np.moveaxis(place.values(), place.axis, 0)
        if not rank or rows.reshape(len(rows), -1).any(1).all():
            return None
        values = np.zeros(len(rows))
        if len(node.inputs) > 2 and not node.inputs[2].is_empty():
            bias = self.of(node.inputs[2])
            scale = node.attrs.get("beta", 1.0) if node.op == "Gemm" else 1.0
            values = values + (np.nan if bias is None or bias.size not in (1, len(rows)) else scale * bias.reshape(-1))
        values[rows.reshape(len(rows), -1).any(1)] = np.nan
        return (
            values.reshape(1, -1, *(1,) * (rank - 2)) if node.op == "Conv" else values.reshape(*(1,) * (rank - 1), -1)
        )

    def _elementwise(self, node: gs.Node) -> Float64 | None:
        """What the operator makes of what is certain; a product with zero is certain by itself."""
        given = [None if tensor.is_empty() else self.of(tensor) for tensor in node.inputs]
        inputs = [np.full(1, np.nan) if value is None else value for value in given]
        if node.op != "Mul" and any(value is None for value in given):
            return None
        unknown = np.zeros(1, np.bool_)
        for value in inputs:
            unknown = unknown | np.isnan(value)
        zero = np.zeros(1, np.bool_)
        for value in inputs if node.op == "Mul" else ():
            zero = zero | (value == 0)
        if (unknown & ~zero).all():
            return None
        if node.op == "Cast" and numpy_type(node.attrs["to"]).name not in FLOATS:
            return None
        values = [np.nan_to_num(value).astype(np.float32) for value in inputs]
        if node.op == "Where":
            values[0] = values[0].astype(np.bool_)
        result = evaluate(node, values, self._opset)
        return None if result is None else np.where(unknown & ~zero, np.nan, result.astype(np.float64))


def pads(node: gs.Node) -> bool:
    """Whether a consumer sees zeros beside its inputs."""
    if node.op != "Conv":
        return False
    return any(node.attrs.get("pads", ())) or node.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")


def factors(group: Group) -> Float64 | None:
    """The absolute values of the scales of all BatchNormalizations that units go through, multiplied; None without."""
    scales = [place for place in group.followers if place.node.op == "BatchNormalization" and place.index == 1]
    found = [np.abs(place.by_unit(group.units).astype(np.float64)).max(1) for place in scales]
    return np.asarray(np.prod(found, 0)) if found else None


def evaluate(node: gs.Node, inputs: Sequence[npt.NDArray[Any]], opset: int) -> npt.NDArray[Any] | None:
    """The first output of an operator for its inputs, None where the reference does not know the operator."""
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - slow to import

    names = [f"x{index}" for index in range(len(inputs))]
    attrs = dict(node.attrs)
    if "to" in attrs:
        attrs["to"] = helper.np_dtype_to_tensor_dtype(numpy_type(attrs["to"]))
    graph = helper.make_graph(
        [helper.make_node(node.op, names, ["y"], **attrs)],
        "one",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for name, x in zip(names, inputs, strict=True)
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    try:
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(proto).run(None, dict(zip(names, inputs, strict=True)))
    except Exception:  # an operator of another version or domain: it is not certain what it does
        return None
    assert isinstance(found, list)
    return np.asarray(found[0])


def _batch_normalization(certain: Certain, node: gs.Node) -> Float64 | None:
    """A channel of scale zero is its shift."""
    parameters = [certain.of(tensor) for tensor in node.inputs[1:5]]
    if any(value is None for value in parameters) or int(node.attrs.get("training_mode", 0)):
        return None
    scale, shift, mean, variance = (np.asarray(value).reshape(-1) for value in parameters)
    x, rank = certain.of(node.inputs[0]), len(certain._dims.get(node.outputs[0].name, ()))
    if rank < 2:
        return None
    values = np.full(len(scale), np.nan) if x is None else np.broadcast_to(x.reshape(-1), len(scale))
    found = (values - mean) / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5))) * scale + shift
    return np.asarray(np.where(scale == 0, shift, found)).reshape(1, -1, *(1,) * (rank - 2))


def _depthwise(certain: Certain, node: gs.Node) -> Float64 | None:
    """A filter of zeros, or one on zeros, leaves the bias of its channel."""
    weight, x = certain.of(node.inputs[1]), certain.of(node.inputs[0])
    if weight is None or node.attrs.get("group", 1) != len(weight):
        return None
    bias = (
        certain.of(node.inputs[2]) if len(node.inputs) > 2 and not node.inputs[2].is_empty() else np.zeros(len(weight))
    )
    zero = ~weight.reshape(len(weight), -1).any(1)
    if x is not None:
        zero = zero | (np.broadcast_to(x.reshape(-1), len(weight)) == 0)
    if bias is None or not zero.any():
        return None
    return np.where(zero, bias.reshape(-1), np.nan).reshape(1, -1, *(1,) * (weight.ndim - 2))


def _transpose(certain: Certain, node: gs.Node) -> Float64 | None:
    x = certain.of(node.inputs[0])
    return None if x is None else np.transpose(x, node.attrs.get("perm") or None)


def _flatten(certain: Certain, node: gs.Node) -> Float64 | None:
    """Every channel becomes a span of the last axis."""
    x, shape = certain.of(node.inputs[0]), certain._dims.get(node.inputs[0].name, ())
    if x is None or len(shape) != x.ndim or not all(isinstance(size, int) for size in shape[1:]):
        return None
    whole = np.broadcast_to(x, (1, *(int(size) for size in shape[1:])))
    return whole.reshape(1, -1) if node.attrs.get("axis", 1) == 1 else None


def _concat(certain: Certain, node: gs.Node) -> Float64 | None:
    """What is certain of each part."""
    parts = [certain.of(tensor) for tensor in node.inputs]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    axis = int(node.attrs["axis"]) % known[0].ndim
    whole = []
    for tensor, part in zip(node.inputs, parts, strict=True):
        size = certain._dims.get(tensor.name, (None,) * known[0].ndim)[axis] if trace(tensor) is None else None
        size = part.shape[axis] if part is not None and size is None else size
        if not isinstance(size, int) or (part is not None and part.ndim != known[0].ndim):
            return None
        missing = np.full(1, np.nan) if part is None else part.max(tuple(set(range(part.ndim)) - {axis}), keepdims=True)
        shape = [1] * known[0].ndim
        shape[axis] = size
        whole.append(np.broadcast_to(missing, shape))
    return np.concatenate(whole, axis)


_RULES: dict[str, Callable[[Certain, gs.Node], Float64 | None]] = {
    "BatchNormalization": _batch_normalization,
    "Conv": _depthwise,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Concat": _concat,
}
