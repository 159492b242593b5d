"""For benchmarks.gpu_check: products by the kernels against NumPy, bit for bit for int8 activations."""

from __future__ import annotations

from collections.abc import Iterator
from math import erf
from typing import Any

import numpy as np

from benchmarks.gpu_kernels import ENDINGS, Kernels
from benchmarks.gpu_problems import Array, Problem, problem

SHAPES = ((37, 100), (130, 1540), (16, 4099))
ROWS = (1, 2, 3, 8, 9, 33, 65, 130)
KIND_OF_ERROR = {"float32": 2.0**-22, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Relative error of rounding a result to a type, twice."""


def activations(rows: int, inputs: int, seed: int) -> Array:
    """Rows of different magnitudes."""
    random = np.random.default_rng(seed)
    return (random.standard_normal((rows, inputs)) * 2.0 ** random.integers(-3, 4, (rows, 1))).astype(np.float32)


def int8_product(weight: Problem, x: Array) -> Array:
    """float32 as the operators define it: one rounding at a time."""
    amax = np.maximum(np.abs(x).max(1, keepdims=True), np.float32(1e-30))
    q = np.rint(x * (np.float32(127) / amax)).astype(np.int64)
    sums = (q @ weight.matrix.T.astype(np.int64)).astype(np.float32)
    product: Array = sums * (amax / np.float32(127)) * weight.operands["scale"] + weight.operands["bias"]
    return product


def passing(weight: Problem, scores: Array) -> Array:
    """bool like scores: which inputs pass the gate of a weight."""
    if "threshold" in weight.operands:
        return np.asarray(scores >= weight.operands["threshold"])
    order = np.argsort(-scores, axis=1, kind="stable")[:, : weight.sizes["active"]]
    passes = np.zeros(scores.shape, bool)
    np.put_along_axis(passes, order, True, axis=1)
    return passes


def expected(weight: Problem, x: Array) -> tuple[Array, Array | None]:
    """The product, and how far from it a result may be; None where it has to be the same bits."""
    if weight.format in ("ternary", "ternary5"):
        return int8_product(weight, x), None
    if "norms" in weight.operands:
        x = np.where(passing(weight, np.abs(x * weight.operands["norms"])), x, np.float32(0))
    wide, scale = x.astype(np.float64), weight.operands["scale"]
    magnitude = np.abs(wide) @ np.abs(weight.matrix).T * scale
    # Of many rows: to float16, or to sums of bfloat16, where the device has those on its tensor cores.
    rounded = 0 if len(x) <= 8 else 2.0**-11 if weight.format == "rf8" else 2.0**-16
    bound = magnitude * (rounded + (x.shape[1] + 3) * 2.0**-24)
    return (wide @ weight.matrix.T * scale + weight.operands["bias"]).astype(np.float32), bound


def ended(y: Array, ending: str, other: Array) -> Array:
    """What an ending makes of a product, in float64."""
    wide = y.astype(np.float64)
    if ending == "relu":
        return np.maximum(wide, 0)
    if ending == "silu":
        return wide / (1 + np.exp(-np.maximum(wide, -700)))
    if ending == "gelu_tanh":
        return wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    if ending == "gelu":
        return wide / 2 * (1 + np.vectorize(erf)(wide / np.sqrt(2)))
    return wide + other if ending == "add" else wide


def cases(kind: str) -> Iterator[tuple[Problem, int]]:
    """A format at every shape, with and without groups, by rows."""
    for shape in SHAPES:
        for group in (None, 32):
            weight = problem(kind, shape, seed=shape[0], group=group)
            yield from ((weight, rows) for rows in ROWS)


def wrong(kernels: Kernels, weight: Problem, rows: int, dtype: str, ending: str) -> str | None:
    """What is wrong with one product, in words."""
    memory = kernels.memory
    x = activations(rows, weight.shape[1], seed=rows)
    other = activations(rows, weight.shape[0], seed=rows + 1)
    on_device, other_there = typed(memory, x, dtype), typed(memory, other, dtype)
    if dtype != "float32":
        x, other = memory.get(on_device).reshape(x.shape), memory.get(other_there).reshape(other.shape)
    y = memory.empty(rows * weight.shape[0], dtype)
    loaded = kernels.load(weight)
    loaded.launch(on_device, rows, y, loaded.scratch(rows), dtype=dtype, ending=ending, other=other_there)
    actual = memory.get(y).reshape(rows, -1)
    product, bound = expected(weight, x)
    if bound is None and dtype == "float32" and ending in ("none", "relu", "add"):
        exact = np.maximum(product, 0) if ending == "relu" else product + other if ending == "add" else product
        return None if (actual == exact).all() else f"{np.count_nonzero(actual != exact)} outputs differ"
    wanted = ended(product, ending, other)
    allowed = 1.2 * (0 if bound is None else bound) + KIND_OF_ERROR[dtype] * (np.abs(wanted) + np.abs(product) + 1e-2)
    far = np.abs(actual - wanted) > allowed
    return f"{np.count_nonzero(far)} outputs are too far" if far.any() else None


def unlike_infinities(kernels: Kernels, weight: Problem, rows: int, dtype: str) -> str | None:
    """What is wrong with products of an infinite activation and of one that is NaN, in words."""
    memory, loaded = kernels.memory, kernels.load(weight)
    outputs, inputs = weight.shape
    x = activations(rows, inputs, seed=rows)
    spoiled = x.copy()
    spoiled[1, inputs // 2], spoiled[2, inputs // 3] = np.inf, np.nan
    clean, actual = memory.empty(rows * outputs, dtype), memory.empty(rows * outputs, dtype)
    for values, y in ((x, clean), (spoiled, actual)):
        loaded.launch(typed(memory, values, dtype), rows, y, loaded.scratch(rows), dtype=dtype)
    wanted, found = (memory.get(y).reshape(rows, -1).copy() for y in (clean, actual))
    counted = np.ones((rows, outputs), bool)
    if weight.format in ("ternary", "ternary5"):  # zeros times an infinite scale
        wanted[1:3] = np.nan
    else:  # products with 0 are NaN, but not where a sparse weight has none, which the matrix does not tell
        counted[1], counted[2] = weight.matrix[:, inputs // 2] != 0, weight.matrix[:, inputs // 3] != 0
        wanted[1] = np.where(weight.matrix[:, inputs // 2] < 0, -np.inf, np.inf)
        wanted[2] = np.nan
    differ = ~((wanted == found) | (np.isnan(wanted) & np.isnan(found))) & counted
    return f"{np.count_nonzero(differ)} outputs differ beside infinities and NaN" if differ.any() else None


def typed(memory: Any, values: Array, dtype: str) -> Any:
    """Values of a type in the memory of the kernels."""
    return memory.put(values) if dtype == "float32" else memory.put(values).to(memory.type_of(dtype))


def check_format(kernels: Kernels, kind: str, types: tuple[str, ...]) -> list[str]:
    """All mistakes with a format, in words."""
    mistakes = []
    for number, (weight, rows) in enumerate(cases(kind)):
        dtype, ending = types[number % len(types)], ENDINGS[number // len(types) % len(ENDINGS)]
        words = wrong(kernels, weight, rows, dtype, ending)
        if words is not None:
            mistakes.append(f"{kind} {weight.shape}, {rows} rows, {dtype}, {ending}: {words}")
    weight = problem(kind, SHAPES[0], seed=0)
    for rows, dtype in ((rows, dtype) for rows in (3, 33) for dtype in types):
        words = unlike_infinities(kernels, weight, rows, dtype)
        if words is not None:
            mistakes.append(f"{kind} {weight.shape}, {rows} rows, {dtype}: {words}")
    return mistakes
