"""What all sets of samples have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from regc.compiler.feeds.inputs import Feed, Input


class Source(ABC):
    """A set of samples. ``size`` is their number, None when only reading them tells; ``words`` is what they are."""

    size: int | None
    words: str

    @abstractmethod
    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:
        """The feeds of these samples, of all when ``indices`` is None. Raises UsageError for one that does not fit."""

    def count(self, samples: int, inputs: Sequence[Input]) -> int:
        """How many feeds this many samples are."""
        return samples

    def check(self, inputs: Sequence[Input]) -> None:  # noqa: B027 - a callable tells nothing before it is called
        """Raise UsageError for what can be seen not to fit without reading values."""
