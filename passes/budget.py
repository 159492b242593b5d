"""One budget of bytes over several weights, spent where a byte saves the most error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple


class Point(NamedTuple):
    """What a weight may become: its bytes, the error that it then has, and what to call this choice."""

    nbytes: int
    error: float
    choice: int


def share_out(curves: Mapping[str, Sequence[Point]], budget: int) -> dict[str, Point]:
    """The point of each curve for which all errors together are least, within ``budget`` bytes or nearly.

    Points that lie above a line between two others of their curve are never chosen. Along what is left, a convex curve,
    steps are taken in the order of error saved per byte, so that all curves stop at one slope; a step that would exceed
    the budget is left out and smaller ones after it may still fit. Each curve has its smallest point at least.
    """
    hulls = {name: hull(points) for name, points in curves.items()}
    chosen = {name: points[0] for name, points in hulls.items()}
    left = budget - sum(point.nbytes for point in chosen.values())
    steps = [
        ((a.error - b.error) / (b.nbytes - a.nbytes), name, a, b)
        for name, points in hulls.items()
        for a, b in pairwise(points)
    ]
    for _, name, before, after in sorted(steps, key=lambda step: -step[0]):
        if chosen[name] is before and after.nbytes - before.nbytes <= left:
            left -= after.nbytes - before.nbytes
            chosen[name] = after
    return chosen


def hull(points: Sequence[Point]) -> list[Point]:
    """The points, by bytes, of the lower convex boundary of a curve: each has less error than all smaller ones."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.nbytes, point.error)):
        if found and point.error >= found[-1].error:
            continue
        while len(found) > 1 and _slope(found[-2], point) >= _slope(found[-2], found[-1]):
            found.pop()
        found.append(point)
    return found


def _slope(a: Point, b: Point) -> float:
    """Error saved per byte from a to b."""
    return (a.error - b.error) / (b.nbytes - a.nbytes)
