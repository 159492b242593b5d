"""Bodies for activations of any float type, of the operators that compute in float32.

The operators take x, and what is added, in float32, float16 or bfloat16, multiply in float32 and round the result to
that type once. These bodies say so: they cast what comes in, and in the end like x, which needs opset 15. With float32
they are the plain ones, for ONNX Runtime drops casts that change nothing.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import TensorProto

from regc.runtime_ops.body import Body
from regc.runtime_ops.operator import Operator

SINCE_OPSET = 15
ACTIVATIONS = ("x", "other")
"""Inputs of the type of the result."""


def typed(operator: Operator) -> Operator:
    """An operator with a body for activations of any float type, around its own."""

    def build(b: Body) -> None:
        wide = {name: f"{name}_float32" for name in (*ACTIVATIONS, "y")}
        for name in set(ACTIVATIONS).intersection(operator.inputs):
            b.op("Cast", name, output=wide[name], to=TensorProto.FLOAT)
        around = len(b.nodes)
        operator.build(b)
        for node in b.nodes[around:]:
            for tensors in (node.input, node.output):
                tensors[:] = [wide.get(name, name) for name in tensors]
        b.op("CastLike", wide["y"], "x", output="y")

    return replace(operator, build=build, since_opset=max(operator.since_opset, SINCE_OPSET))
