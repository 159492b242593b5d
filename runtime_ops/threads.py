"""Work on large arrays that the threads of this process share; what they run lets go of the interpreter meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

SHARED = 1 << 17
"""Values from which on threads share the work, which takes them about 50 us to begin."""


def share(total: int, unit: int, size: int, part: Callable[[slice], None]) -> None:
    """Run ``part`` over slices of ``range(total)`` cut at multiples of ``unit``: one a core, the first of them in the
    thread that calls; all in one where ``size`` values are not worth more.
    """
    cores = _cores() if size >= SHARED else 1
    step = max(1, -(-total // (unit * cores))) * unit
    first, *others = (slice(start, min(start + step, total)) for start in range(0, max(1, total), step))
    beside = [_pool().submit(part, piece) for piece in others]
    part(first)
    for one in beside:
        one.result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), "regc-share")
