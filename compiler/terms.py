"""Weights as terms: a small algebra of matrices, each of which knows what it stands for and what it costs.

A weight has the canonical shape ``[N, K]``: N outputs, K inputs, ``y[..., N] = x[..., K] @ W.T``. Passes map terms to
terms, :mod:`regc.compiler.lower` turns them into nodes. Leaves are :class:`Dense` and the coded terms that passes
bring along; :class:`Product` and :class:`Sum` nest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from regc.compiler.recovery.trainable import Trainable

Float32 = npt.NDArray[np.float32]


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
        """Bytes that the term takes in a file, padding included."""

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


@dataclass(frozen=True, eq=False)
class NBits:
    """A matrix ``[N, K]`` for ``com.microsoft::MatMulNBits`` without zero points: ``W = (code - 2**(bits - 1)) *
    scale``, a scale for each ``block`` inputs of an output.

    ``pack`` gives the codes, uint8 ``[N, ceil(K/block), block * bits / 8]``, and the scales, float32 ``[N *
    ceil(K/block)]``.
    """

    bits: int
    block: int
    shape: tuple[int, int]
    pack: Callable[[], tuple[npt.NDArray[np.uint8], Float32]]

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.shape[0] * -(-self.shape[1] // self.block) * (self.block * self.bits // 8 + 4)


class Operated(Term):
    """A term that one of our operators multiplies by and another decodes.

    ``matmuls`` and ``decoder`` name those operators in :data:`regc.runtime_ops.ops.OPERATORS`; ``operands`` holds
    their constant inputs by name.
    """

    @property
    @abstractmethod
    def matmuls(self) -> tuple[str, ...]:
        """Names of the operators that compute ``x @ W.T + bias``; the first that the model's opset allows is used."""

    @property
    @abstractmethod
    def decoder(self) -> str:
        """Name of the operator that gives the float32 matrix ``[N, K]``."""

    @property
    def forced(self) -> bool:
        """Whether it was asked for also where its operator is no faster than what takes its place."""
        return False

    @abstractmethod
    def operands(self) -> dict[str, npt.NDArray[np.generic]]:
        """The packed constant inputs of both operators (all but ``x`` and ``bias``), by input name."""

    def nbits(self, blocks: Mapping[int, Sequence[int]]) -> NBits | str | None:
        """The same matrix as ONNX Runtime's own MatMulNBits takes it, by ``blocks``: sizes for each number of bits, the
        best first. A reason in words when none of them fits, None when the operator has nothing like this term.
        """
        return None

    def operated(self) -> Iterator[Operated]:  # noqa: D102
        yield self

    def trainable(self, start: Callable[[Term], Float32]) -> Trainable | None:
        """The term in training, None when it has no such form. ``start`` gives the weight that a term was made from.

        Only called by those who train: it imports PyTorch.
        """
        return None


class Coded(Leaf, Operated):
    """A leaf held as low-bit codes."""

    @property
    def gathers(self) -> tuple[str, str] | None:
        """Names of the operators that decode rows by their indices, if any: one that reads :meth:`rows`, and one that
        reads :meth:`operands`, for a weight that is also multiplied by.
        """
        return None

    def rows(self) -> dict[str, npt.NDArray[np.generic]]:
        """The packed constant inputs with every row in one piece, by input name; only where there are ``gathers``."""
        raise NotImplementedError(type(self).__name__)

    def convolution(self, taps: int) -> str | None:
        """The operator that convolves by a kernel ``[N, channels, taps]`` of this form; None when there is none that is
        faster than Conv with the decoded kernel.
        """
        return None

    def by_taps(self, taps: int) -> Coded:
        """The same kernel as ``[N, taps, channels]``, the order of that operator.

        Raises:
            TypeError: there is no such operator.
        """
        raise TypeError(f"nothing convolves by {type(self).__name__}")


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


def relative_error(term: Term, original: Float32) -> float:
    """``||W - dense|| / ||W||`` in the Frobenius norm; 0 for a weight of zeros that is kept exactly."""
    norm = float(np.linalg.norm(original))
    error = float(np.linalg.norm(np.subtract(term.dense(), original)))
    return error / norm if norm else error
