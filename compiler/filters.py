"""Terms that do something to a row of inputs before they multiply it, which no matrix stands for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from regc.compiler.terms import Float32, Leaf, Operated, Term

if TYPE_CHECKING:
    from regc.compiler.recovery.trainable import Trainable

T = TypeVar("T")

BINS = 10


@dataclass(frozen=True)
class Activity:
    """How many of its inputs a row uses: the mean ``share``, and which part of the rows uses 0 to 10 %, 10 to 20 %,
    and so on, in :data:`BINS` parts.
    """

    share: float
    histogram: tuple[float, ...]

    @classmethod
    def of(cls, used: npt.NDArray[np.bool_]) -> Activity:
        """Of which inputs each of some rows uses, bool ``[rows, K]``."""
        shares = used.mean(axis=1)
        counts, _ = np.histogram(shares, bins=BINS, range=(0.0, 1.0))
        return cls(float(shares.mean()), tuple((counts / len(used)).tolist()))


class Writer(Protocol[T]):
    """Writes nodes of the standard domain."""

    def op(self, op: str, inputs: Sequence[T], **attributes: Any) -> T:
        """Append a node of one output and return that."""
        ...

    def split(self, op: str, inputs: Sequence[T], outputs: int, **attributes: Any) -> Sequence[T]:
        """Append a node and return its outputs."""
        ...

    def constant(self, values: npt.NDArray[Any], hint: str) -> T:
        """A constant tensor, whose name begins with ``hint``."""
        ...


@dataclass(frozen=True, eq=False)
class Filtered(Term):
    """``y = inner(enter(x)) + offset``, the offset float32 ``[N]`` or None for zero."""

    inner: Term
    offset: Float32 | None

    @abstractmethod
    def enter(self, rows: Float32) -> Float32:
        """What the inner term multiplies in place of rows float32 ``[count, K]``."""

    @abstractmethod
    def write(self, writer: Writer[T], x: T) -> T:
        """The same for a float32 tensor ``[..., K]``, in operators of opset 10."""

    @property
    def operand(self) -> Operated | None:
        """The inner term in the form of an operator of ours that filters and multiplies, always the same object."""
        return None

    def prepare(self, writer: Writer[T], x: T) -> T:
        """What has to be done to ``x`` before that operator."""
        return x

    def trainable(self, inner: Trainable) -> Trainable | None:
        """The term in training, with its inner term as it trains; None when there is no such form."""
        return None

    @property
    def activity(self) -> Activity | None:
        """How many inputs are used, where that is what the filter decides and calibration rows are known."""
        return None

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.inner.shape

    def dense(self) -> Float32:
        """The matrix of the inner term."""
        return self.inner.dense()

    @property
    def linear(self) -> bool:  # noqa: D102
        return False

    def multiply(self, rows: Float32) -> Float32:  # noqa: D102
        product = self.inner.multiply(self.enter(rows))
        return product if self.offset is None else product + self.offset

    def map_leaves(self, function: Callable[[Leaf, str], Term], path: str = "") -> Term:  # noqa: D102
        inner = self.inner.map_leaves(function, path)
        return self if inner is self.inner else replace(self, inner=inner)

    def operated(self) -> Iterator[Operated]:  # noqa: D102
        if self.operand is not None:
            yield self.operand
        else:
            yield from self.inner.operated()


def activities(term: Term) -> list[Activity]:
    """Of all parts of a term that skip inputs, from left to right."""
    if isinstance(term, Filtered):
        own = [] if term.activity is None else [term.activity]
        return own + activities(term.inner)
    parts = [getattr(term, name) for name in ("first", "second") if hasattr(term, name)]
    return [activity for part in parts for activity in activities(part)]
