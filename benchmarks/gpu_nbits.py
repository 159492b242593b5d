"""For benchmarks.gpu_check: our operators beside MatMulNBits with 4 bits, float16 x, all in ONNX Runtime.

MatMulNBits has blocks of 32, for which most of ONNX Runtime's kernels are built, and is timed as it is and with
``ORT_FPA_INTB_GEMM``, by which a user chooses kernels for weights that are laid out anew when they are loaded (without
effect where they are not in the build); the faster one counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.gpu_problems import Array, Problem, problem, timed_problem
from benchmarks.gpu_provider import OPERATORS, inputs_of
from benchmarks.gpu_sessions import CUDA, PRODUCTS, Product, Session
from benchmarks.gpu_speed import Plan, layers_for

BLOCK = 32
CHOICE = "ORT_FPA_INTB_GEMM"
SHAPE = (96, 1120)
"""At which results are compared."""
NAMES = {kind: op for op, kind in OPERATORS.items()}
COMPARED = ("ternary", "rf8")


def nbits(shape: tuple[int, int], seed: int) -> Product:
    """A random weight of 4 bits."""
    random = np.random.default_rng(seed)
    outputs, blocks = shape[0], shape[1] // BLOCK
    constants = {
        "q": random.integers(0, 256, (outputs, blocks, BLOCK // 2), np.uint8),
        "s": (random.uniform(0.5, 1.5, outputs * blocks) / 100).astype(np.float16),
    }
    attributes = {"K": shape[1], "N": shape[0], "bits": 4, "block_size": BLOCK}
    return Product("MatMulNBits", shape, constants, "com.microsoft", attributes)


def nbits_matrix(weight: Product) -> Array:
    """What it stands for, ``[N, K]``: the low four bits first, less 8."""
    codes, scales = weight.constants["q"], weight.constants["s"].astype(np.float32)
    levels = np.stack((codes & 15, codes >> 4), axis=-1).reshape(len(codes), -1, BLOCK).astype(np.float32) - 8
    matrix: Array = (levels * scales.reshape(len(codes), -1, 1)).reshape(weight.shape)
    return matrix


def ours(weight: Problem, group: int) -> Product:
    """A product by an operator of ours."""
    return Product(NAMES[weight.format], weight.shape, inputs_of(weight, group))


def distinct(weight: Product, codes: str) -> list[Product]:
    """As many as exceed the cache; the same bytes but for the first word of their codes."""
    found = []
    for i in range(layers_for(weight.nbytes)):
        own = weight.constants[codes].copy()
        own.reshape(-1)[:4] = np.frombuffer(np.int32(i).tobytes(), np.uint8)
        found.append(replace(weight, constants={**weight.constants, codes: own}))
    return found


@contextmanager
def chosen(value: str) -> Iterator[None]:
    """ONNX Runtime reads the choice when it makes a kernel."""
    os.environ[CHOICE] = value
    try:
        yield
    finally:
        del os.environ[CHOICE]


def check_nbits(provider: str = CUDA) -> list[str]:
    """Mistakes of the contenders, in words: what is timed is a product of float16 x and the weights in turn."""
    mistakes = []
    for name in ("nbits", *COMPARED):
        problems = [problem(name, SHAPE, seed, group=32) for seed in range(2)] if name != "nbits" else []
        products = [ours(weight, 32) for weight in problems] or [nbits(SHAPE, seed) for seed in range(2)]
        for rows in (1, 9):
            with chosen("0"):
                session = Session(products, rows, 5, provider, apart=True)
            x, y = session.x.float().cpu().numpy(), session.results()
            for i, found in enumerate(y):
                wanted = _wanted(problems, products, x, i % len(products))
                # float16 results, and activations that may be rounded to eight bits.
                if not (np.abs(found - wanted) <= 0.02 * np.abs(wanted).max()).all():
                    mistakes.append(f"{name} in ONNX Runtime, {rows} rows: product {i} is wrong")
    return mistakes


def _wanted(problems: Sequence[Problem], products: Sequence[Product], x: Array, which: int) -> Array:
    if not problems:
        product: Array = x @ nbits_matrix(products[which]).T
        return product
    weight = problems[which]
    scaled: Array = x @ weight.matrix.T.astype(np.float32) * weight.operands["scale"] + weight.operands["bias"]
    return scaled


def best_of_nbits(shape: tuple[int, int], rows: int) -> tuple[float, str]:
    """Seconds of a product by MatMulNBits, and the choice by which they are the least."""
    products, times = distinct(nbits(shape, 0), "q"), {}
    for value in ("0", "1"):
        with chosen(value):
            times[value] = Session(products, rows, max(PRODUCTS, len(products))).seconds()
    best = min(times, key=times.__getitem__)
    return times[best], best


def measure(plan: Plan) -> Iterator[dict[str, Any]]:
    """All times of operators in ONNX Runtime's CUDA provider, one by one, printed as they come."""
    for rows in plan.rows:
        for shape in plan.shapes:
            other, choice = best_of_nbits(shape, rows)
            for kind in plan.kinds:
                products = distinct(ours(timed_problem(kind, shape), shape[1]), "codes")
                own = Session(products, rows, max(PRODUCTS, len(products))).seconds()
                print(
                    f"{shape[0]}x{shape[1]}, {rows} rows, {kind} in ONNX Runtime: {own * 1e6:.1f} us, "
                    f"{other / own:.2f} x MatMulNBits 4-bit ({other * 1e6:.1f} us, {CHOICE}={choice})",
                    flush=True,
                )
                yield {"shape": shape, "rows": rows, "format": kind, "seconds": own, "nbits": other, CHOICE: choice}
