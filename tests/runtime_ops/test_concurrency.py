"""Sessions and threads at once: every answer is that of one session in one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from . import tables
from .convolutions import Window, convolution, images, packed
from .packed import OPERATORS, Array, assert_same_bits, by_kernel, model, session, weights

SHAPE = (650, 300)
ROWS = (1, 3, 7, 20, 50)
CALLS = 24


def activations(rows: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, SHAPE[1])).astype(np.float32)


def batches() -> list[Array]:
    """Some for the kernels of few rows, some for those of many."""
    return [activations(ROWS[i % len(ROWS)], i) for i in range(CALLS)]


def run(runner: ort.InferenceSession, x: Array) -> Array:
    return np.asarray(runner.run(None, {"x": x})[0])


@pytest.mark.parametrize("variable", [False, True], ids=["constant", "variable"])
@pytest.mark.parametrize("op", OPERATORS)
def test_one_session_from_many_threads(op: str, variable: bool) -> None:
    """Constant weights are read once and shared by all calls, variable ones at every call."""
    inputs = weights(op, SHAPE, 64)
    proto = model(op, inputs, variable=tuple(inputs) if variable else ())
    feeds = inputs if variable else {}
    alone, shared = session(proto), session(proto, threads=2)
    expected = [np.asarray(alone.run(None, {"x": x, **feeds})[0]) for x in batches()]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda x: np.asarray(shared.run(None, {"x": x, **feeds})[0]), batches()))
    for result, right in zip(results, expected, strict=True):
        assert_same_bits(result, right)


def test_convolutions_from_many_threads() -> None:
    proto = convolution(packed(70, 8, 9), Window(), ["n", 8, 40, 30])
    batches = [images(1 + seed % 3, 8, 40, 30, seed=seed) for seed in range(CALLS)]
    alone, shared, other = session(proto), session(proto, threads=2), session(proto, threads=2)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda i: run((shared, other)[i % 2], batches[i]), range(CALLS)))
    for x, result in zip(batches, results, strict=True):
        assert_same_bits(result, run(alone, x))


@pytest.mark.parametrize("op", tables.GATHERS)
def test_lookups_from_many_threads(op: str) -> None:
    operands, matrix = tables.table(op, (300, 70))
    runner = session(tables.model(op, operands, 2), threads=2)
    wanted = [np.random.default_rng(seed).integers(-300, 300, (1 + seed % 4, 90)) for seed in range(CALLS)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda indices: np.asarray(runner.run(None, {"indices": indices})[0]), wanted))
    for indices, result in zip(wanted, results, strict=True):
        assert_same_bits(result, matrix[indices])


def test_sessions_of_all_operators_at_once() -> None:
    """Two of each operator, with different weights, created while others run."""
    protos = [model(op, weights(op, SHAPE, 64, seed=seed)) for op in OPERATORS for seed in (0, 1)]
    x = activations(20, seed=0)
    expected = [run(session(proto), x) for proto in protos]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda proto: run(session(proto, threads=2), x), [*protos, *protos]))
    for result, right in zip(results, [*expected, *expected], strict=True):
        assert_same_bits(result, right)


@pytest.mark.parametrize("rows", [1, 50])
@pytest.mark.parametrize("op", OPERATORS)
def test_any_number_of_threads(op: str, rows: int) -> None:
    proto, x = model(op, weights(op, SHAPE, 64)), activations(rows, seed=1)
    one, *more = [by_kernel(proto, x, "avx512", threads=threads) for threads in (1, 2, 3, 4)]
    for result in more:
        assert_same_bits(result, one)
