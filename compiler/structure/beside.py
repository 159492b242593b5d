"""Operators by which axes come or go beside the one that has the units."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import constant_of
from regc.compiler.structure.ones import entries
from regc.compiler.structure.walk import Lane, RefusedError, Walk

REDUCTIONS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"}
)


def unsqueeze(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Axes of size 1 come in between."""
    _across(walk, node, index, lane, _axes(walk, node), more=True)


def squeeze(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Axes of size 1 go."""
    _across(walk, node, index, lane, _axes(walk, node), more=False)


def gather(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """One place of another axis, or some: queries of several joint projections, halves of a rotation."""
    picked, shape = constant_of(node.inputs[1]), walk.shape(node.inputs[0])
    if index == 1 or picked is None or shape is None or len(picked.shape) > 1:
        raise RefusedError(f"{describe(node)} looks them up, or in what is not known")
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    if axis - len(shape) == lane.axis and index == 0:
        raise RefusedError(f"{describe(node)} takes some of them")
    _across(walk, node, index, lane, [axis] if not picked.shape else [], more=False)


def reduced(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Sums and means over other axes."""
    axes, shape = _axes(walk, node), walk.shape(node.inputs[0])
    if index == 1 or shape is None:
        raise RefusedError(f"{describe(node)} reduces axes that are not known")
    if index == 0 and len(shape) + lane.axis in [axis % len(shape) for axis in axes]:
        raise RefusedError(f"{describe(node)} reduces over them")
    _across(walk, node, index, lane, axes if not node.attrs.get("keepdims", 1) else [], more=False)


def _axes(walk: Walk, node: gs.Node) -> list[int]:
    given = entries(node.inputs[1], walk.dims) if len(node.inputs) > 1 else node.attrs.get("axes")
    known = [int(axis) for axis in given or () if axis is not None]
    if not given or len(known) < len(given):
        raise RefusedError(f"{describe(node)} has axes that are not known")
    return known


def _across(walk: Walk, node: gs.Node, index: int | None, lane: Lane, axes: Sequence[int], *, more: bool) -> None:
    """Follow units to the other side of a node that adds axes (``more``) or takes them away."""
    source, result = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
    if source is None or result is None or index not in (0, None):
        raise RefusedError(f"{describe(node)} has a shape that is not known")
    rank = len(result) if more else len(source)
    others = [axis for axis in range(rank) if axis not in {axis % rank for axis in axes}]
    other = node.inputs[0] if index is None else node.outputs[0]
    if more == (index == 0):  # to the side that has more axes
        walk.reach(other, lane._replace(axis=others[lane.axis] - rank))
    elif rank + lane.axis not in others:
        raise RefusedError(f"{describe(node)} has them along an axis that comes or goes")
    else:
        walk.reach(other, lane._replace(axis=others.index(rank + lane.axis) - len(others)))
