"""Who reads what: scopes of nested graphs, and an order in which every node comes after what it reads."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import GraphProto, NodeProto

from regc.compiler.errors import RegcError
from regc.compiler.model.protos import describe, subgraphs


@dataclass(frozen=True)
class Flow:
    """The tensors that a node reads, those that its subgraphs capture included, and those that it writes;
    no empty names.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]


class CycleError(Exception):
    """The nodes cannot be ordered. ``index`` is that of a node on or behind a cycle."""

    def __init__(self, index: int) -> None:
        super().__init__(f"node {index} depends on itself")
        self.index = index


def flow_of(node: NodeProto) -> Flow:
    """What a NodeProto reads and writes."""
    captured = (name for attribute in node.attribute for graph in subgraphs(attribute) for name in captures(graph))
    return _flow([*node.input, *captured], node.output)


def captures(graph: GraphProto) -> list[str]:
    """The names that a subgraph takes from the graphs around it."""
    flows = [flow_of(node) for node in graph.node]
    local = {entry.name for entry in (*graph.input, *graph.initializer)}
    local.update(sparse.values.name for sparse in graph.sparse_initializer)
    return _free(flows, local, [output.name for output in graph.output])


def surgeon_flow(node: gs.Node) -> Flow:
    """What a GraphSurgeon node reads and writes. Constants are left out: nothing has to come before them."""
    captured = (name for graph in node.subgraphs() for name in surgeon_captures(graph))
    return _flow([*_variables(node.inputs), *captured], _variables(node.outputs))


def surgeon_captures(graph: gs.Graph) -> list[str]:
    """The variables that a GraphSurgeon subgraph takes from the graphs around it."""
    flows = [surgeon_flow(node) for node in graph.nodes]
    return _free(flows, set(_variables(graph.inputs)), _variables(graph.outputs))


def order(flows: Sequence[Flow]) -> list[int]:
    """Indices of the nodes, each after the producers of what it reads, otherwise as they came.

    Raises CycleError.
    """
    producer = {name: index for index, flow in enumerate(flows) for name in flow.writes}
    waits = [{producer[name] for name in flow.reads if name in producer} for flow in flows]
    if all(source < index for index, sources in enumerate(waits) for source in sources):
        return list(range(len(flows)))
    return _sorted(waits)


def checked_names(graph: gs.Graph, flows: Sequence[Flow], outer: frozenset[str]) -> frozenset[str]:
    """The variables that nodes of the graph and of its subgraphs may read.

    Raises RegcError for one that is missing or made twice.
    """
    written: set[str] = set()
    for node, flow in zip(graph.nodes, flows, strict=True):
        if twice := written.intersection(flow.writes):
            raise RegcError(
                f"{describe(node)} writes '{min(twice)}', which another node writes too; a pass must give it a new name"
            )
        written.update(flow.writes)
    known = outer | written
    for node, flow in zip(graph.nodes, flows, strict=True):
        if missing := set(flow.reads) - known:
            raise RegcError(
                f"{describe(node)} reads '{min(missing)}', which nothing produces; a pass has removed its producer"
            )
    return known


def _sorted(waits: list[set[int]]) -> list[int]:
    readers: dict[int, list[int]] = {}
    for index, sources in enumerate(waits):
        for source in sources:
            readers.setdefault(source, []).append(index)
    missing = [len(sources) for sources in waits]
    ready = [index for index, count in enumerate(missing) if not count]
    done: list[int] = []
    while ready:
        done.append(heapq.heappop(ready))
        for reader in readers.get(done[-1], ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(done) < len(waits):
        raise CycleError(next(index for index, count in enumerate(missing) if count))
    return done


def _flow(reads: Iterable[str], writes: Iterable[str]) -> Flow:
    return Flow(tuple(name for name in reads if name), tuple(name for name in writes if name))


def _free(flows: Iterable[Flow], local: set[str], results: Iterable[str]) -> list[str]:
    known = local.union(*(flow.writes for flow in flows))
    read = dict.fromkeys([*(name for flow in flows for name in flow.reads), *results])
    return [name for name in read if name not in known]


def _variables(tensors: Iterable[gs.Tensor]) -> list[str]:
    return [tensor.name for tensor in tensors if not isinstance(tensor, gs.Constant)]
