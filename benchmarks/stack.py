"""Layers side by side in one model, and copies of a layer whose weights lie apart and differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from benchmarks.contenders import Constants, Layer
from regc.runtime_ops import ops

OPSET = 17
_SMALL = 1 << 10


def copies(layer: Layer, count: int) -> list[Constants]:
    """The constants of a layer, then ``count - 1`` times the same with weights moved on by some rows.

    Every copy is memory of its own, with bytes of its own, which a runtime cannot merge.
    """
    return [{name: moved(values, i) for name, values in layer.constants.items()} for i in range(count)]


def model_of(
    layers: Sequence[tuple[Layer, Constants]], rows: int, inputs: int
) -> tuple[onnx.ModelProto, dict[str, npt.NDArray[Any]]]:
    """Independent layers, each from an input ``x0, x1, ...`` ``[rows, inputs]`` to an output of its own ``y0, ...``.

    Weights stay outside of the model, by name, as a session takes them (``add_external_initializers``): so models may
    be larger than 2 GB, and nothing is copied on the way.
    """
    nodes, constants, outside = [], [], {}
    for index, (layer, values) in enumerate(layers):
        nodes += [renamed(node, index) for node in layer.nodes]
        for name, value in values.items():
            if _small(value):
                constants.append(numpy_helper.from_array(value, f"{name}{index}"))
            else:
                constants.append(_declared(f"{name}{index}", value))
                outside[f"{name}{index}"] = value
    every = range(len(layers))
    x = [helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, [rows, inputs]) for i in every]
    y = [helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.FLOAT, [rows, None]) for i in every]
    graph = helper.make_graph(nodes, "layers", x, y, constants)
    domains = {"": OPSET, "com.microsoft": 1, ops.DOMAIN: ops.VERSION}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    functions = ops.functions({name for layer, _ in layers for name in layer.functions}, OPSET)
    proto = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION)
    return proto, outside


def _small(values: npt.NDArray[Any]) -> bool:
    return values.nbytes < _SMALL


def _declared(name: str, values: npt.NDArray[Any]) -> onnx.TensorProto:
    """A constant of which the model knows type and shape, and a place that no file has."""
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=values.shape, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": name, "offset": "0", "length": str(values.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def moved(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """A weight moved on by ``count`` rows; places and what is small stay."""
    places = values.dtype in (np.int32, np.int64)
    return values if places or _small(values) else np.roll(values, count, axis=0)


def renamed(node: onnx.NodeProto, index: int) -> onnx.NodeProto:
    """The node with ``index`` behind the names of its inputs and outputs."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [f"{name}{index}" for name in node.input]
    copy.output[:] = [f"{name}{index}" for name in node.output]
    return copy
