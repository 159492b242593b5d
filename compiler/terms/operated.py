"""Terms that operators multiply by in their own form: ours, or ONNX Runtime's MatMulNBits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regc.compiler.terms.term import Float32, Leaf, Term

if TYPE_CHECKING:
    from regc.compiler.recovery.trainable import Trainable


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
    def side_by_side(self) -> int:
        """Inputs of a block, of a term that has only some blocks of its matrix."""
        return 1

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
