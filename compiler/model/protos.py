"""Small tools for protobuf messages of ONNX models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import onnx
from google.protobuf.message import Message
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

PAYLOAD = frozenset(
    {"float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data"}
    | {"external_data", "data_location", "segment"}
)
"""The fields of a TensorProto that say what the values are, or where."""

STANDARD = frozenset({"", "ai.onnx"})
"""The two names of the standard domain."""


def copy_fields(source: Message, target: Message, leave: Collection[str]) -> None:
    """Copy every field that is set, also those that later versions of ONNX add, but none in ``leave``."""
    for field, value in source.ListFields():
        if field.name in leave:
            continue
        if isinstance(value, (int, float, str, bytes)):
            setattr(target, field.name, value)
        elif isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        else:
            getattr(target, field.name).extend(value)


def header_of(tensor: TensorProto) -> TensorProto:
    """The TensorProto without its values and without the place where they are."""
    header = TensorProto()
    copy_fields(tensor, header, PAYLOAD)
    return header


def assign(target: Message, **fields: str) -> None:
    """Set text fields, but only those that change: written out, an absent field is not an empty one."""
    for name, value in fields.items():
        if getattr(target, name) != value:
            setattr(target, name, value)


def make_external(tensor: TensorProto, **keys: str | int) -> None:
    """Let a tensor without values say where they are: ``location``, ``offset`` and ``length``."""
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in keys.items():
        tensor.external_data.add(key=key, value=str(value))


def standard_opset(imports: Iterable[onnx.OperatorSetIdProto]) -> int:
    """The version of the standard domain; 0 when it is not imported."""
    return next((entry.version for entry in imports if entry.domain in STANDARD), 0)


def describe(node: Any) -> str:
    """``node 'name' (Op)`` of a NodeProto or a GraphSurgeon node; unnamed ones go by their first output."""
    if isinstance(node, NodeProto):
        return _words(node.op_type, node.name, node.output)
    return _words(node.op, node.name, [out.name for out in node.outputs])


def subgraphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    """The graphs in an attribute."""
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def nodes(proto: ModelProto) -> Iterator[NodeProto]:
    """Every node: of the graph, of subgraphs and of functions."""
    yield from all_nodes(proto.graph.node)
    for function in proto.functions:
        yield from all_nodes(function.node)


def tensors(proto: ModelProto) -> Iterator[tuple[TensorProto, str]]:
    """Every tensor that holds values, with words for where it is."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for attribute in function.attribute_proto:
            yield from _attribute_tensors(attribute, f"function '{function.name}'")
        for node in function.node:
            yield from _node_tensors(node)


def _words(op: str, name: str, outputs: Iterable[str]) -> str:
    return f"node '{name or next(filter(None, outputs), '')}' ({op})"


def all_nodes(some: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those of their bodies, however deep."""
    for node in some:
        yield node
        for attribute in node.attribute:
            for graph in subgraphs(attribute):
                yield from all_nodes(graph.node)


def _graph_tensors(graph: GraphProto) -> Iterator[tuple[TensorProto, str]]:
    for tensor in graph.initializer:
        yield tensor, f"initializer '{tensor.name}'"
    for sparse in graph.sparse_initializer:
        yield sparse.values, f"sparse initializer '{sparse.values.name}'"
        yield sparse.indices, f"indices of sparse initializer '{sparse.values.name}'"
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: NodeProto) -> Iterator[tuple[TensorProto, str]]:
    for attribute in node.attribute:
        yield from _attribute_tensors(attribute, describe(node))
        for graph in subgraphs(attribute):
            yield from _graph_tensors(graph)


def _attribute_tensors(attribute: AttributeProto, owner: str) -> Iterator[tuple[TensorProto, str]]:
    where = f"{owner}, attribute '{attribute.name}'"
    if attribute.HasField("t") and not attribute.ref_attr_name:
        yield attribute.t, where
    for tensor in attribute.tensors:
        yield tensor, where
    for sparse in [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else attribute.sparse_tensors:
        yield sparse.values, where
        yield sparse.indices, where
