"""Samples that are kept apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regc.compiler.feeds.apart import Apart, Rest
from regc.compiler.feeds.inputs import Feed, Input

FREE, FIXED = Input("x", "tensor(float)", ("n", 2)), Input("x", "tensor(float)", (4, 2))


def feeds(sizes: list[int]) -> list[Feed]:
    values = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    return [{"x": part} for part in np.split(values, np.cumsum(sizes)[:-1])]


def rows(parts: list[Feed]) -> list[float]:
    return [float(row[0]) for part in parts for row in part["x"]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0.01, 0.9), st.integers(0, 3))
def test_every_sample_is_on_one_side(sizes: list[int], share: float, seed: int) -> None:
    given_feeds = feeds(sizes)
    apart = Apart.of(given_feeds, [FREE], share, seed)
    others, kept = apart.others(given_feeds), apart.kept(given_feeds)
    assert sorted(rows(others) + rows(kept)) == rows(given_feeds)
    total = sum(sizes) if max(sizes) > 1 else len(sizes)
    assert apart.count == len(rows(kept)) == (max(1, round(share * total)) if total > 1 else 0)
    assert all(len(part["x"]) for part in (*others, *kept))


def test_feeds_of_a_fixed_size_stay_whole() -> None:
    given_feeds = feeds([4, 4, 4])
    apart = Apart.of(given_feeds, [FIXED], 0.1, 0)
    assert apart.whole and apart.count == 1
    assert [len(part["x"]) for part in apart.others(given_feeds)] == [4, 4]


def test_inputs_of_different_sizes_stay_whole() -> None:
    given_feeds: list[Feed] = [{"x": np.zeros((3, 2)), "y": np.zeros((5, 2))}] * 4
    other = Input("y", "tensor(float)", ("m", 2))
    assert Apart.of(given_feeds, [FREE, other], 0.3, 0).whole


def test_the_rest_is_read_as_a_source() -> None:
    given_feeds = feeds([4, 1])
    rest = Rest(given_feeds, Apart.of(given_feeds, [FREE], 0.2, 0), "2 feeds")
    assert rest.words == "2 feeds without 1 held-out sample"
    read = list(rest.feeds([FREE], None))
    assert rest.size == len(read) and len(rows(read)) == 4
    assert rows(list(rest.feeds([FREE], [0]))) == rows(read[:1])
