"""What the original model says of tensors and attributes, word for word, wherever it still holds.

GraphSurgeon keeps of a type its element type and its dimensions, of an attribute its Python value.
Denotations, doc strings, maps, optionals and empty lists are only in the original protos; a tensor or an
attribute that no pass has changed gets them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import AttributeProto, GraphProto, NodeProto, ValueInfoProto, helper
from onnx_graphsurgeon.util.misc import convert_to_onnx_attr_type

from regc.compiler.errors import RegcError
from regc.compiler.model import dtypes
from regc.compiler.model.protos import STANDARD, all_nodes
from regc.compiler.model.surgeon import merged, plain_attribute

CUSTOM_VERSION = 1
"""Version of a domain that a pass has brought in without importing it."""


class Descriptions:
    """Descriptions of tensors, from several lists of a graph or function that may speak of the same one."""

    def __init__(self, *lists: Iterable[ValueInfoProto]) -> None:
        self.lists = [{info.name: info for info in some} for some in lists]

    def __contains__(self, name: str) -> bool:
        return any(name in some for some in self.lists)

    def of(self, tensor: gs.Tensor, place: int) -> ValueInfoProto:
        """For list ``place``: the original description if it still holds, else what the graph knows."""
        said = [some[tensor.name] for some in self.lists if tensor.name in some]
        if said and _holds(said, tensor):
            return self.lists[place].get(tensor.name, said[0])
        return _described(tensor)


def inner(
    graph: gs.Graph, constants: dict[str, gs.Constant], said: Descriptions, ends: set[str]
) -> Iterator[ValueInfoProto]:
    """Descriptions of what lies between inputs and outputs."""
    tensors = {tensor.name: tensor for node in graph.nodes for tensor in node.outputs if tensor.name}
    tensors.update((name, constant) for name, constant in constants.items() if name in said)
    last = len(said.lists) - 1
    return (
        said.of(t, last) for name, t in tensors.items() if name not in ends and (t.dtype is not None or name in said)
    )


def attribute(name: str, value: Any, original: AttributeProto, who: str) -> AttributeProto:
    """An attribute that is neither a tensor nor a graph.

    Raises RegcError for a value that no attribute can hold.
    """
    if _unchanged(value, original):
        return original
    if isinstance(value, gs.Node.AttributeRef):
        kind = convert_to_onnx_attr_type(value.type)
        return AttributeProto(name=name, type=kind, ref_attr_name=value.name)
    if isinstance(value, (type, np.dtype)):
        value = dtypes.onnx_type(value)
    kind = original.type if isinstance(value, list) and not value else None
    try:
        return helper.make_attribute(name, value, attr_type=kind or None)
    except (TypeError, ValueError) as error:
        raise RegcError(
            f"{who}: attribute '{name}' cannot hold {value!r} ({error}); a pass must give it another value"
        ) from error


def import_domains(out: Any, known: Iterable[onnx.OperatorSetIdProto], nodes: Iterable[NodeProto]) -> None:
    """Write opset imports: the known ones, and version 1 of every other domain that a node uses."""
    out.extend(known)
    have = {_domain(entry.domain) for entry in out}
    for domain in dict.fromkeys(_domain(node.domain) for node in all_nodes(nodes)):
        if domain and domain not in have:
            out.append(helper.make_opsetid(domain, CUSTOM_VERSION))


def keep_annotations(original: GraphProto, out: GraphProto) -> None:
    """Quantization annotations whose tensors all still exist."""
    names = {tensor.name for tensor in out.initializer} | {info.name for info in out.input}
    names.update(name for node in out.node for name in node.output)
    for note in original.quantization_annotation:
        if names.issuperset([note.tensor_name, *(entry.value for entry in note.quant_parameter_tensor_names)]):
            out.quantization_annotation.append(note)


def same_operator(original: NodeProto, node: gs.Node) -> bool:
    """Whether a node is still of the kind that it was."""
    return bool((original.op_type, _domain(original.domain)) == (node.op, _domain(node.domain or "")))


def _holds(said: list[ValueInfoProto], tensor: gs.Tensor) -> bool:
    original, shape = merged(said), None if tensor.shape is None else list(tensor.shape)
    dtype = dtypes.onnx_type(tensor.dtype)
    if original is None:
        return dtype == 0 and shape is None
    kind = "tensor_type" if isinstance(tensor, gs.Constant) else tensor.type
    return bool((original.kind, dtypes.onnx_type(original.dtype), original.shape) == (kind, dtype, shape))


def _described(tensor: gs.Tensor) -> ValueInfoProto:
    make = {
        "sequence_type": helper.make_tensor_sequence_value_info,
        "sparse_tensor_type": helper.make_sparse_tensor_value_info,
    }
    if tensor.dtype is None:
        return ValueInfoProto(name=tensor.name)
    kind = "tensor_type" if isinstance(tensor, gs.Constant) else tensor.type
    return make.get(kind, helper.make_tensor_value_info)(tensor.name, dtypes.onnx_type(tensor.dtype), tensor.shape)


def _unchanged(value: Any, original: AttributeProto) -> bool:
    if original.ref_attr_name or isinstance(value, gs.Node.AttributeRef):
        return isinstance(value, gs.Node.AttributeRef) and value.name == original.ref_attr_name
    if original.type in {AttributeProto.UNDEFINED, AttributeProto.TENSOR, AttributeProto.GRAPH}:
        return False
    before = plain_attribute(original)
    return type(before) is type(value) and bool(before == value)


def _domain(domain: str) -> str:
    return "" if domain in STANDARD else domain
