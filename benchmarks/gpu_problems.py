"""Random weights in every format of the CUDA kernels: packed operands, and the matrices that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

import benchmarks.checkout  # noqa: F401 - regc may not be installed
from regc.runtime_ops.formats import block_sparse, gated, rf8, ternary, ternary5

FORMATS = (
    "ternary",
    "ternary5",
    "ternary_float",
    "ternary5_float",
    "rf8",
    "sparse",
    "sparse_rf8",
    "gated",
    "gated_rf8",
    "gated_topk",
    "gated_topk_rf8",
)
"""In the order of the enumeration in runtime_ops/csrc/cuda/products.h."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """A random weight ``[N, K]`` of a format: its packed operands, and the matrix without the scale."""

    format: str
    shape: tuple[int, int]
    operands: Mapping[str, Array]
    matrix: Array
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes that a product with all of the weight reads."""
        return sum(values.nbytes for values in self.operands.values())


def problem(kind: str, shape: tuple[int, int], seed: int, group: int | None = None) -> Problem:
    """A weight whose products are about as large as the activations."""
    random = np.random.default_rng(seed)
    scale = (random.uniform(0.5, 2, shape[0]) / np.sqrt(shape[1])).astype(np.float32)
    bias = random.standard_normal(shape[0]).astype(np.float32)
    build = _ternary if kind.startswith("ternary") else _sparse if kind.startswith("sparse") else _other
    operands, matrix, sizes = build(kind, shape, random, group)
    return Problem(kind, shape, {**operands, "scale": scale, "bias": bias}, matrix, sizes)


_Parts = tuple[dict[str, Array], Array, dict[str, int]]


def _ternary(kind: str, shape: tuple[int, int], random: np.random.Generator, group: int | None) -> _Parts:
    layout = ternary5 if kind.startswith("ternary5") else ternary
    group = group * layout.BLOCK // 16 if group is not None else shape[1]
    groups = -(-shape[1] // group)
    trits = random.integers(-1, 2, shape).astype(np.int8)
    multipliers = random.integers(0, 65, (shape[0], groups)).astype(np.uint8) if groups > 1 else np.ones((shape[0], 1))
    operands = {
        "codes": layout.pack_trits(trits),
        "multiplier": ternary.pack_multipliers(multipliers.astype(np.uint8)),
    }
    sizes = {
        "multiplied": int(groups > 1),
        "blocks": -(-shape[1] // layout.BLOCK),
        "groups": groups,
        "group_blocks": -(-group // layout.BLOCK),
    }
    return operands, trits * multipliers[:, np.arange(shape[1]) // group], sizes


def _values(kind: str, shape: tuple[int, int], random: np.random.Generator) -> tuple[Array, Array]:
    """What is stored, and what it stands for."""
    if not kind.endswith("rf8"):
        values = random.standard_normal(shape).astype(np.float32)
        return values, values
    codes = random.integers(0, 256, shape).astype(np.uint8)
    return codes, rf8.VALUES[codes]


def _sparse(kind: str, shape: tuple[int, int], random: np.random.Generator, group: int | None) -> _Parts:
    block = 4 if group is None else min(group, 32)
    stored, values = _values(kind, shape, random)
    keep = random.random(block_sparse.grid_shape(shape, block)) < 0.4
    packed = block_sparse.pack(stored, keep, block)
    mask = np.repeat(np.repeat(keep, 16, 0), block, 1)[: shape[0], : shape[1]]
    operands = {"codes": packed.values, "index": packed.columns, "start": packed.start}
    return operands, values * mask, {"block_log2": block.bit_length() - 1}


def _other(kind: str, shape: tuple[int, int], random: np.random.Generator, _: int | None) -> _Parts:
    stored, values = _values(kind, shape, random)
    if kind == "rf8":
        return {"codes": rf8.pack_codes(stored)}, values, {"blocks": -(-shape[1] // rf8.BLOCK)}
    norms = random.uniform(0.5, 2, shape[1]).astype(np.float32)
    operands = {"codes": gated.pack(stored), "norms": norms}
    if kind.startswith("gated_topk"):
        return operands, values, {"active": shape[1] // 2 + 1}
    return {**operands, "threshold": np.array([0.7], np.float32)}, values, {}


@cache
def timed_problem(kind: str, shape: tuple[int, int]) -> Problem:
    """A weight of two or eight bits, or one that is sparse or gated, made in a moment: random codes, no matrix."""
    rows, inputs = shape
    random, tiles = np.random.default_rng(0), -(-rows // 16)
    affine = {"scale": np.full(rows, 1e-3, np.float32), "bias": np.zeros(rows, np.float32)}
    if not kind.startswith(("ternary", "rf8")):
        return replace(problem(kind, shape, 0, group=16), matrix=np.empty(0))
    per_block = {"rf8": rf8.BLOCK, "ternary5": ternary5.BLOCK}.get(kind.removesuffix("_float"), ternary.BLOCK)
    blocks = -(-inputs // per_block)
    operands = {"codes": random.integers(0, 256, tiles * blocks * 64, np.uint8), **affine}
    if kind.startswith("ternary"):
        operands["multiplier"] = np.ones(tiles * 16, np.uint8)
    return Problem(kind, shape, operands, np.empty(0), {"blocks": blocks, "groups": 1, "group_blocks": blocks})
