"""Small models as ONNX text with NumPy weights, and ways to run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from regc import runtime_ops

Array = npt.NDArray[Any]


def model(text: str, *, opset: int = 17, ir_version: int = 8, **weights: Array) -> onnx.ModelProto:
    """A model from the text of its graph ``name (inputs) => (outputs) { nodes }``; weights become initializers.

    ``__`` in the name of a weight stands for a dot.
    """
    header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(text if text.lstrip().startswith("<") else header + text)
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name.replace("__", ".")) for name, array in weights.items()
    )
    return proto


TWO_LAYERS = """g (float[n,256] x) => (float[n,256] y) {
    h = MatMul(x, first)
    r = Relu(h)
    y = MatMul(r, second)
}"""


def two_layers(**changes: Array) -> onnx.ModelProto:
    """Two weights of 512 kB, with a Relu between them."""
    return model(TWO_LAYERS, **({"first": normal(256, 512), "second": normal(512, 256, seed=1)} | changes))


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    """Weights from a normal distribution, scaled as a trained layer's are."""
    values = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[-1])
    return values.astype(dtype)


def run(proto: onnx.ModelProto | Path, feeds: dict[str, Array], *, library: bool = False) -> list[Array]:
    """Outputs of a model in ONNX Runtime, with or without our operators."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if library:
        runtime_ops.register(options)
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def op_types(proto: onnx.ModelProto) -> list[str]:
    """The operators of the main graph, in order, with the domain where it is not the standard one.

    Those that widen stored scales are left out.
    """
    return [f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in own_nodes(proto)]


def own_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of the main graph, without those that widen stored scales."""
    scales = {tensor.name for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    return [
        node
        for node in proto.graph.node
        if node.op_type != "Cast" or not (node.input[0] in scales and ".scale" in node.input[0])
    ]
