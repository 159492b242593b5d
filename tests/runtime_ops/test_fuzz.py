"""Operands changed at random: either they still are a weight, or an error names the node; never a bad read.

`make sanitize` runs this with AddressSanitizer watching.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .packed import NODE, OPERATORS, Array, Weights, by_kernel, model, weights

EDGES = [0, 1, -1, 2, 15, 16, 17, 31, 40, 41, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, -(2**63)]


@pytest.mark.parametrize("op", OPERATORS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_changed_operands(op: str, data: st.DataObject, seed: int) -> None:
    inputs = weights(op, (20, 40), data.draw(st.sampled_from([None, 16])), seed=seed)
    changed = {name: value.copy() for name, value in inputs.items()}
    for name in data.draw(st.lists(st.sampled_from(sorted(inputs)), min_size=1, max_size=2, unique=True)):
        _change(changed, name, data)
    x = np.ones((data.draw(st.sampled_from([1, 3, 20])), 40), np.float32)
    proto = model(op, changed, x_shape=["rows", "inputs"], variable=tuple(changed), function=False, shape_of_y=False)
    try:
        y = by_kernel(proto, x, "avx512", **changed)
    except Exception as error:  # ONNX Runtime raises several types of its own
        assert f"ai.regc::{op} node '{NODE}': " in str(error)
    else:
        assert y.shape == (len(x), changed["shape"][0])


def _change(inputs: Weights, name: str, data: st.DataObject) -> None:
    """Other sizes, or, for what counts and points, other values."""
    value = inputs[name]
    if value.dtype.kind == "f" or data.draw(st.booleans()):
        inputs[name] = np.resize(value, data.draw(st.one_of(_near(value), _any_shape()))).astype(value.dtype)
    elif value.size:
        bounds = np.iinfo(value.dtype)
        edges = st.sampled_from([edge for edge in EDGES if bounds.min <= edge <= bounds.max])
        place = data.draw(st.integers(0, value.size - 1))
        value.reshape(-1)[place] = data.draw(st.one_of(edges, st.integers(int(bounds.min), int(bounds.max))))


def _near(value: Array) -> st.SearchStrategy[tuple[int, ...]]:
    """The shape, with one size off by one."""
    sizes = [
        tuple(size + step * (axis == at) for at, size in enumerate(value.shape))
        for axis in range(value.ndim)
        for step in (-1, 1)
    ]
    return st.sampled_from([sizes_ for sizes_ in sizes if min(sizes_, default=0) >= 0] or [()])


def _any_shape() -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, 5), max_size=6).map(tuple)
