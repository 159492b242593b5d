"""Operators that only move elements, and so units."""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import constant_of
from regc.compiler.structure.ones import entries
from regc.compiler.structure.walk import CoarserError, Dims, Lane, RefusedError, Walk


def transpose(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """The axis goes where the permutation says."""
    source, result = node.inputs[0], node.outputs[0]
    shape = walk.shape(source)
    perm = node.attrs.get("perm", list(range(len(shape or ())))[::-1])
    if not perm:
        raise RefusedError(f"{describe(node)} turns a tensor whose rank is not known")
    rank = len(perm)
    if index is None:
        walk.reach(source, lane._replace(axis=perm[rank + lane.axis] - rank))
    else:
        walk.reach(result, lane._replace(axis=list(perm).index(rank + lane.axis) - rank))


def reshape(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Units in the last axis, or in the last but one, stay whole: ``[.., heads * size]`` and ``[.., heads, size]``."""
    source, result = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
    sizes = entries(node.inputs[1], walk.dims)
    if source is None or result is None or sizes is None or len(sizes) != len(result) or index == 1:
        raise RefusedError(f"{describe(node)} has a target or a shape that is not known")
    other = _across(walk, node, *((result, source) if index is None else (source, result)), lane)
    position = len(result) + (lane if index is None else other).axis
    size = sizes[position]
    if size is None or (size > 0 and constant_of(node.inputs[1]) is None):
        raise RefusedError(f"{describe(node)} has a target that is computed from their number")
    if size > 0:
        after = lane if index is None else other
        walk.target(node, position, after.inner * after.copies)
    elif size == 0 and (lane.axis, len(source)) != (other.axis, len(result)):
        raise RefusedError(f"{describe(node)} takes their number from another axis")
    walk.reach(node.inputs[0] if index is None else node.outputs[0], other)


def flatten(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Channels become spans of the last axis."""
    shape = walk.shape(node.inputs[0])
    if shape is None or node.attrs.get("axis", 1) != 1 or not all(isinstance(size, int) for size in shape[2:]):
        raise RefusedError(f"{describe(node)} joins axes whose sizes are not known")
    span = math.prod(int(size) for size in shape[2:])
    if index is not None:
        if lane.axis != 1 - len(shape):
            raise RefusedError(f"{describe(node)} joins them with other axes")
        walk.reach(node.outputs[0], lane._replace(axis=-1, inner=lane.inner * span))
        return
    if lane.axis != -1 or lane.inner % span:
        raise RefusedError(f"{describe(node)} joins them with other axes")
    walk.reach(node.inputs[0], lane._replace(axis=1 - len(shape), inner=lane.inner // span))


def _across(walk: Walk, node: gs.Node, here: Dims, there: Dims, lane: Lane) -> Lane:
    """Where units of ``here`` are on the other side of a Reshape."""
    if lane.axis == -1 and here[-1] == there[-1]:
        return lane
    if lane.axis == -1 and len(there) > 1 and _product(there) == here[-1]:
        size = int(there[-1])
        if lane.inner % size == 0:
            return lane._replace(axis=-2, inner=lane.inner // size)
        if lane.copies == 1 and int(there[-2]) < walk.group.units:
            raise CoarserError(int(there[-2]))
    if lane.axis == -2 and _product(here) == there[-1]:
        return lane._replace(axis=-1, inner=lane.inner * int(here[-1]))
    raise RefusedError(f"{describe(node)} joins or cuts them")


def _product(shape: Dims) -> int | None:
    """The last two sizes multiplied, None where one is not known."""
    last = shape[-2:]
    return math.prod(int(size) for size in last) if all(isinstance(size, int) for size in last) else None
