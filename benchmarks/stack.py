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


def model_of(layers: Sequence[tuple[Layer, Constants]], rows: int, inputs: int) -> onnx.ModelProto:
    """Independent layers, each from an input ``x0, x1, ...`` ``[rows, inputs]`` to an output of its own ``y0, ...``."""
    nodes, constants = [], []
    for index, (layer, values) in enumerate(layers):
        nodes += [renamed(node, index) for node in layer.nodes]
        constants += [numpy_helper.from_array(value, f"{name}{index}") for name, value in values.items()]
    every = range(len(layers))
    x = [helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, [rows, inputs]) for i in every]
    y = [helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.FLOAT, [rows, None]) for i in every]
    graph = helper.make_graph(nodes, "layers", x, y, constants)
    domains = {"": OPSET, "com.microsoft": 1, ops.DOMAIN: ops.VERSION}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    functions = ops.functions({name for layer, _ in layers for name in layer.functions}, OPSET)
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION)


def moved(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """A weight moved on by ``count`` rows; places and what is small stay."""
    places = values.dtype in (np.int32, np.int64)
    return values if places or values.nbytes < _SMALL else np.roll(values, count, axis=0)


def renamed(node: onnx.NodeProto, index: int) -> onnx.NodeProto:
    """The node with ``index`` behind the names of its inputs and outputs."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [f"{name}{index}" for name in node.input]
    copy.output[:] = [f"{name}{index}" for name in node.output]
    return copy
