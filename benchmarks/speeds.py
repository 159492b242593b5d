"""Speeds of contenders over float32, from the results of `python -m benchmarks.kernels --json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log


@dataclass(frozen=True)
class Speed:
    """The speed of a contender over float32: geometric mean over the shapes, least and most of them."""

    contender: str
    ours: bool
    rows: int
    mean: float
    least: float
    most: float


def summarize(results: Sequence[dict[str, object]]) -> list[Speed]:
    """Speeds over all shapes, in the order of the results."""
    by: dict[tuple[str, int], list[float]] = {}
    ours = {str(r["contender"]): bool(r["ours"]) for r in results}
    for r in results:
        by.setdefault((str(r["contender"]), int(str(r["rows"]))), []).append(float(str(r["speedup"])))
    return [
        Speed(name, ours[name], rows, exp(sum(map(log, seen)) / len(seen)), min(seen), max(seen))
        for (name, rows), seen in by.items()
    ]
