import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regc.compiler.sites.layout import Layout, Reshape, Transpose


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    layout = Layout(tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        shape = layout.shape
        if draw(st.booleans()):
            layout = layout.then(Transpose(tuple(draw(st.permutations(range(len(shape)))))))
        else:
            cut = draw(st.integers(0, len(shape)))
            layout = layout.then(Reshape((math.prod(shape[:cut]), math.prod(shape[cut:]))))
    return layout


@given(layouts())
def test_inverse_takes_every_element_back(layout: Layout) -> None:
    array = np.arange(math.prod(layout.base)).reshape(layout.base)
    moved = layout.apply(array)
    assert moved.shape == layout.shape
    for move in layout.inverse():
        moved = move.apply(moved)
    assert np.array_equal(moved, array)


@given(layouts(), layouts())
def test_same_as_never_says_yes_to_different_places(first: Layout, second: Layout) -> None:
    second = Layout(first.base, second.moves) if second.base == first.base else first
    array = np.arange(math.prod(first.base)).reshape(first.base)
    if first.same_as(second):
        assert np.array_equal(first.apply(array), second.apply(array))


def test_copies_are_not_the_same_for_lying_at_the_same_place_in_turn() -> None:
    base = Layout((2, 2, 2, 2))
    first, second = (base.then(Transpose(perm), Reshape((1, 16))) for perm in ((0, 1, 3, 2), (0, 2, 1, 3)))
    assert not first.same_as(second)


def test_same_as_sees_through_different_moves() -> None:
    base = Layout((6, 4))
    assert base.then(Transpose((1, 0))).same_as(base.then(Reshape((6, 2, 2)), Transpose((1, 2, 0)), Reshape((4, 6))))
    assert not base.then(Transpose((1, 0))).same_as(base.then(Reshape((4, 6))))


def test_moves_that_change_nothing_are_left_out() -> None:
    assert Layout((2, 3)).then(Transpose((0, 1)), Reshape((2, 3))).moves == ()


def test_matrix_joins_axes() -> None:
    assert Layout((8, 3, 5, 5)).matrix(1).shape == (8, 75)
    assert Layout((2, 7, 9)).matrix(2, (0, 2, 1)).shape == (18, 7)
