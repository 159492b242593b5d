"""Runs in sequential mode: each begins where the last one stopped, and sees the same as from the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler.calibration.gather import Gathering, Options
from regc.compiler.calibration.stages import Cuts, upstream
from regc.compiler.feeds.sources import open_feeds
from regc.compiler.model import from_proto
from regc.compiler.sites import find_sites
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from support import model, normal

RESIDUAL = """g (float[b,16] x, bool c) => (float[b,16] y) {
    a = MatMul(x, u)
    r = Relu(a)
    s = Add(r, x)
    k, rest = Split<axis=1>(s)
    j = Concat<axis=1>(rest, k)
    p = MatMul(j, v)
    t = Add(p, s)
    q = If (c) <
        then_branch = g1 () => (float[b,16] yes) { yes = MatMul(t, w) },
        else_branch = g2 () => (float[b,16] no) { no = Sub(t, s) }
    >
    z = Add(q, s)
    y = MatMul(z, last)
}"""
FEEDS = [{"x": normal(5, 16, seed=i), "c": np.array(i != 1)} for i in range(3)]
SITES = ("u", "v", "last", "w")
"""In the order in which they are compressed: those of bodies come last."""


def residual() -> onnx.ModelProto:
    return model(RESIDUAL, **{name: normal(16, 16, seed=i) for i, name in enumerate(SITES)})


class Counted:
    """Feeds that count how often they are read."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Iterator[dict[str, Any]]:
        self.times += 1
        yield from FEEDS


def through(memory: int) -> tuple[dict[str, Statistics], Counted]:
    """The statistics of all weights, each of which is halved once they are known."""
    opened, feeds = from_proto(residual()), Counted()
    sites = find_sites(opened)
    wanted = [(site, frozenset({"gram", "quantiles"})) for site in sites]
    gathered = Gathering(opened, wanted, open_feeds(feeds), Options(sequential=True, memory=memory))  # type: ignore[arg-type]
    found = {}
    for site in sites:
        statistics = gathered.of(site)
        assert isinstance(statistics, Statistics), statistics
        found[site.info.name] = statistics
        gathered.put(site, Dense(site.load().values / 2))
    return found, feeds


def test_what_is_seen_is_the_same_from_the_start_and_from_a_cut() -> None:
    (kept, once), (anew, often) = through(1 << 30), through(1)
    assert kept.keys() == anew.keys() == set(SITES)
    assert (once.times, often.times) == (2, 4)  # nothing is settled in the first run; the second one is cut
    for name in SITES:
        assert kept[name].count == anew[name].count
        for figure in ("mean", "peak", "second_moment"):
            np.testing.assert_allclose(getattr(kept[name], figure), getattr(anew[name], figure), rtol=1e-5, atol=1e-6)


def test_what_came_before_is_carried_along() -> None:
    found, _ = through(1 << 30)
    assert found["u"].cross is None
    x = np.concatenate([feed["x"] for feed in FEEDS])
    weights = {name: normal(16, 16, seed=i) for i, name in enumerate(SITES)}
    taken = np.repeat([bool(feed["c"]) for feed in FEEDS], 5)

    def last(factor: float) -> Any:
        s = np.maximum(x @ weights["u"] * factor, 0) + x
        t = np.concatenate([s[:, 8:], s[:, :8]], 1) @ weights["v"] * factor + s
        return np.where(taken[:, None], t @ weights["w"], t - s) + s

    now, then = last(0.5), last(1)
    gram, cross = found["last"].gram, found["last"].cross
    assert gram is not None
    assert cross is not None
    np.testing.assert_allclose(gram, now.T @ now / len(x), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(cross, then.T @ now / len(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settled", "cut"), [(0b0, []), (0b1, ["j", "s"]), (0b11, ["s", "t"]), (0b111, ["s", "t"]), (0b1111, [])]
)
def test_where_a_model_can_be_cut(settled: int, cut: list[str]) -> None:
    """At what later nodes read, also from inside a body."""
    opened = from_proto(residual())
    sites = find_sites(opened)
    assert [site.info.name for site in sites] == list(SITES)
    assert Cuts(opened.graph, upstream(opened.graph, sites)).at(settled) == cut
