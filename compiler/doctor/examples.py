"""Example operands for every operator that the library has: what ``regc doctor`` tries the kernels with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

OUTPUTS, INPUTS, GROUP, BLOCK = 37, 96, 32, 4

Operands = dict[str, npt.NDArray[Any]]


def _affine(rng: np.random.Generator) -> Operands:
    return {
        "scale": (rng.random(OUTPUTS) + 0.5).astype(np.float32),
        "bias": rng.standard_normal(OUTPUTS).astype(np.float32),
    }


def _ternary(rng: np.random.Generator) -> Operands:
    from regc.runtime_ops.formats import ternary  # noqa: PLC0415

    trits = rng.integers(-1, 2, (OUTPUTS, INPUTS)).astype(np.int8)
    multipliers = rng.integers(0, ternary.MAX_MULTIPLIER + 1, (OUTPUTS, INPUTS // GROUP)).astype(np.uint8)
    return {
        "codes": ternary.pack_trits(trits),
        "multiplier": ternary.pack_multipliers(multipliers),
        "shape": np.array([OUTPUTS, INPUTS, GROUP], np.int64),
        **_affine(rng),
    }


def _ternary5(rng: np.random.Generator) -> Operands:
    from regc.runtime_ops.formats import ternary5  # noqa: PLC0415

    trits = rng.integers(-1, 2, (OUTPUTS, INPUTS)).astype(np.int8)
    return {
        "codes": ternary5.pack_trits(trits),
        "multiplier": np.ones((-(-OUTPUTS // ternary5.TILE), 1, ternary5.TILE), np.uint8),
        "shape": np.array([OUTPUTS, INPUTS, INPUTS], np.int64),
        **_affine(rng),
    }


def _rf8(rng: np.random.Generator) -> Operands:
    from regc.runtime_ops.formats import rf8  # noqa: PLC0415

    shape = np.array([OUTPUTS, INPUTS], np.int64)
    return {"codes": rf8.pack_codes(_rf8_codes(rng)), "shape": shape, **_affine(rng)}


def _rf8_codes(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    residuals, exponents = rng.integers(0, 7, (OUTPUTS, INPUTS)), rng.integers(1, 16, (OUTPUTS, INPUTS))
    return (rng.integers(0, 2, (OUTPUTS, INPUTS)) << 7 | exponents << 3 | residuals).astype(np.uint8)


def _sparse(rng: np.random.Generator, values: npt.NDArray[Any], name: str) -> Operands:
    from regc.runtime_ops.formats import block_sparse  # noqa: PLC0415

    keep = rng.random(block_sparse.grid_shape((OUTPUTS, INPUTS), BLOCK)) < 0.5
    packed = block_sparse.pack(values, keep, BLOCK)
    return {
        name: packed.values,
        "index": packed.columns,
        "start": packed.start,
        "shape": np.array([OUTPUTS, INPUTS, BLOCK], np.int64),
        **_affine(rng),
    }


def _block_sparse(rng: np.random.Generator) -> Operands:
    return _sparse(rng, rng.standard_normal((OUTPUTS, INPUTS)).astype(np.float32), "values")


def _block_sparse_rf8(rng: np.random.Generator) -> Operands:
    return _sparse(rng, _rf8_codes(rng), "codes")


def _gated_by(rng: np.random.Generator, values: npt.NDArray[Any], name: str, limit: Operands) -> Operands:
    from regc.runtime_ops.formats import gated  # noqa: PLC0415

    return {
        name: gated.pack(values),
        "norms": (rng.random(INPUTS) + 0.5).astype(np.float32),
        **limit,
        "shape": np.array([OUTPUTS, INPUTS], np.int64),
        **_affine(rng),
    }


THRESHOLD = {"threshold": np.array([0.5], np.float32)}
ACTIVE = {"active": np.array([INPUTS // 3], np.int64)}


def _gated(rng: np.random.Generator, limit: Operands) -> Operands:
    return _gated_by(rng, rng.standard_normal((OUTPUTS, INPUTS)).astype(np.float32), "weights", limit)


def _gated_rf8(rng: np.random.Generator, limit: Operands) -> Operands:
    return _gated_by(rng, _rf8_codes(rng), "codes", limit)


def _table(rng: np.random.Generator, name: str) -> Operands:
    """Embeddings of INPUTS rows and OUTPUTS columns."""
    from regc.runtime_ops.formats import rf8, rows, ternary  # noqa: PLC0415

    scale = (rng.random(INPUTS) + 0.5).astype(np.float32)
    if name.startswith("RF8"):
        codes = _rf8_codes(rng).T
        if name == "RF8Gather":
            return {"codes": np.ascontiguousarray(codes), "scale": scale}
        return {"codes": rf8.pack_codes(codes), "scale": scale, "shape": np.array([INPUTS, OUTPUTS], np.int64)}
    trits = rng.integers(-1, 2, (INPUTS, OUTPUTS)).astype(np.int8)
    multipliers = rng.integers(0, ternary.MAX_MULTIPLIER + 1, (INPUTS, -(-OUTPUTS // GROUP))).astype(np.uint8)
    tiled = name == "TernaryTiledGather"
    return {
        "codes": ternary.pack_trits(trits) if tiled else rows.pack_trits(trits),
        "multiplier": ternary.pack_multipliers(multipliers) if tiled else multipliers,
        "scale": scale,
        "shape": np.array([INPUTS, OUTPUTS, GROUP], np.int64),
    }


GATHERS = ("RF8Gather", "RF8TiledGather", "TernaryGather", "TernaryTiledGather")
KERNELS: dict[str, tuple[Callable[[np.random.Generator], Operands], bool]] = {
    "TernaryMatMul": (_ternary, True),
    "TernaryMatMulFloat": (_ternary, False),
    "Ternary5MatMul": (_ternary5, True),
    "Ternary5MatMulFloat": (_ternary5, False),
    "TernaryConv": (_ternary, True),
    "RF8MatMul": (_rf8, False),
    "BlockSparseMatMul": (_block_sparse, False),
    "BlockSparseRF8MatMul": (_block_sparse_rf8, False),
    "GatedMatMul": (partial(_gated, limit=THRESHOLD), False),
    "GatedRF8MatMul": (partial(_gated_rf8, limit=THRESHOLD), False),
    "GatedTopKMatMul": (partial(_gated, limit=ACTIVE), False),
    "GatedTopKRF8MatMul": (partial(_gated_rf8, limit=ACTIVE), False),
    **{name: (partial(_table, name=name), True) for name in GATHERS},
}
"""The operators that the library has, with example operands, and whether kernel and body must agree bit for
bit.
"""
