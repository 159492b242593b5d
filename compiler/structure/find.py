"""Finding the units of a model that can be removed."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from regc.compiler.lower.shapes import dimensions
from regc.compiler.model import Model
from regc.compiler.sites.chains import STANDARD, trace
from regc.compiler.structure.certain import Certain
from regc.compiler.structure.demanded import refined
from regc.compiler.structure.demands import check
from regc.compiler.structure.group import Group
from regc.compiler.structure.recurrent import RECURRENT, states
from regc.compiler.structure.rules import follow
from regc.compiler.structure.walk import CoarserError, CopiesError, Dims, Lane, RefusedError, Walk
from regc.compiler.structure.windows import find_windows


def find_groups(model: Model, *, windows: bool = False) -> list[Group]:
    """The sets of units in the main graph and in all bodies, in the order of the nodes that compute them; one set for
    weights that are coupled, by a residual sum or a gate. Before them, if asked for, positions of kernels.
    """
    graphs = (model.graph, *model.graph.subgraphs(recursive=True))
    dims = refined(graphs, dimensions(model, bodies=True))
    groups = find_windows(model, graphs, dims) if windows else []
    seen: set[int] = set()
    for graph in graphs:
        for node in graph.nodes:
            if id(node) in seen:
                continue
            start = _start(node)
            if start is not None:
                group = _group(model, graph, node, dims, start)
                producers = [place.node for place in group.producers] + [number.node for number in group.numbers]
                seen |= {id(producer) for producer in producers} | {id(node)}
                groups.append(group)
            elif node.op in RECURRENT and node.domain in STANDARD:
                groups.append(states(node))
    return groups


def _start(node: gs.Node) -> tuple[int, int] | None:
    """How many units a node computes, and in which axis; None when it multiplies by no constant."""
    if node.op not in ("MatMul", "Gemm", "Conv") or node.domain not in STANDARD or len(node.inputs) < 2:
        return None
    chain = trace(node.inputs[1])
    if chain is None or (node.op != "Conv" and len(chain.layout.shape) != 2):
        return None
    shape = chain.layout.shape
    if node.op == "Conv":
        groups = node.attrs.get("group", 1)
        return (shape[0], 1 - len(shape)) if groups == 1 or min(shape[1], shape[0] // groups) > 1 else None
    return shape[0] if node.op == "Gemm" and node.attrs.get("transB", 0) else shape[1], -1


def _group(model: Model, graph: gs.Graph, node: gs.Node, dims: dict[str, Dims], start: tuple[int, int]) -> Group:
    outputs, axis = start
    units, copies = outputs, 1
    while True:
        kind = "filters" if node.op == "Conv" else "neurons" if units * copies == outputs else "heads"
        group = Group(_name(node), kind, units, outputs // units // copies)
        walk = Walk(graph, group, dims, model.opset)
        try:
            _walk(walk, node, Lane(axis, group.size, copies))
        except CoarserError as found:
            units = found.units
            continue
        except CopiesError as found:
            units, copies = outputs // found.copies, found.copies
            continue
        except RefusedError as refused:
            group.refusal = str(refused)
        group.refusal = group.refusal or _unfit(model, group)
        group.certain = Certain(group, dims, model.opset).inputs
        return group


def _walk(walk: Walk, node: gs.Node, lane: Lane) -> None:
    walk.reach(node.outputs[0], lane)
    while (found := walk.next()) is not None:
        tensor, at = found
        follow(walk, tensor.inputs[0], None, at)
        for reader in list(tensor.outputs):
            for index in [i for i, given in enumerate(reader.inputs) if given is tensor]:
                follow(walk, reader, index, at)
    check(walk)


def _unfit(model: Model, group: Group) -> str | None:
    if not group.consumers:
        return "no weight reads them"
    if group.units < 2:
        return "there is one alone"
    for place in group.places:
        source = place.node.inputs[place.index]
        chain = trace(source)
        if chain is not None and chain.source.name in model.overridable:
            return f"'{chain.source.name}' is listed as an input of the graph, so a caller may replace it"
    return None


def _name(node: gs.Node) -> str:
    chain = trace(node.inputs[1])
    constant = chain.source.name if chain is not None else ""
    named = "::" not in constant and "." in constant
    return str(constant if named or not node.name else node.name)
