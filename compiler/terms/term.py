"""What a term is, and the weight as it came."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from regc.compiler.terms.operated import Operated

Float32 = npt.NDArray[np.float32]

_CHUNK = 1 << 18


class Term(ABC):
    """A matrix of shape ``(N, K)`` in some form."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Outputs N and inputs K."""

    @abstractmethod
    def dense(self) -> Float32:
        """The matrix that the term stands for, float32 ``[N, K]``: the reference of every test."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that the term takes in a file, padding included, with scales of four bytes, which may be two there."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What the report prints, for example ``ternary/64``."""

    @property
    def work(self) -> int:
        """Multiply-adds for one row of inputs."""
        return self.shape[0] * self.shape[1]

    @property
    def linear(self) -> bool:
        """Whether products with the term are products with :meth:`dense`."""
        return True

    def multiply(self, rows: Float32) -> Float32:
        """What comes out for rows float32 ``[count, K]``, float32 ``[count, N]``: as :meth:`dense`, if it is linear."""
        return rows @ self.dense().T

    def squared_error(self, original: Float32) -> float:
        """The sum of the squares of what :meth:`dense` misses of a matrix float32 ``[N, K]``."""
        dense, error = self.dense(), 0.0
        for rows in _pieces(original):
            missed = np.subtract(dense[rows], original[rows])
            error += float(np.vdot(missed, missed))
        return error

    def map_leaves(self, function: Callable[[Leaf, str], Term], path: str = "") -> Term:
        """The term with every leaf replaced by ``function(leaf, path)``; paths are like ``A`` or ``B.A``."""
        raise NotImplementedError(type(self).__name__)

    def leaves(self) -> Iterator[Leaf]:
        """The leaves from left to right."""
        found: list[Leaf] = []

        def collect(leaf: Leaf, _: str) -> Term:
            found.append(leaf)
            return leaf

        self.map_leaves(collect)
        return iter(found)

    def operated(self) -> Iterator[Operated]:
        """The parts that an operator of ours multiplies by, from left to right."""
        return iter(())

    def __str__(self) -> str:
        return self.label


class Leaf(Term):
    """A term without parts."""

    def map_leaves(self, function: Callable[[Leaf, str], Term], path: str = "") -> Term:  # noqa: D102
        return function(self, path)


@dataclass(frozen=True, eq=False)
class Dense(Leaf):
    """The values themselves, float32 ``[N, K]``, to be stored as ``dtype`` (the type of the original weight)."""

    values: Float32
    dtype: np.dtype[np.generic] = field(default_factory=lambda: np.dtype(np.float32))

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        rows, columns = self.values.shape
        return rows, columns

    def dense(self) -> Float32:  # noqa: D102
        return self.values

    @property
    def nbytes(self) -> int:  # noqa: D102
        return self.values.size * self.dtype.itemsize

    @property
    def label(self) -> str:  # noqa: D102
        return str(self.dtype)


def relative_error(term: Term, original: Float32) -> float:
    """``||W - dense|| / ||W||`` in the Frobenius norm; 0 for a weight of zeros that is kept exactly."""
    norm = sum(float(np.vdot(original[rows], original[rows])) for rows in _pieces(original))
    error = term.squared_error(original)
    return math.sqrt(error / norm) if norm else math.sqrt(error)


def _pieces(matrix: Float32) -> Iterator[slice]:
    """Slices of its rows that stay in the cache."""
    step = max(1, _CHUNK // max(1, matrix.shape[1]))
    return (slice(start, start + step) for start in range(0, len(matrix), step))
