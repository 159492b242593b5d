"""Operators that cut an axis into parts or join parts: joint projections of queries, keys and values have all units in
each part, and what is concatenated has units of several sets.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.shapes import sweep
from regc.compiler.model import Model
from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import constant_of, trace
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
    """A part has all units, as many times as it has room for, or none."""
    shape = walk.shape(node.inputs[0])
    parts = [walk.shape(output) for output in node.outputs]
    if index == 1 or shape is None or any(part is None for part in parts):
        raise RefusedError(f"{describe(node)} cuts a tensor whose shape is not known")
    axis = _from_end(int(node.attrs.get("axis", 0)), len(shape))
    if axis != lane.axis:
        for tensor in (node.inputs[0], *node.outputs):
            walk.reach(tensor, lane)
        return
    if index is None and walk.reached(node.inputs[0]):
        return
    if index is None:
        raise RefusedError(f"{describe(node)} has them in a part that others are beside")
    start = 0
    for position, size in enumerate(part[axis] for part in parts if part is not None):
        part = _within(walk, node, lane, start, size, alike=len({str(other and other[axis]) for other in parts}) == 1)
        start += int(size)
        if part is not None:
            walk.reach(node.outputs[position], part)
            _sized(walk, node, position, part)
    walk.reach(node.inputs[0], lane)


def _sized(walk: Walk, node: gs.Node, position: int, part: Lane) -> None:
    """The size of a part, where it is written."""
    if "split" in node.attrs:
        walk.number(node, "split", position, part.inner * part.copies)
    elif len(node.inputs) > 1 and not node.inputs[1].is_empty():
        if constant_of(node.inputs[1]) is None:
            raise RefusedError(f"{describe(node)} computes the sizes of its parts")
        walk.target(node, position, part.inner * part.copies)


def concat(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Units lie behind and before what they are joined with; along other axes in all that is joined."""
    shapes = [_shape(walk, tensor) for tensor in node.inputs]
    if any(shape is None for shape in shapes):
        raise RefusedError(f"{describe(node)} joins a tensor whose shape is not known")
    axis = _from_end(int(node.attrs["axis"]), len(shapes[0] or ()))
    if axis != lane.axis:
        walk.reach(node.outputs[0], lane)
        for place, tensor in enumerate(node.inputs):
            if trace(tensor) is None:
                walk.reach(tensor, lane)
            else:
                walk.place(walk.group.followers, node, place, len(shapes[place] or ()) + lane.axis, lane)
        return
    sizes = [(shape or ())[axis] for shape in shapes]
    if not all(isinstance(size, int) for size in sizes):
        raise RefusedError(f"{describe(node)} joins tensors whose sizes are not known")
    starts = [sum(int(size) for size in sizes[:place]) for place in range(len(sizes) + 1)]
    if index is not None:
        before, after = starts[index], starts[-1] - starts[index + 1]
        walk.reach(node.outputs[0], lane._replace(before=lane.before + before, after=lane.after + after))
        return
    for place, tensor in enumerate(node.inputs):
        part = _within(walk, node, lane, starts[place], sizes[place])
        if part is not None and trace(tensor) is None:
            walk.reach(tensor, part)
        elif part is not None:
            walk.place(walk.group.followers, node, place, len(shapes[place] or ()) + axis, part)


def pad(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """What is added beside units stays."""
    shape = walk.shape(node.inputs[0])
    pads = entries(node.inputs[1], walk.dims) if len(node.inputs) > 1 else node.attrs.get("pads")
    if index not in (0, None) or shape is None or not pads or len(pads) != 2 * len(shape):
        raise RefusedError(f"{describe(node)} pads a tensor whose shape, or by what is not known")
    at, size = len(shape) + lane.axis, shape[lane.axis]
    before, after = pads[at], pads[at + len(shape)]
    if before is None or after is None or min(before, after) < 0 or not isinstance(size, int):
        raise RefusedError(f"{describe(node)} pads by what is not known, or cuts")
    if (before or after) and node.attrs.get("mode", "constant") != "constant":
        raise RefusedError(f"{describe(node)} repeats some of them")
    if index == 0:
        walk.reach(node.outputs[0], lane._replace(before=lane.before + before, after=lane.after + after))
        return
    part = _within(walk, node, lane, before, size)
    if part is not None:
        walk.reach(node.inputs[0], part)


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
        if lane.before or lane.after:
            raise RefusedError(f"{describe(node)} cuts them out of what they are joined with")
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


def _within(walk: Walk, node: gs.Node, lane: Lane, start: int, size: int | str, *, alike: bool = False) -> Lane | None:
    """Where units lie in a part of an axis; ``alike`` parts may have them once each.

    Raises:
        CopiesError: they do.
        RefusedError: some are in this part and some in another.
    """
    if isinstance(size, str):
        raise RefusedError(f"{describe(node)} cuts a tensor whose shape is not known")
    try:
        return lane.within(walk.group.units, start, start + size)
    except ValueError as error:
        whole = lane.size(walk.group.units)
        if alike and lane.copies == 1 and not lane.before and not lane.after:
            raise CopiesError(whole // size) from error
        raise RefusedError(f"{describe(node)} cuts or joins them apart") from error


def _shape(walk: Walk, tensor: gs.Tensor) -> Dims | None:
    chain = trace(tensor)
    return walk.shape(tensor) if chain is None else tuple(chain.layout.shape)


def _held(walk: Walk, lane: Lane, size: int | str) -> int:
    return int(size) // (walk.group.units * lane.inner)


def _from_end(axis: int, rank: int) -> int:
    return axis - rank if axis >= 0 else axis
