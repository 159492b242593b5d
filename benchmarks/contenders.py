"""One matrix product, written in every way that ONNX Runtime can be given: ours, and what a user could have instead.

Each contender builds, for a float32 weight ``[N, K]``, the nodes and constants of ``y = x @ W.T`` and tells which
matrix they stand for, so that a benchmark can check its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from regc.compiler.passes import SiteInfo
from regc.compiler.terms import Coded, Dense
from regc.passes import RF8, Ternary
from regc.runtime_ops import ops

Float32 = npt.NDArray[np.float32]


@dataclass
class Layer:
    """Nodes and initializers of one product, its matrix, and the relative error that its activations may add."""

    nodes: list[onnx.NodeProto]
    initializers: list[onnx.TensorProto]
    matrix: Float32
    tolerance: float
    functions: set[str] = field(default_factory=set)

    @property
    def nbytes(self) -> int:
        """Bytes of the weight as stored."""
        return sum(len(tensor.raw_data) for tensor in self.initializers)


Build = Callable[[Float32, str, str, str], Layer]


def float32(weight: Float32, x: str, y: str, name: str) -> Layer:
    """MatMul as it is."""
    node = helper.make_node("MatMul", [x, f"{name}.w"], [y])
    return Layer([node], [_constant(f"{name}.w", weight.T)], weight, 1e-4)


def nbits(bits: int, block: int) -> Build:
    """ONNX Runtime's MatMulNBits with int8 activations (``accuracy_level=4``), symmetric, one scale a block."""

    def build(weight: Float32, x: str, y: str, name: str) -> Layer:
        outputs, inputs = weight.shape
        blocks = weight.reshape(outputs, inputs // block, block)
        zero = 1 << (bits - 1)
        scales = np.abs(blocks).max(-1, keepdims=True) / (zero - 1 if bits > 2 else 1)
        codes = np.clip(np.rint(blocks / scales) + zero, 1 if bits == 2 else 0, 2 * zero - 1).astype(np.uint8)
        matrix = ((codes.astype(np.float32) - zero) * scales).reshape(outputs, inputs).astype(np.float32)
        packed = _pack(codes, bits)
        attributes = {"K": inputs, "N": outputs, "bits": bits, "block_size": block, "accuracy_level": 4}
        node = helper.make_node("MatMulNBits", [x, f"{name}.q", f"{name}.s"], [y], domain="com.microsoft", **attributes)
        constants = [
            _constant(f"{name}.q", packed),
            _constant(f"{name}.s", scales.astype(np.float32).reshape(-1)),
        ]
        return Layer([node], constants, matrix, 0.05)

    return build


def dynamic_int8(weight: Float32, x: str, y: str, name: str) -> Layer:
    """What ``quantize_dynamic(per_channel=True)`` emits: activations quantized by tensor, int8 weights by output."""
    scales = np.abs(weight).max(1) / 127
    codes = np.rint(weight / scales[:, None]).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", [x], [f"{name}.xq", f"{name}.xs", f"{name}.xz"]),
        helper.make_node("MatMulInteger", [f"{name}.xq", f"{name}.q", f"{name}.xz", f"{name}.z"], [f"{name}.i"]),
        helper.make_node("Cast", [f"{name}.i"], [f"{name}.f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.xs", f"{name}.s"], [f"{name}.xss"]),
        helper.make_node("Mul", [f"{name}.f", f"{name}.xss"], [y]),
    ]
    constants = {"q": codes.T, "z": np.zeros(len(codes), np.int8), "s": scales.astype(np.float32)}
    matrix = (codes * scales[:, None]).astype(np.float32)
    return Layer(nodes, [_constant(f"{name}.{key}", value) for key, value in constants.items()], matrix, 0.05)


def ours(pass_: RF8 | Ternary, tolerance: float) -> Build:
    """The weight as a pass of ours leaves it, and the operator that multiplies by it."""

    def build(weight: Float32, x: str, y: str, name: str) -> Layer:
        site = SiteInfo(name, ("MatMul",), (name,), (len(weight), weight.shape[1]), weight.dtype, True, True)
        term = pass_.fit(Dense(weight), site)
        assert isinstance(term, Coded), term
        operands: dict[str, Any] = {**term.operands(), "bias": np.zeros(1, np.float32)}
        inputs = [x if key == "x" else f"{name}.{key}" for key in ops.OPERATORS[term.matmuls[0]].inputs]
        node = helper.make_node(term.matmuls[0], inputs, [y], domain=ops.DOMAIN)
        constants = [_constant(f"{name}.{key}", value) for key, value in operands.items()]
        return Layer([node], constants, term.dense(), tolerance, {term.matmuls[0]})

    return build


CONTENDERS: dict[str, Build] = {
    "float32": float32,
    "int8 dynamic": dynamic_int8,
    "8 bit, block 128": nbits(8, 128),
    "4 bit, block 32": nbits(4, 32),
    "4 bit, block 128": nbits(4, 128),
    "2 bit, block 128": nbits(2, 128),
    "ternary": ours(Ternary(), 0.05),
    "ternary/64": ours(Ternary(group=64), 0.05),
    "rf8": ours(RF8(), 1e-4),
}


def model_of(layers: list[Layer], rows: int) -> onnx.ModelProto:
    """Independent layers side by side, each with an input ``x0, x1, ...`` and an output ``y0, y1, ...`` of its own."""
    inputs = [
        helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, [rows, layer.matrix.shape[1]])
        for i, layer in enumerate(layers)
    ]
    outputs = [
        helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.FLOAT, [rows, layer.matrix.shape[0]])
        for i, layer in enumerate(layers)
    ]
    nodes = [node for layer in layers for node in layer.nodes]
    constants = [tensor for layer in layers for tensor in layer.initializers]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, constants)
    imports = [
        helper.make_opsetid("", 17),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid(ops.DOMAIN, 1),
    ]
    functions = ops.functions({name for layer in layers for name in layer.functions}, 17)
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=8)


def _pack(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    per_byte = 8 // bits
    fields = codes.reshape(*codes.shape[:-1], -1, per_byte) << (np.arange(per_byte, dtype=np.uint8) * bits)
    return fields.sum(-1, dtype=np.uint8)


def _constant(name: str, values: npt.NDArray[Any]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)
