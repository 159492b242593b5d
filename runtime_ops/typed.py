"""Activations of any float type, of operators that compute in float32.

The operators take x, and what is added, in float32, float16 or bfloat16, multiply in float32 and round the result to
that type once. Their bodies for any type say so: they cast what comes in, and in the end like x, which needs opset 15.
With float32 they are the plain ones, for ONNX Runtime drops casts that change nothing.

What looks up rows has no input of the type that it gives. So each type has an operator of its own
(``RF8GatherFloat16``), whose body calls the one for float32 and casts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnx import TensorProto

from regc.runtime_ops.body import Body
from regc.runtime_ops.endings import Ending
from regc.runtime_ops.operator import Operator, ending_in

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


def _cast(to: int) -> Callable[[Body, str], None]:
    def build(b: Body, rows: str) -> None:
        b.op("Cast", rows, output="y", to=to)

    return build


GIVEN: dict[str, Ending] = {
    "float16": Ending("Float16", "y is float16.", _cast(TensorProto.FLOAT16)),
    "bfloat16": Ending("BFloat16", "y is bfloat16.", _cast(TensorProto.BFLOAT16)),
}
"""How the operators are called that give rows of other types than float32, by NumPy's name of the type."""


def given_in(operator: Operator, dtype: str) -> Operator:
    """An operator that gives what another does, in a type of :data:`GIVEN`."""
    return replace(ending_in(operator, GIVEN[dtype]), since_opset=SINCE_OPSET)
