"""Samples kept apart from all others, so that they can judge what the others made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regc.compiler.feeds.inputs import Feed, Input
from regc.compiler.feeds.source import Source
from regc.compiler.report.text import count as counted

Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Apart:
    """Which samples of feeds are kept apart.

    ``rows`` is bool ``[rows]`` of each feed, or ``[1]`` for a feed as a ``whole``.
    """

    rows: tuple[Rows, ...]
    whole: bool

    @classmethod
    def of(cls, feeds: Sequence[Feed], inputs: Sequence[Input], share: float, seed: int) -> Apart:
        """A ``share`` of the samples, at least one, drawn by ``seed``; none where there is only one.

        Samples are rows where the first axis of all inputs may have any size, else whole feeds.
        """
        whole = not _by_rows(feeds, inputs)
        sizes = [1 if whole else len(next(iter(feed.values()))) for feed in feeds]
        total = sum(sizes)
        kept = np.zeros(total, np.bool_)
        kept[np.random.default_rng(seed).permutation(total)[: max(1, round(total * share))]] = total > 1
        return cls(tuple(np.split(kept, np.cumsum(sizes)[:-1])), whole)

    @property
    def count(self) -> int:
        """How many samples are kept apart."""
        return sum(int(np.count_nonzero(rows)) for rows in self.rows)

    def others(self, feeds: Sequence[Feed]) -> list[Feed]:
        """The feeds without what is kept apart."""
        return list(self._parts(feeds, False))

    def kept(self, feeds: Sequence[Feed]) -> list[Feed]:
        """What is kept apart, as feeds."""
        return list(self._parts(feeds, True))

    def _parts(self, feeds: Sequence[Feed], wanted: bool) -> Iterator[Feed]:
        for feed, rows in zip(feeds, self.rows, strict=True):
            chosen = rows == wanted
            if chosen.all():
                yield feed
            elif chosen.any():
                yield {name: array[chosen] for name, array in feed.items()}


class Rest(Source):
    """What is left of feeds that were ``words``, without what is kept apart."""

    def __init__(self, feeds: Sequence[Feed], apart: Apart, words: str) -> None:
        self.rest = apart.others(feeds)
        self.size = len(self.rest)
        self.words = f"{words} without {counted(apart.count, 'held-out sample')}" if apart.count else words

    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:  # noqa: D102
        return iter(self.rest if indices is None else [self.rest[index] for index in indices])


def _by_rows(feeds: Sequence[Feed], inputs: Sequence[Input]) -> bool:
    """Whether all feeds may have any number of rows, the same for all inputs, and some have several."""
    if any(not value.shape or isinstance(value.shape[0], int) for value in inputs):
        return False
    sizes = [{array.shape[0] if array.ndim else 0 for array in feed.values()} for feed in feeds]
    return all(len(size) == 1 for size in sizes) and any(max(size) > 1 for size in sizes)
