"""Speeds of contenders over float32 or over another, from the results of `python -m benchmarks.kernels --json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log


@dataclass(frozen=True)
class Speed:
    """The speed of a contender over another: geometric mean over the shapes, least and most of them."""

    contender: str
    ours: bool
    rows: int
    mean: float
    least: float
    most: float


def summarize(results: Sequence[dict[str, object]], over: str = "float32") -> list[Speed]:
    """Speeds over one contender, over all shapes where it was measured, in the order of the results."""
    by: dict[tuple[str, int], list[float]] = {}
    ours = {str(r["contender"]): bool(r["ours"]) for r in results}
    others = {(r["shape"], r["rows"]): _speedup(r) for r in results if r["contender"] == over}
    for r in results:
        if (r["shape"], r["rows"]) in others:
            speed = _speedup(r) / others[r["shape"], r["rows"]]
            by.setdefault((str(r["contender"]), int(str(r["rows"]))), []).append(speed)
    return [
        Speed(name, ours[name], rows, exp(sum(map(log, seen)) / len(seen)), min(seen), max(seen))
        for (name, rows), seen in by.items()
    ]


def _speedup(result: dict[str, object]) -> float:
    """Over the float32 of its own run."""
    return float(str(result["speedup"]))
