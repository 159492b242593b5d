"""Texts that are longer than the calibration inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from regc.compiler.model import from_proto
from regc.compiler.recovery.joining import MOST, joinable, joined
from regc.compiler.recovery.network import feeds_of
from regc.compiler.recovery.teaching import teaching
from regc.compiler.sites import find_sites
from support import Array, model, normal

PLACES = """g (int64[n, s] ids, int64[n, s] mask) => (float[n, s, 8] y) {
    a = Gather (table, ids)
    m = Cast <to = 1> (mask)
    b = Unsqueeze (m, last)
    c = Mul (a, b)
    size = Shape (ids)
    length = Gather (size, one)
    places = Range (zero, length, one)
    d = Gather (positions, places)
    e = Add (c, d)
    y = MatMul (e, w)
}"""
FIXED = "g (int64[n, 5] ids) => (float[n, 5, 8] y) { a = Gather (table, ids) y = MatMul (a, w) }"
WEIGHTS: dict[str, Array] = {"table": normal(300, 8), "w": normal(8, 8)}
FEEDS = [{name: np.ones((4, size), np.int64) for name in ("ids", "mask")} for size in (3, 5)]


@pytest.mark.parametrize(("positions", "possible"), [(5 * MOST, True), (5 * MOST - 1, False)])
def test_texts_are_joined_where_the_model_has_that_many_places(positions: int, possible: bool) -> None:
    numbers = {"last": np.int64([-1]), "one": np.int64(1), "zero": np.int64(0)}
    assert asked(PLACES, FEEDS, positions=normal(positions, 8), **numbers) == possible


def test_texts_of_one_size_stay() -> None:
    assert not asked(FIXED, [{"ids": FEEDS[1]["ids"]}])


def asked(text: str, feeds: list[dict[str, Array]], **weights: Array) -> bool:
    opened = from_proto(model(text, **WEIGHTS, **weights))
    _, network = teaching(opened, opened, find_sites(opened), feeds_of(feeds[0]))
    return joinable(opened.graph, feeds, network.run)


def test_all_inputs_are_joined_alike() -> None:
    ids = torch.arange(35).reshape(7, 5)
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(20):
        found: dict[str, Tensor] = joined({"ids": ids, "more": ids + 100}, rng)
        count, places = found["ids"].shape
        sizes.add((count, places))
        assert torch.equal(found["more"], found["ids"] + 100)
        parts = found["ids"].reshape(-1, 5)
        assert (parts[:, 0] % 5 == 0).all() and torch.equal(parts, parts[:, :1] + torch.arange(5))
        assert len(set(parts[:, 0].tolist())) == count * (places // 5)
    assert sizes == {(7, 5), (3, 10), (2, 15)}
