"""Following an axis through a graph, from the weights that compute it to those that read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import trace
from regc.compiler.structure.group import Group, Number, Place

Dims = tuple[int | str, ...]


class Lane(NamedTuple):
    """Where units lie in a tensor: ``axis`` counts from the end (-1 is the last), ``inner`` elements make a unit.

    All of them lie there ``copies`` times, one copy after the other: queries, keys and values of joint projections.
    ``before`` and ``after`` elements of the axis are no units of this set: what they are concatenated with.
    """

    axis: int
    inner: int
    copies: int = 1
    before: int = 0
    after: int = 0

    def size(self, units: int) -> int:
        """The size of the axis."""
        return self.before + self.copies * units * self.inner + self.after

    def within(self, units: int, start: int, end: int) -> Lane | None:
        """Where the units lie in the elements from ``start`` to ``end`` alone; None where none of them does.

        Raises:
            ValueError: a part of their elements lies there.
        """
        span = units * self.inner
        begins = [self.before + copy * span for copy in range(self.copies)]
        inside = [begin for begin in begins if start <= begin and begin + span <= end]
        if any(begin < end and begin + span > start for begin in begins if begin not in inside):
            raise ValueError("they are cut apart")
        if not inside:
            return None
        return self._replace(copies=len(inside), before=inside[0] - start, after=end - inside[-1] - span)


class RefusedError(Exception):
    """The units cannot be removed, for a reason in words."""


class CoarserError(Exception):
    """The units belong together in ``units`` larger ones: neurons in heads."""

    def __init__(self, units: int) -> None:
        super().__init__(units)
        self.units = units


class CopiesError(Exception):
    """The units lie there several times, one after the other: a projection is cut into ``copies`` equal parts."""

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.copies = copies


class Walk:
    """Collects in ``group`` what touches the units. ``dims`` are shapes by name, as far as they are known.

    ``demanded`` are computed targets that have the number of units, and the nodes that were seen to read them for it.
    """

    def __init__(self, graph: gs.Graph, group: Group, dims: Mapping[str, Dims], opset: int) -> None:
        self.group = group
        self.dims = dims
        self.opset = opset
        self.demanded: dict[int, tuple[gs.Tensor, set[int]]] = {}
        self._nodes = {id(node) for node in graph.nodes}
        self._outputs = {id(tensor) for tensor in graph.outputs}
        self._lanes: dict[int, Lane] = {}
        self._left: list[tuple[gs.Tensor, Lane]] = []
        self._places: set[tuple[int, int, int]] = set()

    def next(self) -> tuple[gs.Tensor, Lane] | None:
        """A tensor that was reached and not looked at."""
        return self._left.pop() if self._left else None

    def reach(self, tensor: gs.Tensor, lane: Lane) -> None:
        """The units lie in this tensor, too.

        Raises:
            RefusedError: it leaves the graph, or has them already, in another way.
        """
        known = self._lanes.get(id(tensor))
        if known is not None and known != lane:
            raise RefusedError(f"tensor '{tensor.name}' has the units in two ways")
        if known is not None:
            return
        if id(tensor) in self._outputs:
            raise RefusedError(f"they are in '{tensor.name}', an output of the graph")
        if not tensor.inputs:
            raise RefusedError(f"they meet '{tensor.name}', an input of the graph or a constant that is not cut")
        for node in (*tensor.inputs, *tensor.outputs):
            if id(node) not in self._nodes:
                raise RefusedError(f"{describe(node)} reads them inside of a body")
        self._lanes[id(tensor)] = lane
        self._left.append((tensor, lane))

    def reached(self, tensor: gs.Tensor) -> bool:
        """Whether units are known to lie in a tensor."""
        return id(tensor) in self._lanes

    def place(self, into: list[Place], node: gs.Node, index: int, axis: int, lane: Lane) -> None:
        """The units lie in a constant, along its ``axis`` as along that of the lane.

        Raises:
            RefusedError: it is no constant, or of another size.
        """
        chain = trace(node.inputs[index])
        if chain is None:
            raise RefusedError(f"{describe(node)} multiplies by what is computed at run time")
        wanted = lane.size(self.group.units)
        if chain.layout.shape[axis] != wanted:
            raise RefusedError(f"{describe(node)} has {chain.layout.shape[axis]} where they take {wanted}")
        key = (id(node), index, axis)
        if key not in self._places:
            self._places.add(key)
            into.append(Place(node, index, axis, lane.inner, self._uses(node), lane.copies, lane.before))

    def target(self, node: gs.Node, position: int, inner: int, index: int = 1) -> None:
        """A number in the target of a Reshape, or where a Slice begins or ends, has ``inner`` for each unit."""
        key = (id(node), index, position)
        if key not in self._places:
            self._places.add(key)
            self.group.targets.append(Place(node, index, position, inner))

    def number(self, node: gs.Node, attribute: str, position: int | None, inner: int) -> None:
        """A number in an attribute has ``inner`` for each unit."""
        found = Number(node, attribute, position, inner)
        if all(found != other for other in self.group.numbers):
            self.group.numbers.append(found)

    def _uses(self, node: gs.Node) -> int:
        """How often a node multiplies by its weight for one sample: positions of an image, or of a sequence."""
        shape = self.shape(node.outputs[0]) or ()
        sizes = shape[2:] if node.op == "Conv" else shape[1:-1]
        return math.prod(size for size in sizes if isinstance(size, int))

    def shape(self, tensor: gs.Tensor) -> Dims | None:
        """The shape of a tensor, None where it is not known."""
        return self.dims.get(tensor.name)
