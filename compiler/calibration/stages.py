"""Which weights a tensor depends on, and where a model can be cut once some of them are settled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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


class Cuts:
    """Cuts through a main graph, which must be as it came when this is made. ``depends`` is of :func:`upstream`."""

    def __init__(self, graph: gs.Graph, depends: Mapping[int, int]) -> None:
        self._depends = {t.name: depends[id(t)] for node in graph.nodes for t in node.outputs if id(t) in depends}
        self._steps = [
            (frozenset(_names(node)), max((self._depends.get(t.name, 0) for t in node.outputs), default=0))
            for node in graph.nodes
        ]

    def at(self, settled: int) -> list[str]:
        """The tensors that depend on settled weights (bits) alone, and that the rest of the model reads.

        Those that depend on no weight are not among them: they are as easily computed again.
        """
        ready = {name for name, bits in self._depends.items() if bits and not bits & ~settled}
        rest = (names for names, bits in self._steps if not bits or bits & ~settled)
        return sorted(ready.intersection(frozenset[str]().union(*rest)))


def _names(node: gs.Node) -> Iterator[str]:
    """What a node and its bodies read, by name."""
    yield from (tensor.name for tensor in node.inputs)
    for body in node.subgraphs():
        yield from (tensor.name for tensor in body.outputs)
        for inner in body.nodes:
            yield from _names(inner)
