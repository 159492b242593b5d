"""Operators that move or repeat axes, and so units."""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.structure.demands import demand
from regc.compiler.structure.ones import entries, is_one
from regc.compiler.structure.walk import Lane, RefusedError, Walk


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


def flatten(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Channels become spans of the last axis."""
    shape = walk.shape(node.inputs[0])
    if shape is None or node.attrs.get("axis", 1) != 1 or not all(isinstance(size, int) for size in shape[2:]):
        raise RefusedError(f"{describe(node)} joins axes whose sizes are not known")
    span = math.prod(int(size) for size in shape[2:])
    if index is not None:
        if lane.axis != 1 - len(shape):
            raise RefusedError(f"{describe(node)} joins them with other axes")
        before, after = lane.before * span, lane.after * span
        walk.reach(node.outputs[0], lane._replace(axis=-1, inner=lane.inner * span, before=before, after=after))
        return
    if lane.axis != -1 or any(size % span for size in (lane.inner, lane.before, lane.after)):
        raise RefusedError(f"{describe(node)} joins them with other axes")
    before, after = lane.before // span, lane.after // span
    walk.reach(node.inputs[0], lane._replace(axis=1 - len(shape), inner=lane.inner // span, before=before, after=after))


def expand(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Other axes grow: keys and values that several queries share."""
    target = entries(node.inputs[1], walk.dims)
    if index == 1 or target is None or is_one(node.inputs[0], lane.axis, walk.dims):
        raise RefusedError(f"{describe(node)} has a target that is not known, or repeats them")
    if len(target) >= -lane.axis and target[lane.axis] != 1:
        if target[lane.axis] is None:
            raise RefusedError(f"{describe(node)} has a target that is not known")
        demand(walk, node, 1, len(target) + lane.axis, lane.inner * lane.copies)
    walk.reach(node.inputs[0], lane)
    walk.reach(node.outputs[0], lane)
