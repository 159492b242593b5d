"""For benchmarks.gpu_check: lookups of rows of packed tables by the kernels against NumPy, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.gpu_kernels import TYPES, Kernels
from benchmarks.gpu_problems import Array
from regc.runtime_ops.formats import rf8, rows, ternary

LAYOUTS = ("RF8Gather", "RF8TiledGather", "TernaryGather", "TernaryTiledGather")
"""The operators, in the order of the enumeration of their tables in runtime_ops/csrc/cuda/products.h."""
SHAPES = ((37, 70), (16, 1), (130, 1540))


@dataclass(frozen=True)
class Lookups:
    """A random table ``[N, K]``: operands in the order of its operator, and the float32 matrix that they stand for."""

    op: str
    matrix: Array
    operands: Mapping[str, Array]
    group: int
    """Columns with a multiplier in common; all of them where there is none."""

    @property
    def layout(self) -> int:
        """The number of the enumeration."""
        return LAYOUTS.index(self.op)

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, K)``."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def groups(self) -> int:
        """Multipliers of a row."""
        return -(-self.shape[1] // self.group)


def table(op: str, shape: tuple[int, int], seed: int, group: int | None = None) -> Lookups:
    """A table with scales of both signs; RF8 has no groups."""
    random = np.random.default_rng(seed)
    scale = (random.uniform(0.5, 2, shape[0]) * random.choice([-1, 1], shape[0])).astype(np.float32)
    tiled = "Tiled" in op
    if op.startswith("RF8"):
        codes = random.integers(0, 256, shape).astype(np.uint8)
        operands = {"codes": rf8.pack_codes(codes) if tiled else codes, "scale": scale}
        if tiled:
            operands["shape"] = np.array(shape, np.int64)
        return Lookups(op, rf8.VALUES[codes] * scale[:, None], operands, shape[1])
    group = min(group or shape[1], shape[1])
    trits = random.integers(-1, 2, shape).astype(np.int8)
    multipliers = random.integers(0, 65, (shape[0], -(-shape[1] // group))).astype(np.uint8)
    operands = {
        "codes": ternary.pack_trits(trits) if tiled else rows.pack_trits(trits),
        "multiplier": ternary.pack_multipliers(multipliers) if tiled else multipliers,
        "scale": scale,
        "shape": np.array([*shape, group], np.int64),
    }
    levels = trits * multipliers[:, np.arange(shape[1]) // group].astype(np.int32)
    return Lookups(op, levels.astype(np.float32) * scale[:, None], operands, group)


def indices_of(count: int, index: str) -> Array:
    """Every row from both ends, and what lies beside: the next ones, and those whose sum with a size overflows."""
    limits = np.iinfo(np.dtype(index))
    beside = [count, -count - 1, limits.max, limits.min]
    # Rows that are there if only the low 32 bits count.
    beside += [(1 << 32) + 1, -(1 << 32) + 1] if index == "int64" else []
    return np.array([*range(-count, 0), *beside, *range(count)], index)


def rounded(values: Array, dtype: str) -> Array:
    """Finite float32 values rounded to a type, to the nearest with ties to even, as float32."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return (bits + 0x7FFF + (bits >> 16 & 1) & np.uint32(0xFFFF0000)).view(np.float32)
    return values.astype(dtype).astype(np.float32)


def expected(matrix: Array, index: Array, dtype: str) -> Array:
    """The rows; NaN where the table has none."""
    found = np.full((len(index), matrix.shape[1]), np.nan, np.float32)
    known = (index >= -len(matrix)) & (index < len(matrix))
    found[known] = rounded(matrix, dtype)[index[known]]
    return found


def differences(kernels: Kernels, op: str) -> Iterator[str]:
    """What is wrong with the lookups in a layout: every shape and group, type and type of indices."""
    for shape in SHAPES:
        for group in (None,) if op.startswith("RF8") else (None, 32):
            looked_up = table(op, shape, seed=shape[1], group=group)
            for dtype in TYPES:
                for index in (indices_of(shape[0], kind) for kind in ("int32", "int64")):
                    y, wanted = kernels.gather(looked_up, index, dtype), expected(looked_up.matrix, index, dtype)
                    wrong = ~((y == wanted) | (np.isnan(y) & np.isnan(wanted)))
                    if wrong.any():
                        name = f"{op} {shape}, group {looked_up.group}, {dtype}, {index.dtype}"
                        yield f"{name}: rows {index[wrong.any(1)][:8].tolist()} differ"


def check_lookups(kernels: Kernels) -> list[str]:
    """All mistakes."""
    return [mistake for op in LAYOUTS for mistake in differences(kernels, op)]
