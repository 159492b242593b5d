"""Gates for a number of inputs: the kernels, the body and TopK choose the same ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .packed import (
    BY_RANK,
    ISAS,
    Array,
    Weights,
    assert_same_bits,
    by_body,
    by_kernel,
    by_reference,
    isa,
    model,
    session,
    weights,
)


def identity(inputs: int, active: int, norms: Array) -> Weights:
    """A weight whose product is the gated row itself."""
    padded = -(-inputs // 16) * 16
    return {
        "weights": np.eye(inputs, padded, dtype=np.float32),
        "norms": norms,
        "active": np.array([active]),
        "scale": np.ones(inputs, np.float32),
        "bias": np.zeros(1, np.float32),
        "shape": np.array([inputs, inputs]),
    }


def chosen(scores: Array, active: int) -> Array:
    """bool like scores, by one comparison of an input with another after the other."""
    places = np.arange(scores.shape[1])
    before = (scores[:, None, :] > scores[:, :, None]) | (
        (scores[:, None, :] == scores[:, :, None]) & (places[None, None, :] < places[None, :, None])
    )
    return np.asarray(before.sum(2) < active)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 12),
    inputs=st.integers(1, 70),
    levels=st.sampled_from([1, 2, 5, 1000]),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_the_same_inputs_in_every_way(rows: int, inputs: int, levels: int, seed: int, data: st.DataObject) -> None:
    """Few levels of activations and norms have many equal scores; rows may be zero as a whole."""
    random = np.random.default_rng(seed)
    norms = (random.integers(1, min(levels, 3) + 1, inputs) / 2).astype(np.float32)
    x = random.integers(-levels, levels + 1, (rows, inputs)).astype(np.float32)
    active = data.draw(st.integers(1, inputs))
    proto = model("GatedTopKMatMul", identity(inputs, active, norms))
    expected = np.where(chosen(np.abs(x) * norms, active), x, 0)
    for y in (*(by_kernel(proto, x, name) for name in ISAS), by_body(proto, x), by_reference(proto, x)):
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("rows", [1, 12])
@pytest.mark.parametrize("name", ISAS)
def test_what_is_not_finite(name: str, rows: int) -> None:
    """NaN counts as infinity: of both the first is used, before any number."""
    inputs = identity(4, 1, np.ones(4, np.float32))
    inputs["weights"][:, :4] = 1
    proto = model("GatedTopKMatMul", inputs)
    for x, expected in (
        ([5, np.inf, np.nan, 1], np.inf),
        ([5, -np.inf, np.inf, 1], -np.inf),
        ([5, np.nan, np.inf, 1], np.nan),
        ([3e38, -np.inf, 1, 2], -np.inf),
        ([-3e38, 3e38, 1e-45, 2], -3e38),
        ([0, -1e-45, 1e-45, 0], -1e-45),
        ([-0.0, 0, 0, 0], 0),
    ):
        several = np.tile(np.array(x, np.float32), (rows, 1))
        y = by_kernel(proto, several, name)
        np.testing.assert_array_equal(y, np.full((rows, 4), expected, np.float32))
        np.testing.assert_array_equal(by_body(proto, several), y)


@pytest.mark.parametrize("rows", [1, 8, 9, 40])
@pytest.mark.parametrize("op", BY_RANK)
def test_all_inputs_are_no_gate(op: str, rows: int) -> None:
    """How many there are may be fed at run time."""
    inputs, x = weights(op, (70, 90), seed=1), np.random.default_rng(2).standard_normal((rows, 90)).astype(np.float32)
    open_ = {name: value for name, value in inputs.items() if name != "active"}
    by_threshold = {"threshold": np.zeros(1, np.float32), **open_}
    ordered = {name: by_threshold[name] for name in (*list(inputs)[:2], "threshold", "scale", "bias", "shape")}
    expected = by_kernel(model(op.replace("TopK", ""), ordered), x, "avx512")
    with isa("avx512"):
        runner = session(model(op, inputs, variable=("active",)))
    assert_same_bits(runner.run(None, {"x": x, "active": np.array([90])})[0], expected)
    assert not np.array_equal(runner.run(None, {"x": x, "active": np.array([1])})[0], expected)
    with pytest.raises(Exception, match=f"ai.regc::{op} node 'layer/7': active is 91, it must be 1 to K = 90"):
        runner.run(None, {"x": x, "active": np.array([91])})
