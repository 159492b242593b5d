"""Model-local functions that are given their weights as arguments, put in the place of their calls.

Inside such a function a weight is an input like any other, so a pass could not tell it;
and two calls have different weights.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto, NodeProto, TensorProto, inliner

from regc.compiler.model.protos import nodes

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def inline_weighted_calls(proto: ModelProto) -> ModelProto:
    """The model with every function inlined that is called with a float matrix; the model itself when there is none."""
    while calls := sorted({(node.domain, node.op_type) for node in _weighted_calls(proto)}):
        proto = inliner.inline_selected_functions(proto, calls)
    return proto


def _weighted_calls(proto: ModelProto) -> Iterator[NodeProto]:
    functions = {(function.domain, function.name) for function in proto.functions}
    if not functions:
        return
    weights = set(_weights(proto))
    for node in nodes(proto):
        if (node.domain, node.op_type) in functions and not weights.isdisjoint(node.input):
            yield node


def _weights(proto: ModelProto) -> Iterator[str]:
    """Names of float constants of two dimensions or more."""
    yield from (tensor.name for tensor in proto.graph.initializer if _is_weight(tensor))
    for node in nodes(proto):
        if node.op_type == "Constant":
            yield from (node.output[0] for attribute in node.attribute if _is_weight(attribute.t))


def _is_weight(tensor: TensorProto) -> bool:
    return tensor.data_type in _FLOATS and len(tensor.dims) >= 2
