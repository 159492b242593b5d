"""Terms made of two terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

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
        return self if first is self.first and second is self.second else self.of(first, second)

    def of(self, first: Term, second: Term) -> _Pair:
        """The same of two other terms."""
        return type(self)(first, second)


@dataclass(frozen=True, eq=False)
class Product(_Pair):
    """``W = A @ B`` with A ``[N, r]`` and B ``[r, K]``: two emissions, one after the other.

    ``exact`` tells that it is the weight it was made from, to within rounding; coded factors are no longer that.
    ``rounds`` is how often two dense factors that a pass codes are fitted to each other in turn. B is a
    factor of ``shares`` weights: it is stored once for all, and multiplied by once where they read the same tensor.
    Bytes and work of each are its part of those.

    Raises:
        ValueError: the inner sizes differ.
    """

    exact: bool = False
    rounds: int = 0
    shares: int = 1

    def __post_init__(self) -> None:
        if self.first.shape[1] != self.second.shape[0]:
            raise ValueError(f"cannot multiply {self.first.shape} by {self.second.shape}")

    def of(self, first: Term, second: Term) -> Product:  # noqa: D102
        return Product(first, second, shares=self.shares)

    @property
    def nbytes(self) -> int:  # noqa: D102
        return self.first.nbytes + -(-self.second.nbytes // self.shares)

    @property
    def work(self) -> int:  # noqa: D102
        return self.first.work + -(-self.second.work // self.shares)

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
        words = ", exact" if self.exact else ""
        words += f", one basis for {self.shares}" if self.shares > 1 else ""
        return f"rank {self.rank}{words} ({self.first.label} x {self.second.label})"


@dataclass(frozen=True, eq=False)
class Separable(_Pair):
    """A convolution kernel ``[N, C, kh, kw]`` as a kernel along each axis of images: kh x 1 to r channels, then 1 x kw.

    ``first`` is the latter as a matrix ``[N, r * kw]``, ``second`` the former, ``[r, C * kh]``; ``kernel`` is ``(kh,
    kw)``. ``W[n, c, h, w]`` is the sum over r of ``first[n, r, w] * second[r, c, h]``. ``exact`` as in
    :class:`Product`. ``work`` is that of a convolution whose stride along the last axis is 1.

    Raises:
        ValueError: the inner sizes differ, or the sizes of the kernel do not divide the columns.
    """

    kernel: tuple[int, int]
    exact: bool = False

    def __post_init__(self) -> None:
        height, width = self.kernel
        if self.first.shape[1] != self.second.shape[0] * width or self.second.shape[1] % height:
            raise ValueError(f"{self.first.shape} after {self.second.shape} is no kernel of {height}x{width}")

    def of(self, first: Term, second: Term) -> Separable:  # noqa: D102
        return Separable(first, second, self.kernel)

    @property
    def rank(self) -> int:
        """The channels r in between."""
        return self.second.shape[0]

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.first.shape[0], self.second.shape[1] * self.kernel[1]

    def dense(self) -> Float32:  # noqa: D102
        first = self.first.dense().reshape(-1, self.rank, self.kernel[1])
        joined = np.tensordot(first, self.second.dense(), (1, 0))  # [N, kw, C * kh]
        return np.ascontiguousarray(joined.transpose(0, 2, 1)).reshape(self.shape)

    @property
    def label(self) -> str:  # noqa: D102
        (height, width), exact = self.kernel, ", exact" if self.exact else ""
        return f"rank {self.rank} by {height}x1 and 1x{width}{exact} ({self.first.label} x {self.second.label})"


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
