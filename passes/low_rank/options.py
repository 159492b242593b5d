"""Which options cannot be meant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regc.passes.low_rank.rewrite import LowRank


def excluding(options: LowRank) -> str | None:
    """Which of them exclude each other, in words; None where none do."""
    ratio, rank, energy = options.ratio, options.rank, options.energy
    given = {"ratio": ratio is not None, "rank": isinstance(rank, int), "energy": energy is not None}
    if sum(given.values()) > 1:
        names = " and ".join(key for key, there in given.items() if there)
        return f"low-rank: at most one of ratio, rank and energy, got {names}"
    if energy is not None and rank is not None:
        return f"low-rank: rank={rank} is for a ratio, energy finds its own; leave one of them out"
    return None


def out_of_range(options: LowRank) -> str | None:
    """Which one is out of its range, in words; None where none is."""
    ratio, rank, energy = options.ratio, options.rank, options.energy
    ranges = {
        "ratio must be above 1": (ratio, ratio is None or 1 < ratio < math.inf),
        "rank must be 1 or more": (rank, not isinstance(rank, int) or rank >= 1),
        "energy must be between 0 and 1": (energy, energy is None or 0 < energy < 1),
        "refine must be 0 or more, 1 with residual": (options.refine, options.refine >= (options.residual is not None)),
        "min_outputs must be 0 or more": (options.min_outputs, options.min_outputs >= 0),
    }
    return next((f"low-rank: {words}, got {value}" for words, (value, fine) in ranges.items() if not fine), None)
