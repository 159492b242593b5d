"""Finding the weights of a model.

A :class:`Site` is one weight, however often it is stored or read: copies with equal content, also transposed, are one
site. Weights are found behind chains of operators that only move elements (:mod:`regc.compiler.sites.chains`), in
Constant nodes, in the bodies of If, Loop and Scan, and in model-local functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.model import Model, load_values
from regc.compiler.model.protos import describe
from regc.compiler.passes import SiteInfo
from regc.compiler.sites.biases import takes_offset
from regc.compiler.sites.chains import FLOATS, constant_of, makes_integers, numpy_type, parts, trace
from regc.compiler.sites.layout import Layout, Shape
from regc.compiler.sites.numbers import reads_of, rows_of, strides_of
from regc.compiler.sites.operators import Role, role_of, takes_weight
from regc.compiler.sites.ties import tied_groups
from regc.compiler.terms import Dense, Float32
from regc.runtime_ops.ops import DOMAIN
from regc.runtime_ops.threads import share

_PRODUCTS = frozenset({"MatMul", "Gemm", "FusedMatMul", "FusedGemm"})
_CONVOLUTIONS = frozenset({"Conv", "FusedConv"})
_STRIP = 32
"""Columns that are transposed at a time, so that their rows stay in the cache: half the time of a copy at once."""


@dataclass(eq=False)
class Reader:
    """One operator that reads a weight: input ``role.index`` of ``node``, which is in ``graph``.

    ``layout`` goes from the stored tensor to the matrix as this operator multiplies by it; ``shape`` and ``dtype``
    are those of the tensor that arrives there.
    """

    graph: gs.Graph
    node: gs.Node
    role: Role
    layout: Layout
    shape: Shape
    dtype: np.dtype[Any]


@dataclass(eq=False)
class Holder:
    """One stored copy of a weight: ``tensor`` is an initializer or the output of a Constant node.

    ``layout`` goes from this tensor to the matrix of its site. ``graph`` is where nodes that compute the tensor can
    stand so that everything that reads it can see them.
    """

    tensor: gs.Tensor
    constant: gs.Constant
    layout: Layout
    graph: gs.Graph
    readers: list[Reader] = field(default_factory=list)


@dataclass(eq=False)
class Site:
    """One weight of the model. ``refusal`` says in words why no pass may touch it, if so."""

    info: SiteInfo
    holders: list[Holder]
    refusal: str | None = None

    @property
    def readers(self) -> list[Reader]:
        """All operators that read it."""
        return [reader for holder in self.holders for reader in holder.readers]

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names of the other tensors that hold the same weight."""
        return tuple(holder.tensor.name for holder in self.holders[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of all stored copies."""
        return self.info.nbytes * len(self.holders)

    def load(self) -> Dense:
        """Read the matrix, float32 ``[N, K]``, into memory of its own; nothing is kept in the graph."""
        return Dense(_matrix(self.holders[0]), self.info.dtype)


def find_sites(model: Model, scopes: Scopes | None = None) -> list[Site]:
    """All weights of a model, in the order in which the graph reads them."""
    scopes = scopes or Scopes(model.graph)
    holders: dict[int, Holder] = {}
    for graph in scopes.graphs:
        for node in graph.nodes:
            _collect(scopes, graph, node, holders)
    return [_site(model, scopes, group) for group in tied_groups(list(holders.values()))]


class Scopes:
    """Which graph each node is in: the main graph, a body of control flow, or a model-local function."""

    def __init__(self, main: gs.Graph) -> None:
        functions = [function for function in main.functions if function.domain != DOMAIN]
        self.graphs: list[gs.Graph] = []
        self._root: dict[int, gs.Graph] = {}
        self._graph_of: dict[int, gs.Graph] = {}
        for root in (main, *functions):
            self._add(root, root)

    def _add(self, graph: gs.Graph, root: gs.Graph) -> None:
        self.graphs.append(graph)
        self._root[id(graph)] = root
        for node in graph.nodes:
            self._graph_of[id(node)] = graph
            for body in node.subgraphs():
                self._add(body, root)

    def outputs(self) -> Iterator[gs.Tensor]:
        """The outputs of all graphs."""
        return (tensor for graph in self.graphs for tensor in graph.outputs)

    def common(self, tensor: gs.Tensor) -> gs.Graph:
        """The graph of all nodes that touch a tensor, or the outermost one when they are in several."""
        found = [self.graph_of(node) for node in (*tensor.inputs, *tensor.outputs)]
        return found[0] if all(graph is found[0] for graph in found) else self._root[id(found[0])]

    def graph_of(self, node: gs.Node) -> gs.Graph:
        """The graph that a node of the model as it came is in."""
        return self._graph_of[id(node)]


def _collect(scopes: Scopes, graph: gs.Graph, node: gs.Node, holders: dict[int, Holder]) -> None:
    if node.op in _PRODUCTS and all(parts(tensor) for tensor in node.inputs[:2]):
        return  # a product of constants is a constant
    for index, tensor in enumerate(node.inputs):
        chain = trace(tensor)
        role = role_of(node, index, chain.layout.shape) if chain is not None else None
        if chain is not None and role is not None:
            layout = chain.layout.matrix(role.rows, role.perm)
            reader = Reader(graph, node, role, layout, chain.layout.shape, chain.dtype)
            _add_reader(scopes, chain.source, reader, holders)
        elif chain is None and takes_weight(node, index):
            for source in parts(tensor):
                _add_part(scopes, source, (graph, node, index), holders)


def _add_part(
    scopes: Scopes, source: gs.Tensor, where: tuple[gs.Graph, gs.Node, int], holders: dict[int, Holder]
) -> None:
    """A weight that arrives cut or joined with others: it can only be decoded, in front of the cuts."""
    graph, node, index = where
    constant = constant_of(source)
    shape = tuple(constant.shape) if constant is not None else ()
    if constant is not None and len(shape) >= 2:
        role = Role(index, tuple(range(len(shape))))
        reader = Reader(graph, node, role, Layout(shape).matrix(1), shape, numpy_type(constant.dtype))
        _add_reader(scopes, source, reader, holders)


def _add_reader(scopes: Scopes, source: gs.Tensor, reader: Reader, holders: dict[int, Holder]) -> None:
    constant = constant_of(source)
    if constant is None or numpy_type(constant.dtype).name not in FLOATS:
        return
    holder = holders.get(id(source))
    if holder is None:
        holder = holders[id(source)] = Holder(source, constant, reader.layout, scopes.common(source))
    if reader.role.multiplied and not any(other.role.multiplied for other in holder.readers):
        holder.layout = reader.layout
    holder.readers.append(reader)


def _site(model: Model, scopes: Scopes, holders: list[Holder]) -> Site:
    first = holders[0]
    pairs = [(holder, reader) for holder in holders for reader in holder.readers]
    rows, columns = first.layout.shape
    kept = {id(output) for output in scopes.outputs()}
    kernel = pairs[0][1].shape[2:] if all(reader.node.op in _CONVOLUTIONS for _, reader in pairs) else ()
    info = SiteInfo(
        name=first.tensor.name,
        op_types=tuple(dict.fromkeys(reader.node.op for _, reader in pairs)),
        users=tuple(reader.node.name or reader.node.outputs[0].name for _, reader in pairs),
        shape=(rows, columns),
        dtype=numpy_type(first.constant.dtype),
        multiplied=any(replaceable(holder, reader) for holder, reader in pairs),
        gathered=any(gatherable(holder, reader) for holder, reader in pairs),
        splittable=all(reader.role.splittable and reader.layout.same_as(holder.layout) for holder, reader in pairs),
        kernel=kernel,
        rows=rows_of([reader for holder, reader in pairs if replaceable(holder, reader)]),
        reads=reads_of([reader for _, reader in pairs], model.graph),
        strides=strides_of([reader for _, reader in pairs], len(kernel)),
        biased=all(reader.layout.same_as(h.layout) and takes_offset(reader, rows, kept) for h, reader in pairs),
    )
    return Site(info, holders, _refusal(model, scopes, holders))


def replaceable(holder: Holder, reader: Reader) -> bool:
    """Whether the reader multiplies by the matrix as the site has it: an operator of ours can take its place."""
    return reader.role.multiplied and reader.layout.same_as(holder.layout)


def gatherable(holder: Holder, reader: Reader) -> bool:
    """Whether the reader looks up rows of the matrix as the site has it."""
    return reader.role.gathered and reader.layout.same_as(holder.layout)


def _refusal(model: Model, scopes: Scopes, holders: list[Holder]) -> str | None:
    names = {holder.tensor.name for holder in holders}
    if any(tensor is holder.tensor for tensor in scopes.outputs() for holder in holders):
        return "is itself an output of the graph"
    if names & model.overridable:
        return "is listed as an input of the graph, so a caller may replace it"
    for holder in holders:
        for node in readers_of(holder.tensor):
            if makes_integers(node):
                return f"is also converted to integers by {describe(node)}, which a rounding error would change"
    if 0 in holders[0].layout.shape:
        return "has no elements"
    return None


def readers_of(tensor: gs.Tensor) -> list[gs.Node]:
    """The nodes that read a tensor, looking through chains that only move it."""
    found: list[gs.Node] = []
    left = list(tensor.outputs)
    while left:
        node = left.pop(0)
        through = [output for output in node.outputs if parts(output)]
        found += [] if through else [node]
        left += [reader for output in through for reader in output.outputs]
    return found


def _matrix(holder: Holder) -> Float32:
    moved = holder.layout.apply(load_values(holder.constant, aligned=False))
    if moved.flags.c_contiguous:
        return np.array(moved, np.float32, order="C")
    matrix = np.empty(moved.shape, np.float32)

    def fill(columns: slice) -> None:
        for start in range(columns.start, columns.stop, _STRIP):
            matrix[:, start : start + _STRIP] = moved[:, start : start + _STRIP]

    share(moved.shape[1], _STRIP, moved.size, fill)
    return matrix
