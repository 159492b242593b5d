"""Operands changed at random: either they still are a weight, or an error names the node; never a bad read.

`make sanitize` runs this with AddressSanitizer watching.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .convolutions import OP as CONVOLUTION
from .convolutions import Window, convolution, packed
from .packed import NODE, OPERATORS, Array, Weights, isa, model, session, weights
from .tables import GATHERS, table
from .tables import NODE as LOOKUP
from .tables import model as lookup

EDGES = [0, 1, -1, 2, 15, 16, 17, 31, 40, 41, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, -(2**63)]
IMAGES = [(2, 8, 7, 9), (0, 8, 7, 9), (2, 8, 1, 1), (2, 4, 7, 9), (2, 8, 7), (2, 8, 0, 9)]
FUZZ = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("op", OPERATORS)
@FUZZ
@given(data=st.data(), seed=SEEDS)
def test_changed_operands(op: str, data: st.DataObject, seed: int) -> None:
    inputs = weights(op, (20, 40), data.draw(st.sampled_from([None, 16])), seed=seed)
    changed = _changed(inputs, data)
    x = np.ones((data.draw(st.sampled_from([1, 3, 20])), 40), np.float32)
    proto = model(op, changed, x_shape=["rows", "inputs"], variable=tuple(changed), function=False, shape_of_y=False)
    y = _run(proto, f"ai.regc::{op} node '{NODE}': ", x=x, **changed)
    assert y is None or y.shape == (len(x), changed["shape"][0])


@FUZZ
@given(data=st.data(), seed=SEEDS)
def test_changed_convolutions(data: st.DataObject, seed: int) -> None:
    """Operands, the attributes of the node and the shape of the images."""
    changed = _changed(packed(20, 8, 6, data.draw(st.sampled_from([None, 16])), seed=seed), data)
    window = Window((3, 2), (1, 2), (1, 0, 1, 1), (2, 1))
    for name in data.draw(st.lists(st.sampled_from(list(window.attributes())), max_size=2)):
        setattr(window, name, data.draw(st.lists(st.integers(-1, 4) | st.sampled_from(EDGES), min_size=1, max_size=5)))
    shape = data.draw(st.sampled_from(IMAGES))
    free = [f"d{axis}" for axis in range(len(shape))]
    proto = convolution(changed, window, free, variable=tuple(changed), function=False)
    y = _run(proto, f"ai.regc::{CONVOLUTION} node '{NODE}': ", x=np.ones(shape, np.float32), **changed)
    assert y is None or y.shape[:2] == (shape[0], changed["shape"][0])


@pytest.mark.parametrize("op", GATHERS)
@FUZZ
@given(data=st.data(), seed=SEEDS)
def test_changed_tables(op: str, data: st.DataObject, seed: int) -> None:
    """Operands and indices."""
    changed = _changed(table(op, (20, 40), data.draw(st.sampled_from([16, 64])), seed)[0], data)
    wide = st.sampled_from([edge for edge in EDGES if abs(edge) < 20] * 3 + EDGES)
    indices = np.array(data.draw(st.lists(wide, max_size=4)), np.int64)
    proto = lookup(op, changed, variable=tuple(changed), function=False, shape_of_y=False)
    y = _run(proto, f"ai.regc::{op} node '{LOOKUP}': ", indices=indices, **changed)
    assert y is None or y.shape[0] == len(indices)


def _run(proto: onnx.ModelProto, prefix: str, **feeds: Array) -> Array | None:
    """y, or None where there is an error, which has to name the node."""
    try:
        with isa("avx512"):
            (y,) = session(proto).run(None, feeds)
    except Exception as error:  # ONNX Runtime raises several types of its own
        assert prefix in str(error)
        return None
    return np.asarray(y)


def _changed(inputs: Weights, data: st.DataObject) -> Weights:
    """A copy with other sizes of one or two operands, or, for what counts and points, other values."""
    changed = {name: value.copy() for name, value in inputs.items()}
    for name in data.draw(st.lists(st.sampled_from(sorted(inputs)), min_size=1, max_size=2, unique=True)):
        _change(changed, name, data)
    return changed


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
