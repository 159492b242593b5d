"""Terms made of two terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from regc.compiler.terms.operated import Operated
from regc.compiler.terms.term import Float32, Leaf, Term


@dataclass(frozen=True, eq=False)
class _Pair(Term):
    first: Term
    second: Term

    @property
    def nbytes(self) -> int:
        return self.first.nbytes + self.second.nbytes

    @property
    def work(self) -> int:
        return self.first.work + self.second.work

    @property
    def linear(self) -> bool:
        return self.first.linear and self.second.linear

    def operated(self) -> Iterator[Operated]:
        yield from self.first.operated()
        yield from self.second.operated()

    def map_leaves(self, function: Callable[[Leaf, str], Term], path: str = "") -> Term:
        prefix = f"{path}." if path else ""
        first = self.first.map_leaves(function, f"{prefix}A")
        second = self.second.map_leaves(function, f"{prefix}B")
        return self if first is self.first and second is self.second else type(self)(first, second)


@dataclass(frozen=True, eq=False)
class Product(_Pair):
    """``W = A @ B`` with A ``[N, r]`` and B ``[r, K]``: two emissions, one after the other.

    ``exact`` tells that it is the weight it was made from, to within rounding; coded factors are no longer that.

    Raises:
        ValueError: the inner sizes differ.
    """

    exact: bool = False

    def __post_init__(self) -> None:
        if self.first.shape[1] != self.second.shape[0]:
            raise ValueError(f"cannot multiply {self.first.shape} by {self.second.shape}")

    @property
    def rank(self) -> int:
        """The inner size r."""
        return self.first.shape[1]

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.first.shape[0], self.second.shape[1]

    def dense(self) -> Float32:  # noqa: D102
        return self.first.dense() @ self.second.dense()

    def multiply(self, rows: Float32) -> Float32:  # noqa: D102
        return self.first.multiply(self.second.multiply(rows))

    @property
    def label(self) -> str:  # noqa: D102
        exact = ", exact" if self.exact else ""
        return f"rank {self.rank}{exact} ({self.first.label} x {self.second.label})"


@dataclass(frozen=True, eq=False)
class Sum(_Pair):
    """``W = A + B``: two emissions and an Add.

    Raises:
        ValueError: the shapes differ.
    """

    def __post_init__(self) -> None:
        if self.first.shape != self.second.shape:
            raise ValueError(f"cannot add {self.first.shape} and {self.second.shape}")

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.first.shape

    def dense(self) -> Float32:  # noqa: D102
        return self.first.dense() + self.second.dense()

    def multiply(self, rows: Float32) -> Float32:  # noqa: D102
        return self.first.multiply(rows) + self.second.multiply(rows)

    @property
    def label(self) -> str:  # noqa: D102
        return f"({self.first.label} + {self.second.label})"
