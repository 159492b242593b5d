"""Operators that cut an axis into parts: joint projections of queries, keys and values have all units in each part."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.shapes import sweep
from regc.compiler.model import Model
from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import constant_of
from regc.compiler.structure.ones import Dims, entries
from regc.compiler.structure.walk import CopiesError, Lane, RefusedError, Walk

_SLICE = 10
"""Opset from which on a Slice has its bounds in inputs."""


def fold_bounds(model: Model, dims: dict[str, Dims]) -> None:
    """Make the bounds of Slices constant where they do not depend on the inputs of the model."""
    for node in list(model.graph.nodes):
        for index in range(1, len(node.inputs) if node.op == "Slice" else 0):
            old = node.inputs[index]
            known = None if constant_of(old) is not None else entries(old, dims)
            if known is not None and None not in known:
                values = np.array(known, np.int64)
                node.inputs[index] = model.add_constant(model.fresh_name(f"{old.name}.known"), values)
                sweep(model.graph, old)


def split(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """All parts hold all units, as many times each."""
    shape = walk.shape(node.inputs[0])
    parts = [walk.shape(output) for output in node.outputs]
    if index == 1 or shape is None or any(part is None for part in parts):
        raise RefusedError(f"{describe(node)} cuts a tensor whose shape is not known")
    axis = _from_end(int(node.attrs.get("axis", 0)), len(shape))
    if axis != lane.axis:
        for tensor in (node.inputs[0], *node.outputs):
            walk.reach(tensor, lane)
        return
    sizes = [part[axis] for part in parts if part is not None]
    if "split" in node.attrs:
        raise RefusedError(f"{describe(node)} has the sizes of its parts in an attribute")
    for position, size in enumerate(sizes):
        copies = _copies(walk, node, lane, shape[axis], size)
        walk.reach(node.outputs[position], lane._replace(copies=copies))
        if len(node.inputs) > 1 and not node.inputs[1].is_empty():
            if constant_of(node.inputs[1]) is None:
                raise RefusedError(f"{describe(node)} computes the sizes of its parts")
            walk.target(node, position, lane.inner * copies)
    walk.reach(node.inputs[0], lane._replace(copies=_copies(walk, node, lane, shape[axis], shape[axis])))


def slice_(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """A part that holds all units, or all of the axis."""
    shape, cut = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
    given = [entries(tensor, walk.dims) for tensor in node.inputs[1:]]
    if walk.opset < _SLICE or index not in (0, None) or shape is None or cut is None or len(given) < 3:
        raise RefusedError(f"{describe(node)} cuts a tensor whose shape, or an axis, is not known")
    axes = [None if axis is None else _from_end(axis, len(shape)) for axis in given[2] or [None]]
    if None in axes:
        raise RefusedError(f"{describe(node)} computes which axes it cuts")
    wanted = lane
    if lane.axis in axes:
        wanted = _sliced(walk, node, lane, (shape[lane.axis], cut[lane.axis]), axes.index(lane.axis))
    whole = lane if lane.axis not in axes else lane._replace(copies=_held(walk, lane, shape[lane.axis]))
    walk.reach(node.inputs[0], whole)
    walk.reach(node.outputs[0], wanted)


def _sliced(walk: Walk, node: gs.Node, lane: Lane, sizes: tuple[int | str, int | str], position: int) -> Lane:
    """Where units lie in a part of their own axis, whose bounds move with their number."""
    copies = _copies(walk, node, lane, *sizes)
    span = walk.group.units * lane.inner
    steps = entries(node.inputs[4], walk.dims) if len(node.inputs) > 4 else None
    if steps is not None and steps[position] != 1:
        raise RefusedError(f"{describe(node)} takes some of them, in steps")
    for index in (1, 2):
        constant, bounds = constant_of(node.inputs[index]), entries(node.inputs[index], walk.dims)
        bound = bounds[position] if bounds is not None else None
        if constant is None or bound is None or (abs(bound) <= int(sizes[0]) and bound % span):
            raise RefusedError(f"{describe(node)} cuts them at a place that does not follow from their number")
        if 0 < abs(bound) <= int(sizes[0]):
            walk.target(node, position, bound // walk.group.units, index)
    return lane._replace(copies=copies)


def _copies(walk: Walk, node: gs.Node, lane: Lane, whole: int | str, part: int | str) -> int:
    """How many times all units lie in a part of an axis.

    Raises:
        CopiesError: not once, but the parts are equal.
        RefusedError: they lie in several parts.
    """
    if isinstance(whole, str) or isinstance(part, str):
        raise RefusedError(f"{describe(node)} cuts a tensor whose shape is not known")
    span = walk.group.units * lane.inner
    if part % span == 0:
        return part // span
    if lane.copies == 1 and whole == span and whole % part == 0:
        raise CopiesError(whole // part)
    raise RefusedError(f"{describe(node)} cuts them apart")


def _held(walk: Walk, lane: Lane, size: int | str) -> int:
    return int(size) // (walk.group.units * lane.inner)


def _from_end(axis: int, rank: int) -> int:
    return axis - rank if axis >= 0 else axis
