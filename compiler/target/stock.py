"""Operators that ONNX Runtime has already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from regc.compiler.filters import Filtered
from regc.compiler.target.blocks import FAST_BLOCKS
from regc.compiler.target.target import Target
from regc.compiler.terms import Coded, NBits, Operated, Product, Sum, Term


@dataclass(frozen=True)
class Stock(Target):
    """What ONNX Runtime has already."""

    name: ClassVar[str] = "stock"

    def operator(self, term: Operated, opset: int) -> str | None:  # noqa: D102
        return None

    def nbits(self, term: Operated) -> NBits | None:  # noqa: D102
        form = term.nbits(FAST_BLOCKS)
        return form if isinstance(form, NBits) else None

    def convolution(self, leaf: Coded, taps: int, opset: int) -> str | None:  # noqa: D102
        return None

    def multiplies(self, term: Term, opset: int) -> bool:
        """Two thin factors are multiplied by even where both are decoded, and a filter has to stay in front."""
        return isinstance(term, Product | Sum | Filtered) or any(self.nbits(part) for part in term.operated())

    def refuses(self, term: Term, rows: int | None = None) -> str | None:  # noqa: D102
        if isinstance(term, Sum):
            return "target stock: what two factors miss takes as long as the whole weight; leave residual out"
        forms = (part.nbits(FAST_BLOCKS) for part in term.operated())
        return next((f"target stock: {form}" for form in forms if isinstance(form, str)), None)
