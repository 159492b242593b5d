"""Packed tables, and models of one node that looks rows up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops import ops
from regc.runtime_ops.formats import rf8, rows, ternary
from regc.runtime_ops.typed import GIVEN

from .packed import Array, _codes

GATHERS = ("RF8Gather", "RF8TiledGather", "TernaryGather", "TernaryTiledGather")


NODE = "embedding/3"


def table(op: str, shape: tuple[int, int], group: int = 32, seed: int = 0) -> tuple[dict[str, Array], Array]:
    """Random operands of a table ``[N, K]``, and the float32 matrix that they stand for."""
    random = np.random.default_rng(seed)
    scale = (random.uniform(0.5, 2, shape[0]) * random.choice([-1, 1], shape[0])).astype(np.float32)
    if op.startswith("RF8"):
        codes = _codes(shape, random)
        packed = {"codes": codes, "scale": scale}
        if op == "RF8TiledGather":
            packed = {"codes": rf8.pack_codes(codes), "scale": scale, "shape": np.array(shape)}
        return packed, rf8.VALUES[codes] * scale[:, None]
    group = min(group, shape[1])
    trits = random.integers(-1, 2, shape).astype(np.int8)
    multipliers = random.integers(0, 65, (shape[0], -(-shape[1] // group))).astype(np.uint8)
    tiled = op == "TernaryTiledGather"
    operands = {
        "codes": ternary.pack_trits(trits) if tiled else rows.pack_trits(trits),
        "multiplier": ternary.pack_multipliers(multipliers) if tiled else multipliers,
        "scale": scale,
        "shape": np.array([*shape, group]),
    }
    levels = trits * multipliers[:, np.arange(shape[1]) // group].astype(np.int32)
    return operands, levels.astype(np.float32) * scale[:, None]


def in_two_bytes(proto: onnx.ModelProto, dtype: str, *, bodies: bool = True) -> onnx.ModelProto:
    """The same lookup by the operator that gives ``dtype``, and a cast back: NumPy cannot fetch bfloat16."""
    (node,) = proto.graph.node
    node.op_type += GIVEN[dtype].suffix
    node.output[:] = ["y.half"]
    proto.graph.node.append(helper.make_node("Cast", ["y.half"], ["y"], to=TensorProto.FLOAT))
    del proto.functions[:]
    if bodies:
        proto.functions.extend(ops.functions([node.op_type], proto.opset_import[0].version))
    return proto


def model(
    op: str, operands: Mapping[str, Array], rank: int = 1, *, index: str = "int64", opset: int = 17, **kinds: Any
) -> onnx.ModelProto:
    """One node that looks rows up; ``variable`` names operands that are inputs of the graph. Without ``shape_of_y`` it
    is left to inference.
    """
    variable, function = kinds.get("variable", ()), kinds.get("function", True)
    shape = [f"d{axis}" for axis in range(rank)]
    y_shape = [f"y{axis}" for axis in range(rank + 1)] if kinds.get("shape_of_y", True) else None
    names = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in operands.items()}
    graph = helper.make_graph(
        [helper.make_node(op, ["indices", *operands], ["y"], domain=ops.DOMAIN, name=NODE)],
        "lookup",
        [
            helper.make_tensor_value_info("indices", helper.np_dtype_to_tensor_dtype(np.dtype(index)), shape),
            *(helper.make_tensor_value_info(name, names[name], operands[name].shape) for name in variable),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)],
        [numpy_helper.from_array(value, name) for name, value in operands.items() if name not in variable],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    functions = ops.functions([op], opset) if function else []
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION)
