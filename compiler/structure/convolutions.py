"""Convolutions: filters compute units, input channels read them; groups share both out."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import trace
from regc.compiler.structure.walk import CoarserError, CopiesError, Lane, RefusedError, Walk


def conv(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Filters compute units, input channels read them."""
    weight = trace(node.inputs[1])
    shape = weight.layout.shape if weight is not None else ()
    if lane.axis != 1 - len(shape) or index not in (0, None):
        raise RefusedError(f"{describe(node)} uses them in a way that is not followed")
    if node.attrs.get("group", 1) > 1:
        _grouped(walk, node, index, lane, (int(shape[0]), int(shape[1])))
    elif index == 0:
        walk.place(walk.group.consumers, node, 1, 1, lane)
    else:
        walk.place(walk.group.producers, node, 1, 0, lane)
        bias(walk, node, lane)


def _grouped(walk: Walk, node: gs.Node, index: int | None, lane: Lane, sizes: tuple[int, int]) -> None:
    """Units are whole groups, which go with what they compute, or as many channels of each group.

    ``sizes`` are those of the weight: all filters, and the channels that each of them reads.
    """
    groups = int(node.attrs["group"])
    filters = sizes[0] // groups
    width = sizes[1] if index == 0 else filters
    if not any(size % width for size in (lane.inner, lane.before, lane.after)):
        _whole_groups(walk, node, lane, width, (sizes[1], filters))
    elif lane.copies == groups and walk.group.units * lane.inner == width:
        within = lane._replace(copies=1)
        if index == 0:
            walk.place(walk.group.consumers, node, 1, 1, within)
        else:
            walk.place(walk.group.producers, node, 1, 0, lane)
            bias(walk, node, lane)
    elif lane.copies > 1 or lane.size(walk.group.units) != groups * width or lane.before or lane.after:
        raise RefusedError(f"{describe(node)} has {groups} groups, which share its channels out")
    elif walk.group.units <= groups:
        raise RefusedError(f"{describe(node)} has {groups} groups, more than there are of them")
    elif groups >= width:  # the finer of two ways to take as many from each group
        raise CoarserError(groups)
    else:
        raise CopiesError(groups)


def _whole_groups(walk: Walk, node: gs.Node, lane: Lane, width: int, sizes: tuple[int, int]) -> None:
    """Each unit is ``lane.inner / width`` groups, of so many input channels and filters as ``sizes`` says."""
    read, computed = (
        lane._replace(
            inner=lane.inner // width * size, before=lane.before // width * size, after=lane.after // width * size
        )
        for size in sizes
    )
    walk.reach(node.inputs[0], read)
    walk.reach(node.outputs[0], computed)
    walk.place(walk.group.followers, node, 1, 0, computed)
    bias(walk, node, computed)
    walk.number(node, "group", None, lane.inner // width * lane.copies)


def bias(walk: Walk, node: gs.Node, lane: Lane) -> None:
    """The third input of Gemm or Conv, where there is one with an element for each output."""
    if len(node.inputs) < 3 or node.inputs[2].is_empty():
        return
    chain = trace(node.inputs[2])
    if chain is None:
        raise RefusedError(f"{describe(node)} has a bias that is computed at run time")
    shape = chain.layout.shape
    if shape and shape[-1] != 1:
        walk.place(walk.group.followers, node, 2, len(shape) - 1, lane)
