"""Which weights a tensor depends on."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from regc.compiler.sites import Site


def upstream(graph: gs.Graph, sites: Sequence[Site]) -> dict[int, int]:
    """For each tensor that nodes compute, by its ``id``, the weights that it depends on: bit i stands for ``sites[i]``.

    What flows around in a loop counts from the next run on, so that a weight in a loop does not depend on itself.
    """
    reads: dict[int, int] = {}
    for index, site in enumerate(sites):
        for reader in site.readers:
            reads[id(reader.node)] = reads.get(id(reader.node), 0) | 1 << index
    found: dict[int, int] = {}
    _visit(graph, reads, found)
    return found


def _visit(graph: gs.Graph, reads: dict[int, int], found: dict[int, int]) -> int:
    """Fill in the tensors of a graph; the answer is everything that any of its nodes depends on."""
    every = 0
    for node in graph.nodes:
        bits = reads.get(id(node), 0)
        for tensor in node.inputs:
            bits |= found.get(id(tensor), 0)
        for body in node.subgraphs():
            found.update((id(tensor), bits) for tensor in body.inputs)
            bits |= _visit(body, reads, found)
        found.update((id(tensor), bits) for tensor in node.outputs)
        every |= bits
    return every
