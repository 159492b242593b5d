"""Ranks that kernels like: multiples of 16, in which ours compute outputs and pad the rank, as ONNX Runtime's do.

So a rank of 153 takes the time of 160. Ranks that were found (for a ratio, for energy) become such multiples, or those
of 4 where 16 is too coarse. Those that somebody has given by number stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from regc.passes.low_rank.spatial import Spatial

STEPS = (16, 4)
"""What ranks become multiples of: the first that they can."""
MOST = 1 / 8
"""By how much of itself a rank may change."""


class Ranks(NamedTuple):
    """The rank of each split of a weight; ``spatial`` is 0 where there is no such split."""

    channels: int
    spatial: int

    @classmethod
    def given(cls, rank: int, spatial: Spatial | None, *, along: bool) -> Ranks:
        """Those that take as much work as a rank, which is that of the ``spatial`` split for ``along``."""
        if spatial is not None and along:
            return cls(spatial.other(rank), rank)
        return cls(rank, 0 if spatial is None else spatial.rank(rank))

    @classmethod
    def found(cls, rank: int, spatial: Spatial | None, pays: Callable[[int], bool], *, up: bool) -> Ranks:
        """Those that kernels like and that take about as much work as a rank of the split into channels."""
        channels = rounded(rank, pays, up=up)
        if spatial is None:
            return cls(channels, 0)
        return cls(channels, rounded(spatial.rank(rank), lambda other: pays(spatial.other(other)), up=up))

    def words(self, kernel: tuple[int, ...], *, along: bool) -> str:
        """Both, for a kernel of this size; only the spatial one for ``along``."""
        if not self.spatial:
            return f"rank {self.channels}"
        spatial = f"{self.spatial} by {kernel[0]}x1 and 1x{kernel[1]}"
        return f"rank {spatial}" if along else f"rank {self.channels}, or {spatial}"


def rounded(rank: int, pays: Callable[[int], bool], *, up: bool = False) -> int:
    """The nearest multiple that ``pays``, the higher of two, only higher ones for ``up``; the rank where there is none.

    It differs from the rank by at most :data:`MOST` of that.
    """
    for step in STEPS:
        below = rank // step * step
        for near in sorted({below, -(-rank // step) * step}, key=lambda multiple: (abs(multiple - rank), -multiple)):
            if (near >= rank or not up) and abs(near - rank) <= MOST * rank and pays(near):
                return near
    return rank
