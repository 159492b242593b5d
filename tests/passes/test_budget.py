from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regc.passes.budget import Point, hull, share_out


@st.composite
def curves(draw: st.DrawFn) -> list[Point]:
    count = draw(st.integers(1, 5))
    sizes = draw(st.lists(st.integers(1, 40), min_size=count, max_size=count, unique=True))
    errors = draw(st.lists(st.integers(0, 100), min_size=count, max_size=count))
    return [Point(size, float(error), index) for index, (size, error) in enumerate(zip(sizes, errors, strict=True))]


@given(curves())
def test_a_hull_is_convex_and_below_all_points(points: list[Point]) -> None:
    found = hull(points)
    assert found[0].nbytes == min(point.nbytes for point in points)
    slopes = [(a.error - b.error) / (b.nbytes - a.nbytes) for a, b in pairwise(found)]
    assert all(slope > 0 for slope in slopes)
    assert all(a > b for a, b in pairwise(slopes))
    assert min(point.error for point in points) == found[-1].error


@given(st.lists(curves(), min_size=1, max_size=3), st.integers(0, 120))
def test_the_budget_is_kept_and_well_spent(several: list[list[Point]], budget: int) -> None:
    named = {str(index): points for index, points in enumerate(several)}
    found = share_out(named, budget)
    spent = sum(point.nbytes for point in found.values())
    least = sum(min(point.nbytes for point in points) for points in several)
    assert spent <= max(budget, least)
    # With what is spent up to any step of the greedy order nothing better exists on the hulls.
    best = min(
        sum(point.error for point in choice)
        for choice in product(*(hull(points) for points in several))
        if sum(point.nbytes for point in choice) <= max(budget, least)
    )
    largest = max((a.error - b.error for points in several for a, b in _steps(points)), default=0.0)
    assert sum(point.error for point in found.values()) <= best + largest


def _steps(points: list[Point]) -> list[tuple[Point, Point]]:
    found = hull(points)
    return list(pairwise(found))


def test_all_curves_stop_at_one_slope() -> None:
    steep = [Point(10 * i, 100.0 - 10 * i, i) for i in range(1, 10)]
    flat = [Point(10 * i, 10.0 - i, i) for i in range(1, 10)]
    found = share_out({"steep": steep, "flat": flat}, 110)
    assert (found["steep"].choice, found["flat"].choice) == (9, 1)


@pytest.mark.parametrize("budget", [0, 25])
def test_what_cannot_be_met_is_come_near_to(budget: int) -> None:
    assert share_out({"w": [Point(20, 3.0, 0), Point(30, 1.0, 1)]}, budget)["w"].nbytes == 20
