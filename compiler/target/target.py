"""What a target decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from regc.compiler.terms import Coded, NBits, Operated, Term
from regc.runtime_ops.ops import OPERATORS, Operator

if TYPE_CHECKING:
    from regc.compiler.passes import SiteInfo


class Target(ABC):
    """Decides what multiplies by a term."""

    name: ClassVar[str]

    @abstractmethod
    def operator(self, term: Operated, opset: int) -> str | None:
        """The operator of ours that multiplies by a term in a model of this opset, if any."""

    @abstractmethod
    def nbits(self, term: Operated) -> NBits | None:
        """The term as MatMulNBits takes it, where that operator is what multiplies by it."""

    @abstractmethod
    def convolution(self, leaf: Coded, taps: int, opset: int) -> str | None:
        """The operator of ours that convolves by a kernel of so many taps in a model of this opset, if any."""

    @abstractmethod
    def multiplies(self, term: Term, opset: int) -> bool:
        """Whether products with a term are better than to decode it as a whole."""

    @abstractmethod
    def refuses(self, term: Term, rows: int | None = None) -> str | None:
        """Why a weight that is multiplied by must not become this term, in words; None when it may.

        ``rows`` are those of one product, None where they are not known.
        """

    def operators(self, opset: int) -> Mapping[str, Operator]:
        """Our operators, with the bodies that are written into models of this opset."""
        return OPERATORS

    def takes(self, dtype: np.dtype[Any], opset: int) -> bool:
        """Whether our products take and give activations of a type, without casts around them."""
        return dtype == np.float32

    def check(self, opset: int) -> None:  # noqa: B027 - mostly any opset will do
        """Raise UsageError for an opset at which nothing can be emitted as asked for."""

    def check_used(self, operators: Set[str]) -> None:  # noqa: B027 - mostly nothing was asked for
        """Raise UsageError when what was asked for made no difference, ``operators`` of ours being those emitted."""

    def sizes(self, operator: str, term: Operated) -> dict[str, int]:
        """The attributes that a node of an operator of ours has because its body needs them."""
        return {}

    def nbytes(self, term: Term) -> int:
        """Bytes of a term that is multiplied by, in the form in which it is emitted."""
        forms = [(part, self.nbits(part)) for part in term.operated()]
        return term.nbytes + sum(form.nbytes - part.nbytes for part, form in forms if form is not None)

    def nbytes_at(self, term: Term, site: SiteInfo) -> int:
        """Bytes of a term in the place of a weight, in the form in which it is emitted."""
        return self.nbytes(term) if site.multiplied else term.nbytes
