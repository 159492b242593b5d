"""Memory, masks, and the part of the model that is compressed already."""

import numpy as np
import pytest

from regc.compiler import RegcError, UsageError
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from support import model, normal

from .gathered import CHAIN, assert_rows, chain, found, gathering, hidden


def test_less_memory_means_more_runs_and_the_same_figures() -> None:
    x = normal(20, 4, 8)
    whole, parts = gathering(chain(), {"x": x}), gathering(chain(), {"x": x}, memory=4 * 64)
    for gathered in (whole, parts):
        statistics = found(gathered)
        assert_rows(statistics["wq"], x.reshape(-1, 8))
        assert_rows(statistics["wo"], hidden(x.reshape(-1, 8)))
    assert (whole.effort.runs, parts.effort.runs) == (1, 2)
    assert parts.effort.nbytes == 4 * 64


def test_a_gram_matrix_that_is_too_large_alone_is_left_out() -> None:
    statistics = found(gathering(chain(), {"x": normal(20, 4, 8)}, memory=4 * 40))
    first, last = statistics["wq"], statistics["wo"]
    assert isinstance(first, Statistics)
    assert isinstance(last, Statistics)
    assert first.gram is None
    assert last.gram is not None
    assert first.second_moment.shape == (8,)


def test_masked_rows_do_not_count() -> None:
    text = """g (float[b,s,8] x, int64[b,s] mask) => (float y, float z) {
        y = MatMul(x, w)
        f = Cast<to=1>(mask)
        p = ReduceMean<axes=[1], keepdims=0>(x)
        q = MatMul(p, v)
        z = Add(q, v0)
    }"""
    proto = model(text, w=normal(8, 6), v=normal(8, 6, seed=1), v0=normal(1, 6))
    x, mask = normal(2, 3, 8), np.array([[1, 1, 0], [1, 0, 0]])
    statistics = found(gathering(proto, {"x": x, "mask": mask}, mask="mask"))
    assert_rows(statistics["w"], x[mask > 0])
    assert_rows(statistics["v"], x.mean(axis=1))


@pytest.mark.parametrize(
    ("mask", "words"), [("msk", "is no input of the model; it takes x, mask"), ("x", "a mask is integers or booleans")]
)
def test_a_mask_that_cannot_be_meant(mask: str, words: str) -> None:
    text = "g (float[b,s,8] x, int64[b,s] mask) => (float y, int64 z) { y = MatMul(x, w) z = Identity(mask) }"
    feed = {"x": normal(2, 3, 8), "mask": np.ones((2, 3), np.int64)}
    with pytest.raises(UsageError, match=words):
        found(gathering(model(text, w=normal(8, 6)), feed, mask=mask))


def test_a_mask_that_fits_nothing() -> None:
    text = "g (float[b,s,8] x, int64[k] mask) => (float y, int64 z) { y = MatMul(x, w) z = Identity(mask) }"
    feed = {"x": normal(2, 3, 8), "mask": np.ones(5, np.int64)}
    with pytest.raises(UsageError, match="no tensor that flows into a weight begins with its axes"):
        found(gathering(model(text, w=normal(8, 6)), feed, mask="mask"))


@pytest.mark.parametrize("sequential", [False, True])
def test_the_compressed_part_of_the_model_is_seen_when_asked_for(sequential: bool) -> None:
    x = normal(20, 8)
    proto = model(CHAIN.replace("b,s", "b"), wq=normal(8, 60), wk=normal(8, 60, seed=1), wo=normal(60, 5, seed=2))
    gathered = gathering(proto, {"x": x}, sequential=sequential)
    for site, _ in gathered.wanted:
        statistics = gathered.of(site)
        if site.info.name == "wo":
            before = x @ normal(8, 60) + x @ normal(8, 60, seed=1)
            assert_rows(statistics, np.zeros_like(before) if sequential else np.maximum(before, 0))
        gathered.put(site, Dense(np.zeros(site.info.shape, np.float32)))
    assert gathered.effort.runs == 1 + sequential


def test_what_came_before_is_counted_beside_what_comes_now() -> None:
    x = normal(4, 5, 8)
    gathered = gathering(chain(inner=60), {"x": x}, sequential=True)
    for site, _ in gathered.wanted:
        statistics = gathered.of(site)
        assert isinstance(statistics, Statistics)
        if site.info.name != "wo":
            assert statistics.cross is None  # nothing is compressed before it
            gathered.put(site, Dense(site.load().values / 2))
            continue
        then = np.maximum(x @ normal(8, 60) + x @ normal(8, 60, seed=1), 0).reshape(-1, 60)
        assert_rows(statistics, then / 2)
        assert statistics.cross is not None
        np.testing.assert_allclose(statistics.cross, then.T @ then / 2 / len(then), rtol=1e-3, atol=1e-4)
    assert gathered.effort.nbytes == 2 * 60 * 60 * 4


def test_inputs_on_which_the_model_fails_are_numbered() -> None:
    with pytest.raises(RegcError, match="cannot be run on feed 1 of 2 feeds given"):
        text = "g (float[b,8] x, float[c,8] z) => (float y) { a = Add(x, z) y = MatMul(a, w) }"
        good = {"x": normal(3, 8), "z": normal(3, 8)}
        found(gathering(model(text, w=normal(8, 6)), good, good | {"z": normal(2, 8)}))


def test_no_feed_at_all() -> None:
    with pytest.raises(UsageError, match="holds no feed"):
        found(gathering(chain()))


def test_rows_that_are_not_finite_are_told() -> None:
    x = normal(2, 3, 8)
    x[0, 0, 0] = np.inf
    assert found(gathering(chain(), {"x": x}))["wq"] == "calibration rows hold NaN or infinite values"
