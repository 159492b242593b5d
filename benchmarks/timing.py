"""Running times side by side: interleaved rounds in changing order, so that noise hits all alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Feeds = Mapping[str, Any]
Run = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median of all rounds, and the middle half of them."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half the middle half, relative to the median."""
        return (self.high - self.low) / 2 / self.median


def interleaved(runs: Sequence[Run], *, rounds: int, calls: Sequence[int]) -> list[Timing]:
    """Time ``calls[i]`` calls of ``runs[i]`` in every round, after one call to warm up."""
    order = random.Random(0)
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for i in order.sample(range(len(runs)), len(runs)):
            runs[i]()
            start = time.perf_counter()
            for _ in range(calls[i]):
                runs[i]()
            times[i].append((time.perf_counter() - start) / calls[i])
    return [_timing(seen) for seen in times]


def calls_for(run: Run, seconds: float) -> int:
    """How many calls take about so long, at least one."""
    run()
    start = time.perf_counter()
    run()
    return max(1, round(seconds / max(time.perf_counter() - start, 1e-7)))


def medians(sessions: Sequence[Any], feeds: Feeds, rounds: int = 50, calls: int = 20) -> list[float]:
    """Median seconds of one call of each ONNX Runtime session with the same feeds."""
    runs = [lambda session=session: session.run(None, feeds) for session in sessions]
    return [timing.median for timing in interleaved(runs, rounds=rounds, calls=[calls] * len(runs))]


def _timing(seen: Sequence[float]) -> Timing:
    if len(seen) < 2:
        return Timing(seen[0], seen[0], seen[0])
    low, middle, high = statistics.quantiles(seen, n=4, method="inclusive")
    return Timing(middle, low, high)
