"""How far single tensors of a model vary over the calibration inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regc.compiler.calibration.probe import Probe
from regc.compiler.calibration.rows import Mask, mask_of
from regc.compiler.calibration.runs import NotLoadedError, Ran, Runs
from regc.compiler.calibration.taps import Tap
from regc.compiler.feeds.sources import Feeds
from regc.compiler.model import Model
from regc.compiler.records import Progress
from regc.compiler.report import text
from regc.compiler.terms import Float32

Float64 = npt.NDArray[np.float64]
AT_ONCE = 32
"""Tensors that a run gives out, lest those of a feed fill the memory."""


@dataclass
class Spread:
    """What a tensor was, place by place of its rows ``[count, K]``: ``low`` and ``high`` float32 ``[K]``, ``mean`` and
    ``variance`` float64 ``[K]``.
    """

    count: int
    low: Float32
    high: Float32
    mean: Float64
    variance: Float64

    @classmethod
    def of(cls, rows: Float32) -> Spread:
        """That of some rows, at least one."""
        return cls(len(rows), rows.min(0), rows.max(0), rows.mean(0, dtype=np.float64), rows.var(0, dtype=np.float64))

    def with_(self, other: Spread) -> Spread:
        """That of the rows of both."""
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        return Spread(
            count,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.mean + share * apart,
            (1 - share) * self.variance + share * other.variance + share * (1 - share) * np.square(apart),
        )

    @property
    def width(self) -> float:
        """The most that any place varies, of its size or of one, whichever is more; not a number where one was not."""
        size = np.maximum(1.0, np.maximum(np.abs(self.low), np.abs(self.high)))
        return float(((self.high.astype(np.float64) - self.low) / size).max())


def spreads(
    model: Model,
    taps: Sequence[Tap],
    feeds: Feeds,
    *,
    mask: str | None,
    threads: int | None,
    callback: Callable[[Progress], None],
) -> dict[Tap, Spread] | str:
    """Run a model over all feeds; how far tensors of its main graph vary, or why that cannot be seen, in words.

    Tensors that are never computed, or that change their size, are left out.

    Raises:
        RegcError: the model fails on a feed.
    """
    found: dict[Tap, Spread] = {}
    lost: set[Tap] = set()
    words = text.count(len(taps), "gate")
    probe = Probe(model, [])
    try:
        for start in range(0, len(taps), AT_ONCE):
            several = taps[start : start + AT_ONCE]
            for count, ran in enumerate(Runs(probe, None, feeds, threads).over(several, (), 0, paired=False), 1):
                callback(Progress("gates", count, 0, words))
                _count(ran, mask_of(ran.feed, mask), found, lost)
    except NotLoadedError as error:
        return f"ONNX Runtime does not give it out ({error})"
    return {tap: spread for tap, spread in found.items() if tap not in lost}


def _count(ran: Ran, mask: Mask | None, found: dict[Tap, Spread], lost: set[Tap]) -> None:
    """Count the tensors of one feed in; those that have changed their size are ``lost``."""
    for tap, tensor in ran.now.items():
        for rows in tap.rows.of(tensor, mask):
            if tap in found and found[tap].low.shape != rows.shape[1:]:
                lost.add(tap)
            elif len(rows):
                new = Spread.of(rows)
                found[tap] = found[tap].with_(new) if tap in found else new
