"""RF8 weights times many rows in float16: the kernels against the same arithmetic in NumPy, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .packed import HALVES, OPERATORS, SPARSE, Array, assert_same_bits, by_kernel, dense, model, passed, weights

Half = npt.NDArray[np.float16]

CPUINFO = Path("/proc/cpuinfo")
RF8 = tuple(op for op in OPERATORS if "RF8" in op)
FEW = {"RF8MatMul": 1, "BlockSparseRF8MatMul": 2, "GatedRF8MatMul": 4, "GatedTopKRF8MatMul": 4}
"""The most rows that are multiplied in float32."""
CHAIN = 128
"""Inputs whose products are added up in float16."""

on_such_a_cpu = pytest.mark.skipif(
    not CPUINFO.exists() or "avx512_fp16" not in CPUINFO.read_text(encoding="utf-8"), reason="no AVX512-FP16 here"
)


def rounded(x: Array) -> tuple[Half, Array]:
    """Rows in float16 with their largest finite magnitude in 128 .. 256, and the power of two to scale them by."""
    largest = np.where(np.isfinite(x), np.abs(x), 0).max(1)
    exponents = np.where(largest < 2.0**-126, 126, np.minimum(8 - np.frexp(largest)[1], 126))
    scale = np.ldexp(np.float32(1), exponents).astype(np.float32)
    return (x * scale[:, None]).astype(np.float16), 1 / scale


def chains(x: Half, weight: Array) -> Array:
    """Float32 sums of float16 chains, one over the even and one over the odd inputs of every 128.

    A product of halves and its sum with a half are exact in float64 but for one rounding.
    """
    total = np.zeros((len(x), len(weight)), np.float32)
    for begin in range(0, x.shape[1], CHAIN):
        lanes = np.zeros((2, len(x), len(weight)), np.float16)
        for k in range(begin, min(begin + CHAIN, x.shape[1])):
            product = x[:, k, None].astype(np.float64) * weight[:, k]
            lanes[k % 2] = (lanes[k % 2] + product).astype(np.float16)
        total += (lanes[0] + lanes[1]).astype(np.float32)
    return total


def reference(op: str, x: Array, inputs: dict[str, Array]) -> Array:
    """y by the arithmetic of the panels."""
    halves, unscale = rounded(passed(x, inputs))
    weight = dense(op, inputs).astype(np.float64)
    if op in SPARSE:
        sums = np.concatenate([chains(*kept(tile, halves, weight, inputs)) for tile in range(-(-len(weight) // 16))], 1)
    else:
        sums = chains(halves, weight)
    y: Array = sums * unscale[:, None] * inputs["scale"] + inputs["bias"]
    return y


def kept(tile: int, x: Half, weight: Array, inputs: dict[str, Array]) -> tuple[Half, Array]:
    """The activations and the weights of the inputs that a tile of 16 outputs keeps; zeros beyond K."""
    block = int(inputs["shape"][2])
    columns = inputs["index"][inputs["start"][tile] : inputs["start"][tile + 1]]
    places = (columns[:, None] * block + np.arange(block)).reshape(-1)
    room = max(0, int(places.max(initial=0)) + 1 - x.shape[1])
    wide_x, wide = (np.pad(matrix, ((0, 0), (0, room))) for matrix in (x, weight[16 * tile : 16 * tile + 16]))
    return wide_x[:, places], wide[:, places]


def some_rows(rows: int, inputs: int, seed: int) -> Array:
    random = np.random.default_rng(seed)
    magnitudes = 10.0 ** random.integers(-44, 37, (rows, 1))
    return (random.standard_normal((rows, inputs)) * magnitudes).astype(np.float32)


@on_such_a_cpu
@pytest.mark.parametrize("op", RF8)
@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 150), st.integers(1, 300)),
    more=st.integers(1, 30),
    block=st.sampled_from([2, 4, 8, 16, 32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_panels_are_what_numpy_computes(op: str, shape: tuple[int, int], more: int, block: int, seed: int) -> None:
    inputs = weights(op, shape, seed=seed, block=block)
    x = some_rows(FEW[op] + more, shape[1], seed)
    assert_same_bits(by_kernel(model(op, inputs), x, HALVES), reference(op, x, inputs))


@on_such_a_cpu
@pytest.mark.parametrize("op", RF8)
def test_the_error_is_what_the_documentation_says(op: str) -> None:
    inputs = weights(op, (70, 4000), block=4)
    x = np.random.default_rng(1).standard_normal((40, 4000)).astype(np.float32)
    exact = passed(x, inputs).astype(np.float64) @ dense(op, inputs).T.astype(np.float64) * inputs["scale"]
    error = np.linalg.norm(by_kernel(model(op, inputs), x, HALVES) - inputs["bias"] - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 2e-3


@on_such_a_cpu
@pytest.mark.parametrize("op", RF8)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_depends_on_nothing_but_itself(op: str, threads: int) -> None:
    """Among many rows; few of them are multiplied in float32, as everywhere."""
    proto = model(op, weights(op, (650, 300), block=4))
    x = some_rows(400, 300, seed=2)
    together = by_kernel(proto, x, HALVES, threads=threads)
    for first, last in ((0, 9), (3, 17), (100, 300)):
        assert_same_bits(by_kernel(proto, x[first:last], HALVES), together[first:last])
    few = x[: FEW[op]]
    assert_same_bits(by_kernel(proto, few, HALVES, threads=threads), by_kernel(proto, few, "generic"))


@on_such_a_cpu
@pytest.mark.parametrize("op", RF8)
def test_what_is_not_finite_comes_out_as_in_float32(op: str) -> None:
    """Beside the largest numbers, too: a row is scaled by its largest finite magnitude."""
    inputs = weights(op, (40, 200), block=4)
    x = some_rows(12, 200, seed=4)
    x[0, 3] = np.nan
    x[1, 7] = np.inf
    x[2, [0, 9]] = np.inf, -np.inf
    x[3] = 0
    x[4] = 1e37
    x[4, 5] = -np.inf
    x[5, :] = -0.0
    x[6] = np.float32(1e-45)
    proto = model(op, inputs)
    halves, floats = by_kernel(proto, x, HALVES), by_kernel(proto, x, "avx512")
    finite = np.isfinite(floats)
    assert not finite[[0, 1, 2, 4]].all(1).any()
    assert finite[[3, 5, 6, 7]].all()
    assert (np.isfinite(halves) == finite).all()
    assert_same_bits(np.where(finite, 0, halves), np.where(finite, 0, floats))


@pytest.mark.parametrize("op", [op for op in OPERATORS if op not in RF8 or op in SPARSE])
def test_all_else_is_the_same_bits(op: str) -> None:
    """Weights other than RF8, and block-sparse RF8 weights whose blocks have one input."""
    proto = model(op, weights(op, (70, 300), 32, block=1))
    x = some_rows(30, 300, seed=6)
    assert_same_bits(by_kernel(proto, x, HALVES), by_kernel(proto, x, "avx512"))
