"""Products that several weights begin with, computed once: those with a factor that they share, of one tensor."""

from __future__ import annotations

from collections.abc import Sequence, Set

import onnx_graphsurgeon as gs

from regc.compiler.lower.shapes import redirect


def join_equal(graph: gs.Graph, emitted: Set[int], kept: Set[int]) -> None:
    """Let one of several ``emitted`` nodes, by identity, that compute the same of the same tensors stand for all.

    It is the first, so that what reads any of them comes after it. Tensors in ``kept`` stay, by identity: outputs.
    """
    first: dict[tuple[object, ...], gs.Node] = {}
    for node in [node for node in graph.nodes if id(node) in emitted]:
        key = (node.op, node.domain, repr(sorted(node.attrs.items())), *map(id, node.inputs))
        other = first.setdefault(key, node)
        if other is not node and not any(id(tensor) in kept for tensor in node.outputs):
            _replace(graph, node, other.outputs)


def _replace(graph: gs.Graph, node: gs.Node, by: Sequence[gs.Tensor]) -> None:
    for old, new in zip(node.outputs, by, strict=True):
        redirect(old, new)
    node.inputs.clear()
    node.outputs.clear()
    graph.nodes[:] = [other for other in graph.nodes if other is not node]
