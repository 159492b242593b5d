"""From ModelProto to a GraphSurgeon graph, with nothing of what a graph computes left behind.

GraphSurgeon's own importer loses or refuses some of what ONNX allows (maps, optionals, types and sparse
tensors as attributes, strings that are not text, the element types of ml_dtypes), and it reads weights only
from tensors in memory.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
)
from onnx_graphsurgeon.util.misc import convert_from_onnx_attr_type

from regc.compiler.model.integrity import Origin, is_external
from regc.compiler.model.ordering import CycleError, flow_of, order
from regc.compiler.model.protos import STANDARD, describe, header_of, standard_opset
from regc.compiler.model.storage import FileValues, ParsedValues, StoredSparse, StoredValues
from regc.compiler.model.surgeon import FIELDS, merged, plain_attribute

Tensors = dict[str, Any]


def import_model(proto: ModelProto, origin: Origin) -> tuple[gs.Graph, list[gs.Constant]]:
    """The graph of a model, and the initializers of the main graph that nothing in it reads.

    The model has passed :func:`regc.compiler.model.integrity.check`. Raises ModelError when its nodes do not fit
    together.
    """
    importer = _Importer(proto, origin)
    graph = importer.model()
    outputs = {id(tensor) for tensor in graph.outputs}
    constants = (tensor for tensor in importer.main.values() if isinstance(tensor, gs.Constant))
    return graph, [constant for constant in constants if not constant.outputs and id(constant) not in outputs]


class _Importer:
    def __init__(self, proto: ModelProto, origin: Origin) -> None:
        self.proto = proto
        self.origin = origin
        self.imports = _copied(proto.opset_import)
        self.main: Tensors = {}

    def model(self) -> gs.Graph:
        proto = self.proto
        return self.graph(
            proto.graph,
            {},
            functions=[self.function(function) for function in proto.functions],
            producer_name=proto.producer_name,
            producer_version=proto.producer_version,
            ir_version=proto.ir_version,
        )

    def graph(self, proto: GraphProto, outer: Mapping[str, Any], **more: Any) -> gs.Graph:
        place = f"graph '{proto.name}'"
        scope = self.declare(proto, place)
        self.main = scope if proto is self.proto.graph else self.main
        known = ChainMap(scope, dict(outer))
        return gs.Graph(
            nodes=self.nodes(proto.node, scope, known, place),
            inputs=[scope[info.name] for info in proto.input if isinstance(scope[info.name], gs.Variable)],
            outputs=[self.lookup(info.name, known, f"output of {place}") for info in proto.output],
            name=proto.name,
            doc_string=proto.doc_string,
            opset=standard_opset(self.imports),
            import_domains=self.imports,
            **more,
        )

    def function(self, proto: FunctionProto) -> gs.Function:
        place = f"function '{proto.name}'"
        scope: Tensors = {name: gs.Variable(name) for name in proto.input}
        self.declare_outputs(proto.node, scope, place)
        _describe_variables(scope, getattr(proto, "value_info", ()))
        imports = _copied(proto.opset_import)
        attrs: dict[str, Any] = dict.fromkeys(proto.attribute)
        attrs.update((attribute.name, self.attribute(attribute, scope, place)) for attribute in proto.attribute_proto)
        return gs.Function(
            proto.name,
            domain=proto.domain,
            nodes=self.nodes(proto.node, scope, scope, place),
            inputs=[scope[name] for name in proto.input],
            outputs=[self.lookup(name, scope, f"output of {place}") for name in proto.output],
            doc_string=proto.doc_string,
            opset=standard_opset(imports) or standard_opset(self.imports),
            import_domains=imports,
            attrs=attrs,
        )

    def declare(self, proto: GraphProto, place: str) -> Tensors:
        """The tensors that belong to a graph itself."""
        scope: Tensors = {}
        for tensor in proto.initializer:
            values = self.values(tensor, f"initializer '{tensor.name}'")
            self.add(scope, tensor.name, gs.Constant(tensor.name, values), f"{place} has two initializers")
        for sparse in proto.sparse_initializer:
            name = sparse.values.name
            self.add(scope, name, gs.Constant(name, StoredSparse(sparse)), f"{place} has two initializers")
        for info in proto.input:
            if not isinstance(scope.get(info.name), gs.Constant):
                self.add(scope, info.name, gs.Variable(info.name), f"{place} has two inputs")
        self.declare_outputs(proto.node, scope, place)
        _describe_variables(scope, (*proto.input, *proto.output, *proto.value_info))
        return scope

    def declare_outputs(self, nodes: Iterable[NodeProto], scope: Tensors, place: str) -> None:
        for node in nodes:
            for name in filter(None, node.output):
                self.add(
                    scope,
                    name,
                    gs.Variable(name),
                    f"{place}: {describe(node)} writes a tensor that exists already,",
                )

    def add(self, scope: Tensors, name: str, tensor: Any, clash: str) -> None:
        if name in scope:
            raise self.origin.error(f"{clash} '{name}'; give every tensor a name of its own and export the model again")
        scope[name] = tensor

    def lookup(self, name: str, known: Mapping[str, Any], who: str) -> Any:
        if name not in known:
            raise self.origin.error(f"{who}: nothing produces '{name}'; the model is incomplete, export it again")
        return known[name]

    def nodes(self, nodes: Sequence[NodeProto], scope: Tensors, known: Mapping[str, Any], place: str) -> list[gs.Node]:
        """In an order in which they can run: ONNX Runtime takes unsorted models, the standard does not."""
        try:
            indices = order([flow_of(node) for node in nodes])
        except CycleError as error:
            culprit = describe(nodes[error.index])
            raise self.origin.error(
                f"{place}: {culprit} waits for its own output; the graph has a cycle, export it again"
            ) from error
        return [self.node(nodes[index], scope, known) for index in indices]

    def node(self, proto: NodeProto, scope: Tensors, known: Mapping[str, Any]) -> gs.Node:
        who = describe(proto)
        return gs.Node(
            proto.op_type,
            proto.name,
            attrs={attribute.name: self.attribute(attribute, known, who) for attribute in proto.attribute},
            inputs=[self.lookup(name, known, who) if name else gs.Variable.empty() for name in proto.input],
            outputs=[scope[name] if name else gs.Variable.empty() for name in proto.output],
            domain=None if proto.domain in STANDARD else proto.domain,
        )

    def attribute(self, attribute: AttributeProto, known: Mapping[str, Any], who: str) -> Any:
        if attribute.ref_attr_name:
            return gs.Node.AttributeRef(attribute.ref_attr_name, convert_from_onnx_attr_type(attribute.type))
        if attribute.type == AttributeProto.TENSOR:
            return gs.Constant(attribute.t.name, self.values(attribute.t, who))
        if attribute.type == AttributeProto.GRAPH:
            return self.graph(attribute.g, known)
        if attribute.type not in FIELDS and attribute.type not in {
            AttributeProto.STRING,
            AttributeProto.STRINGS,
        }:
            raise self.origin.error(f"{who}: attribute '{attribute.name}' has no known type; export the model again")
        return plain_attribute(attribute)

    def values(self, tensor: TensorProto, where: str) -> StoredValues:
        return (
            FileValues(header_of(tensor), self.origin.region(tensor, where))
            if is_external(tensor)
            else ParsedValues(tensor)
        )


def _describe_variables(scope: Tensors, infos: Iterable[ValueInfoProto]) -> None:
    by_name: dict[str, list[ValueInfoProto]] = {}
    for info in infos:
        by_name.setdefault(info.name, []).append(info)
    for name, several in by_name.items():
        tensor, said = scope.get(name), merged(several)
        if said is not None and isinstance(tensor, gs.Variable):
            tensor.type, tensor.dtype, tensor.shape = said.kind, said.dtype, said.shape


def _copied(imports: Iterable[onnx.OperatorSetIdProto]) -> list[onnx.OperatorSetIdProto]:
    return [onnx.OperatorSetIdProto.FromString(entry.SerializeToString()) for entry in imports]
