"""From a GraphSurgeon graph back to ONNX, with everything put back that GraphSurgeon cannot hold.

The graph is walked side by side with the ModelProto that it was made of. A node that still writes the same
tensor with the same operator gets back its doc string, metadata and whatever else the standard may have;
:mod:`regc.compiler.model.fidelity` does the same for tensors and attributes. Large values are left out, for the
writer to stream.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_graphsurgeon as gs
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
)
from onnx_graphsurgeon.ir.tensor import SparseValues

from regc.compiler.errors import RegcError
from regc.compiler.model import fidelity
from regc.compiler.model.fidelity import Descriptions
from regc.compiler.model.ordering import CycleError, checked_names, order, surgeon_flow
from regc.compiler.model.protos import assign, copy_fields, describe
from regc.compiler.model.storage import StoredValues, stored
from regc.compiler.model.writer import Draft

INPUTS_ARE_INITIALIZERS = 3
"""Up to this IR version every initializer is listed as an input, and none of them is meant to be fed."""
_INPUT, _OUTPUT, _INNER = range(3)
_GRAPH = {field.name for field in GraphProto.DESCRIPTOR.fields} - {"name", "doc_string", "metadata_props"}
_NODE = {"input", "output", "attribute"}
_FUNCTION = {"input", "output", "attribute", "attribute_proto", "node", "opset_import", "value_info"}


@dataclass(frozen=True)
class Extras:
    """What a model has beside its graph; ``overridable`` names the initializers that callers may feed."""

    metadata: dict[str, str] = field(default_factory=dict)
    functions: Sequence[FunctionProto] = ()
    unused: Sequence[gs.Constant] = ()
    overridable: Collection[str] = ()


@dataclass(frozen=True)
class _Scope:
    """What the graphs around a graph give it: variables by name, constants by identity."""

    variables: frozenset[str] = frozenset()
    constants: frozenset[int] = frozenset()


def export(graph: gs.Graph, original: ModelProto, extras: Extras, leave_out: Callable[[StoredValues], bool]) -> Draft:
    """The model of a graph, without the values for which ``leave_out`` is true.

    Raises RegcError when the graph does not hold together.
    """
    return _Exporter(original, extras, leave_out).model(graph)


class _Exporter:
    def __init__(self, original: ModelProto, extras: Extras, leave_out: Callable[[StoredValues], bool]) -> None:
        self.original = original
        self.extras = extras
        self.leave_out = leave_out
        self.out = Draft()

    def model(self, graph: gs.Graph) -> Draft:
        out = self.out.proto
        copy_fields(self.original, out, {"graph", "functions", "opset_import", "ir_version", "metadata_props"})
        out.ir_version = graph.ir_version
        helper.set_model_props(out, self.extras.metadata)
        self.graph(graph, out.graph, self.original.graph, _Scope(), main=True)
        # Some readers want functions before their callers: ours may call ours of an earlier time, theirs call ours.
        called = {(node.domain, node.op_type) for function in self.extras.functions for node in function.node}
        originals = list(self.original.functions)
        self.functions((function for function in graph.functions if function.unique_id in called), originals)
        out.functions.extend(self.extras.functions)
        self.functions((function for function in graph.functions if function.unique_id not in called), originals)
        fidelity.import_domains(out.opset_import, graph.import_domains, out.graph.node)
        return self.out

    def functions(self, functions: Iterable[gs.Function], originals: list[FunctionProto]) -> None:
        for function in functions:
            index = next((i for i, f in enumerate(originals) if (f.domain, f.name) == function.unique_id), None)
            proto = self.out.proto.functions.add()
            self.function(function, proto, FunctionProto() if index is None else originals.pop(index))

    def graph(self, graph: gs.Graph, out: GraphProto, original: GraphProto, scope: _Scope, main: bool = False) -> None:
        copy_fields(original, out, _GRAPH)
        assign(out, name=graph.name, doc_string=graph.doc_string)
        constants = self.constants(graph, original, scope, main)
        for constant in constants.values():
            self.initializer(constant, out, main)
        inside = _Scope(
            scope.variables | {t.name for t in graph.inputs},
            scope.constants | set(map(id, constants.values())),
        )
        self.nodes(graph, out.node, original.node, inside)
        said = Descriptions(original.input, original.output, original.value_info)
        out.input.extend(self.inputs(graph, original, constants, said))
        out.output.extend(said.of(tensor, _OUTPUT) for tensor in graph.outputs)
        out.value_info.extend(fidelity.inner(graph, constants, said, {info.name for info in (*out.input, *out.output)}))
        fidelity.keep_annotations(original, out)

    def constants(self, graph: gs.Graph, original: GraphProto, scope: _Scope, main: bool) -> dict[str, gs.Constant]:
        """The constants of this graph: those that it reads itself, and its own that only subgraphs read."""
        mine = {t.name for t in original.initializer} | {t.values.name for t in original.sparse_initializer}
        used = [*_constants(graph), *(self.extras.unused if main else ())]
        inner = [c for subgraph in graph.subgraphs(recursive=True) for c in _constants(subgraph) if c.name in mine]
        found: dict[str, gs.Constant] = {}
        for constant in (*used, *inner):
            if id(constant) not in scope.constants and found.setdefault(constant.name, constant) is not constant:
                raise RegcError(
                    f"graph '{graph.name}': two constants are called '{constant.name}'; a pass must give "
                    "each a name of its own"
                )
        return found

    def initializer(self, constant: gs.Constant, out: GraphProto, main: bool) -> None:
        if isinstance(constant._values, SparseValues):
            sparse = out.sparse_initializer.add()
            sparse.CopyFrom(constant._values.tensor)
            sparse.values.name = constant.name
            return
        left_out = self.tensor(constant, out.initializer.add())
        if left_out is not None and main:
            self.out.initializers[len(out.initializer) - 1] = left_out
        elif left_out is not None:
            self.out.others.append((out.initializer[-1], left_out))

    def tensor(self, constant: gs.Constant, out: TensorProto) -> StoredValues | None:
        """Write a constant; the answer is what was left out."""
        values = stored(constant._values)
        left_out = self.leave_out(values)
        if left_out:
            out.CopyFrom(values.header)
        else:
            values.fill(out)
        assign(out, name=constant.name)
        return values if left_out else None

    def inputs(
        self, graph: gs.Graph, original: GraphProto, constants: dict[str, gs.Constant], said: Descriptions
    ) -> Iterator[ValueInfoProto]:
        """Inputs in their original order, among them the initializers that callers may override."""
        old = self.out.proto.ir_version <= INPUTS_ARE_INITIALIZERS
        tensors = {tensor.name: tensor for tensor in graph.inputs}
        tensors.update((name, c) for name, c in constants.items() if old or name in self.extras.overridable)
        names = [info.name for info in original.input if info.name in tensors]
        return (said.of(tensors[name], _INPUT) for name in dict.fromkeys([*names, *tensors]))

    def nodes(self, graph: gs.Graph, out: Any, originals: Iterable[NodeProto], scope: _Scope) -> None:
        """Passes may leave nodes in any order; they come out in one in which they can run."""
        by_output = {name: node for node in originals for name in node.output if name}
        flows = [surgeon_flow(node) for node in graph.nodes]
        inside = _Scope(checked_names(graph, flows, scope.variables), scope.constants)
        try:
            indices = order(flows)
        except CycleError as error:
            raise RegcError(
                f"{describe(graph.nodes[error.index])} waits for its own output; a pass has made a cycle"
            ) from error
        for node in (graph.nodes[index] for index in indices):
            same = next((by_output[t.name] for t in node.outputs if t.name in by_output), NodeProto())
            self.node(node, out.add(), same if fidelity.same_operator(same, node) else NodeProto(), inside)

    def node(self, node: gs.Node, out: NodeProto, original: NodeProto, scope: _Scope) -> None:
        copy_fields(original, out, _NODE)
        assign(out, op_type=node.op, name=node.name, domain=original.domain or node.domain or "")
        out.input.extend(tensor.name for tensor in node.inputs)
        out.output.extend(tensor.name for tensor in node.outputs)
        self.attributes(node.attrs, out.attribute, original.attribute, scope, describe(node))

    def attributes(
        self, attrs: dict[str, Any], out: Any, originals: Iterable[AttributeProto], scope: _Scope, who: str
    ) -> None:
        known = {attribute.name: attribute for attribute in originals}
        for name, value in attrs.items():
            original, target = known.get(name, AttributeProto()), out.add()
            if not isinstance(value, (gs.Constant, gs.Graph)):
                target.CopyFrom(fidelity.attribute(name, value, original, who))
                continue
            assign(target, name=name, doc_string=original.doc_string)
            target.type = AttributeProto.TENSOR if isinstance(value, gs.Constant) else AttributeProto.GRAPH
            if isinstance(value, gs.Graph):
                self.graph(value, target.g, original.g, scope)
            elif (left_out := self.tensor(value, target.t)) is not None:
                self.out.others.append((target.t, left_out))

    def function(self, function: gs.Function, out: FunctionProto, original: FunctionProto) -> None:
        copy_fields(original, out, _FUNCTION)
        assign(out, name=function.name, domain=function.domain, doc_string=function.doc_string)
        out.input.extend(tensor.name for tensor in function.inputs)
        out.output.extend(tensor.name for tensor in function.outputs)
        out.attribute.extend(name for name, value in function.attrs.items() if value is None)
        defaults = {name: value for name, value in function.attrs.items() if value is not None}
        self.attributes(
            defaults, out.attribute_proto, original.attribute_proto, _Scope(), f"function '{function.name}'"
        )
        constants = {constant.name: constant for constant in _constants(function)}
        for constant in constants.values():  # a function has no initializers
            node = out.node.add(op_type="Constant", output=[constant.name])
            self.attributes({"value": constant}, node.attribute, (), _Scope(), describe(node))
        scope = _Scope(frozenset(tensor.name for tensor in function.inputs), frozenset(map(id, constants.values())))
        self.nodes(function, out.node, original.node, scope)
        if infos := getattr(original, "value_info", ()):  # since IR version 10
            out.value_info.extend(fidelity.inner(function, {}, Descriptions(infos), set()))
        fidelity.import_domains(out.opset_import, function.import_domains, out.node)


def _constants(graph: gs.Graph) -> list[gs.Constant]:
    tensors = (*(tensor for node in graph.nodes for tensor in node.inputs), *graph.outputs)
    return [tensor for tensor in tensors if isinstance(tensor, gs.Constant)]
