"""Latency of ONNX Runtime sessions side by side: interleaved rounds and medians, so that noise hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

Feeds = Mapping[str, Any]


def medians(sessions: Sequence[Any], feeds: Feeds, rounds: int = 50, calls: int = 20) -> list[float]:
    """Median seconds of one call of each session; every round visits every session, with one call to warm up."""
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(rounds):
        for session, seen in zip(sessions, times, strict=True):
            session.run(None, feeds)
            start = time.perf_counter()
            for _ in range(calls):
                session.run(None, feeds)
            seen.append((time.perf_counter() - start) / calls)
    return [statistics.median(seen) for seen in times]
