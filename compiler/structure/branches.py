"""Branches that no run takes: an If of which that can be proven is replaced by the branch that is left.

Exporters turn what a program asks of its inputs (are there several in a batch, is a last axis to be dropped) into Ifs,
and units are not followed into bodies. The condition may be the same for all inputs, by the sizes that the model
declares, or a branch may give a tensor of another rank than those accept that read it, so that a run which takes it
fails. The other one is then all that there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import onnx_graphsurgeon as gs

from regc.compiler.lower.shapes import dimensions, redirect, sweep
from regc.compiler.model import Model
from regc.compiler.sites.chains import STANDARD, trace
from regc.compiler.structure.ones import Dims, entries
from regc.compiler.structure.recurrent import RECURRENT

_ALIKE = frozenset({"Identity", "Cast", "Relu", "Sigmoid", "Tanh"})
"""Operators that keep the rank."""
_DEEPEST = 16


def settle_branches(model: Model) -> int:
    """Replace such Ifs, in bodies, too; how many there were."""
    count = 0
    while found := _decided(model):
        graph, taken = found
        for node, name in taken:
            _inline(model, graph, node, name)
        count += len(taken)
    return count


def _decided(model: Model) -> tuple[gs.Graph, list[tuple[gs.Node, str]]] | None:
    """The first graph with such Ifs, and the attributes with the branches that are taken."""
    graphs = [model.graph, *model.graph.subgraphs(recursive=True)]
    if not any(_is_if(node) for graph in graphs for node in graph.nodes):
        return None
    dims = dimensions(model, bodies=True)
    for graph in graphs:
        inside = {id(node) for node in graph.nodes}
        taken = [(n, name) for n in graph.nodes if _is_if(n) and (name := _taken(n, dims, inside)) is not None]
        if taken:
            return graph, taken
    return None


def _is_if(node: gs.Node) -> bool:
    return node.op == "If" and node.domain in STANDARD


def _taken(node: gs.Node, dims: Mapping[str, Dims], inside: set[int]) -> str | None:
    known = entries(node.inputs[0], dims)
    if known is not None and len(known) == 1 and known[0] is not None:
        return "then_branch" if known[0] else "else_branch"
    runs = [name for name in ("then_branch", "else_branch") if _runs(node, node.attrs[name], dims, inside)]
    return runs[0] if len(runs) == 1 else None


def _runs(node: gs.Node, branch: gs.Graph, dims: Mapping[str, Dims], inside: set[int]) -> bool:
    """Whether what a branch gives may have the ranks that readers in the graph of the If accept."""
    for given, result in zip(branch.outputs, node.outputs, strict=True):
        wanted, possible = _wanted(result, inside), _possible(given, dims)
        if wanted is not None and possible is not None and wanted not in possible:
            return False
    return True


def _wanted(tensor: gs.Tensor, inside: set[int], depth: int = 0) -> int | None:
    """The rank that a tensor has in every run that succeeds, by what reads it there; None where that is not known."""
    for node in tensor.outputs if depth < _DEEPEST else ():
        if id(node) not in inside or node.domain not in STANDARD or node.inputs[0] is not tensor:
            continue
        if node.op in RECURRENT:
            return 3
        if node.op == "Conv" and (chain := trace(node.inputs[1])) is not None:
            return len(chain.layout.shape)
        added = _added(node)
        behind = None if added is None else _wanted(node.outputs[0], inside, depth + 1)
        if behind is not None and added is not None:
            return behind - added
    return None


def _possible(tensor: gs.Tensor, dims: Mapping[str, Dims], depth: int = 0) -> set[int] | None:
    """The ranks that a tensor may have; None where that is not known."""
    shape, node = dims.get(tensor.name), tensor.inputs[0] if tensor.inputs else None
    if shape is not None:
        return {len(shape)}
    if node is None or node.domain not in STANDARD or depth > _DEEPEST:
        return None
    if node.op == "If":
        place = next(i for i, output in enumerate(node.outputs) if output is tensor)
        found = [_possible(node.attrs[name].outputs[place], dims, depth + 1) for name in ("then_branch", "else_branch")]
        return None if None in found else set(itertools.chain.from_iterable(ranks or () for ranks in found))
    added = _added(node)
    before = None if added is None else _possible(node.inputs[0], dims, depth + 1)
    return None if before is None or added is None else {rank + added for rank in before}


def _added(node: gs.Node) -> int | None:
    """How many axes a node adds to its first input; None where that is not known."""
    if node.op in _ALIKE:
        return 0
    if node.op not in ("Squeeze", "Unsqueeze"):
        return None
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1:
        axes = entries(node.inputs[1], {})
    return None if axes is None else len(axes) * (1 if node.op == "Unsqueeze" else -1)


def _inline(model: Model, graph: gs.Graph, node: gs.Node, name: str) -> None:
    """Put the nodes of a branch in the place of an If."""
    branch = node.attrs[name]
    other = node.attrs["else_branch" if name == "then_branch" else "then_branch"]
    outputs, read = list(node.outputs), [*node.inputs, *_detached(other)]
    node.inputs.clear()
    node.outputs.clear()
    made = {id(inner) for each in branch.nodes for inner in each.outputs}
    ends = []
    for result, given in zip(outputs, branch.outputs, strict=True):
        if id(given) in made:
            _take_place(given, result)
            made.discard(id(given))
        else:
            ends.append(gs.Node("Identity", name=result.name, inputs=[given], outputs=[result]))
    for tensor in _own(branch):
        if not any(tensor is result for result in outputs):
            tensor.name = model.fresh_name(tensor.name)
    place = next(index for index, each in enumerate(graph.nodes) if each is node)
    graph.nodes[place : place + 1] = [*branch.nodes, *ends]
    sweep(graph, *read)


def _take_place(given: gs.Tensor, result: gs.Tensor) -> None:
    """Let ``result`` be what computes ``given``, and what its readers read."""
    producer = given.inputs[0]
    producer.outputs = [result if output is given else output for output in producer.outputs]
    redirect(given, result)


def _own(branch: gs.Graph) -> list[gs.Tensor]:
    """The tensors that the nodes of a branch compute, and the constants that they alone read."""
    inside = {id(node) for node in branch.nodes}
    constants = {id(t): t for node in branch.nodes for t in node.inputs if isinstance(t, gs.Constant)}
    alone = [t for t in constants.values() if all(id(reader) in inside for reader in t.outputs)]
    return [output for node in branch.nodes for output in node.outputs if output.name] + alone


def _detached(body: gs.Graph) -> list[gs.Tensor]:
    """What the nodes of a body have read, which they no longer do."""
    nodes = [node for graph in (body, *body.subgraphs(recursive=True)) for node in graph.nodes]
    read = [tensor for node in nodes for tensor in node.inputs]
    for node in nodes:
        node.inputs.clear()
        node.outputs.clear()
    return read
