"""Models of one convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops import ops
from regc.runtime_ops.endings import ENDINGS

from .packed import (
    NODE,
    Array,
    Weights,
    weights,
)

OP = "TernaryConv"


@dataclass
class Window:
    """The attributes of a node; by default a kernel of 3x3 that keeps the size."""

    kernel_shape: Sequence[int] = (3, 3)
    strides: Sequence[int] = (1, 1)
    pads: Sequence[int] = (1, 1, 1, 1)
    dilations: Sequence[int] = (1, 1)
    without: tuple[str, ...] = field(default=())

    def attributes(self) -> dict[str, list[int]]:
        names = ("kernel_shape", "strides", "pads", "dilations")
        return {name: list(getattr(self, name)) for name in names if name not in self.without}


def convolution(
    inputs: Weights,
    window: Window,
    x_shape: Sequence[int | str],
    *,
    ending: str = "",
    variable: tuple[str, ...] = (),
    function: bool = True,
    opset: int = 17,
) -> onnx.ModelProto:
    """One node NODE; ``other``, when the ending adds it, is an input of the graph like y."""
    names = [*inputs, *ENDINGS[ending].inputs] if ending else [*inputs]
    shapes: dict[str, Any] = {name: inputs[name].shape for name in variable}
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)]
    infos += [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(inputs[name].dtype), shape)
        for name, shape in shapes.items()
    ]
    free = [None] * len(x_shape)
    infos += [helper.make_tensor_value_info("other", TensorProto.FLOAT, free)] if "other" in names else []
    node = helper.make_node(OP + ending, ["x", *names], ["y"], domain=ops.DOMAIN, name=NODE, **window.attributes())
    graph = helper.make_graph(
        [node],
        "one_convolution",
        infos,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, free)],
        [numpy_helper.from_array(value, name) for name, value in inputs.items() if name not in variable],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    functions = ops.functions([OP + ending], opset) if function else []
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION)


def packed(outputs: int, channels: int, taps: int, group: int | None = None, *, seed: int = 0) -> Weights:
    return weights("TernaryMatMul", (outputs, taps * channels), group, seed=seed)


def images(*shape: int, seed: int = 0) -> Array:
    """Images of very different magnitudes."""
    random = np.random.default_rng(seed)
    magnitudes = 10.0 ** random.integers(-6, 6, (shape[0], *[1] * (len(shape) - 1)))
    return (random.standard_normal(shape) * magnitudes).astype(np.float32)
