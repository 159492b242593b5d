"""Reshape: units that stay whole in the axis that others are joined with, or cut from."""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.structure.demands import demand
from regc.compiler.structure.ones import entries
from regc.compiler.structure.walk import CoarserError, Dims, Lane, RefusedError, Walk


def reshape(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Units stay whole: ``[.., heads * size]`` and ``[.., heads, size]``."""
    source, result = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
    sizes = entries(node.inputs[1], walk.dims)
    if source is None or result is None or sizes is None or len(sizes) != len(result) or index == 1:
        raise RefusedError(f"{describe(node)} has a target or a shape that is not known")
    here, there = (result, source) if index is None else (source, result)
    other = _across(walk, node, here, there, lane)
    before, after = (other, lane) if index is None else (lane, other)
    position = len(result) + after.axis
    size = sizes[position]
    if size is None:
        raise RefusedError(f"{describe(node)} has a target that is computed from their number")
    if size > 0:
        demand(walk, node, 1, position, after.inner * after.copies)
    elif size == 0 and len(source) + before.axis != position:
        raise RefusedError(f"{describe(node)} takes their number from another axis")
    walk.reach(node.inputs[0] if index is None else node.outputs[0], other)


def _across(walk: Walk, node: gs.Node, here: Dims, there: Dims, lane: Lane) -> Lane:
    """Where units of ``here`` are on the other side of a Reshape."""
    found = _segment(here, there, len(here) + lane.axis)
    if found is None:
        raise RefusedError(f"{describe(node)} joins or cuts them with axes whose sizes are not known")
    (start, end), (first, last) = found
    mine, theirs = here[start:end], there[first:last]
    if len(mine) == len(theirs) == 1:
        return lane._replace(axis=first - len(there))
    if len(mine) == 1:
        at, result = _cut(walk, node, _ints(theirs), lane)
        return result._replace(axis=first + at - len(there))
    if len(theirs) == 1:
        at = len(here) + lane.axis - start
        return _joined(node, _ints(mine), at, lane)._replace(axis=first - len(there))
    raise RefusedError(f"{describe(node)} joins and cuts them")


def _cut(walk: Walk, node: gs.Node, sizes: list[int], lane: Lane) -> tuple[int, Lane]:
    """Which of the axes that theirs becomes has the units, and how."""
    at = next((axis for axis, size in enumerate(sizes) if size > 1), 0)
    if lane.copies == sizes[at] and len(sizes) > at + 2 and not lane.before and not lane.after:
        lane, at = lane._replace(copies=1), at + 1  # queries, keys and values have an axis of their own
    span = math.prod(sizes[at + 1 :])
    if not any(size % span for size in (lane.inner, lane.before, lane.after)):
        before, after = lane.before // span, lane.after // span
        return at, lane._replace(inner=lane.inner // span, before=before, after=after)
    if lane.copies == 1 and not lane.before and not lane.after and sizes[at] < walk.group.units:
        raise CoarserError(sizes[at])
    raise RefusedError(f"{describe(node)} cuts them")


def _joined(node: gs.Node, sizes: list[int], at: int, lane: Lane) -> Lane:
    """Units in an axis that is joined with others: inner ones make them larger, outer ones repeat them."""
    outer, span = math.prod(sizes[:at]), math.prod(sizes[at + 1 :])
    if outer == 1:
        return lane._replace(inner=lane.inner * span, before=lane.before * span, after=lane.after * span)
    if lane.copies == 1 and not lane.before and not lane.after:
        return lane._replace(inner=lane.inner * span, copies=outer)
    raise RefusedError(f"{describe(node)} joins them with others")


def _segment(here: Dims, there: Dims, position: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The fewest axes around ``position`` that are as many elements as some of ``there``: from where to where in both.

    Sizes are compared from the last on, and from the first, as far as they are known.
    """
    mine, theirs = _steps(here[::-1], there[::-1], len(here) - 1 - position)
    if mine is not None and theirs is not None:
        return (len(here) - mine[1], len(here) - mine[0]), (len(there) - theirs[1], len(there) - theirs[0])
    mine, theirs = _steps(here, there, position)
    return None if mine is None or theirs is None else (mine, theirs)


def _steps(here: Dims, there: Dims, position: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """The segment with ``position``, going from the first axis on."""
    start = first = 0
    while start < len(here) and first < len(there):
        end, last = start + 1, first + 1
        if here[start] != there[first]:
            if isinstance(here[start], str) or isinstance(there[first], str):
                break
            grown = _grown(here, there, (start, first))
            if grown is None:
                break
            end, last = grown
        if start <= position < end:
            return (start, end), (first, last)
        start, first = end, last
    return None, None


def _grown(here: Dims, there: Dims, at: tuple[int, int]) -> tuple[int, int] | None:
    """Where the products of sizes from these axes on are the same for the first time."""
    (end, last), mine, theirs = at, 1, 1
    while end == at[0] or mine != theirs:
        shape, place = (here, end) if mine <= theirs else (there, last)
        size = shape[place] if place < len(shape) else ""
        if isinstance(size, str):
            return None
        if mine <= theirs:
            mine, end = mine * size, end + 1
        else:
            theirs, last = theirs * size, last + 1
    return end, last


def _ints(sizes: Dims) -> list[int]:
    return [int(size) for size in sizes]
