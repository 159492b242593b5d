"""Our operators, with bodies for ONNX Runtime without our library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import ClassVar

from regc.compiler.errors import UsageError
from regc.compiler.target.blocks import FAST_BLOCKS
from regc.compiler.target.target import Target
from regc.compiler.terms import Coded, NBits, Operated, Term
from regc.runtime_ops import nbits, ops
from regc.runtime_ops.ops import MATMULNBITS, OPERATORS, Operator


@dataclass(frozen=True)
class Cpu(Target):
    """Our operators, with bodies for ONNX Runtime without our library."""

    name: ClassVar[str] = "cpu"

    def operator(self, term: Operated, opset: int) -> str | None:
        """The first that is legal at this opset; for codes, if it wins over the decoded weight."""
        name = next((name for name in term.matmuls if OPERATORS[name].since_opset <= opset), None)
        wins = name is None or not isinstance(term, Coded) or ops.wins(name, term.shape)
        return name if wins else None

    def nbits(self, term: Operated) -> NBits | None:
        """Of a term that we have no operator for."""
        form = term.nbits(FAST_BLOCKS) if not term.matmuls else None
        return form if isinstance(form, NBits) else None

    def convolution(self, leaf: Coded, taps: int, opset: int) -> str | None:
        """That of the leaf, where it is legal."""
        name = leaf.convolution(taps)
        return name if name is not None and OPERATORS[name].since_opset <= opset else None

    def multiplies(self, term: Term, opset: int) -> bool:  # noqa: D102
        return all(self.operator(part, opset) or self.nbits(part) for part in term.operated())

    def refuses(self, term: Term, rows: int | None = None) -> str | None:
        """Terms that are there to save work, where they do not save time. Codes save bytes wherever they are."""
        parts = (part for part in term.operated() if part.matmuls and not isinstance(part, Coded))
        losses = (_loss(part.matmuls[0], part, rows) for part in parts)
        return next((loss for loss in losses if loss is not None), None)


@dataclass(frozen=True)
class CpuNBits(Cpu):
    """Our operators, with bodies that call MatMulNBits where it takes their weights."""

    def operators(self, opset: int) -> Mapping[str, Operator]:  # noqa: D102
        return OPERATORS | MATMULNBITS

    def check(self, opset: int) -> None:  # noqa: D102
        if opset < nbits.SINCE_OPSET:
            raise UsageError(f"fallback matmulnbits needs opset {nbits.SINCE_OPSET}, the model has {opset}")

    def check_used(self, operators: Set[str]) -> None:  # noqa: D102
        if operators and operators.isdisjoint(MATMULNBITS):
            base = next(iter(MATMULNBITS))
            raise UsageError(f"fallback matmulnbits is for {base}, and no weight is multiplied by it; leave it out")

    def sizes(self, operator: str, term: Operated) -> dict[str, int]:  # noqa: D102
        form = term.nbits(FAST_BLOCKS)
        if operator not in MATMULNBITS or not isinstance(form, NBits):
            return {}
        return dict(zip(MATMULNBITS[operator].attributes, (*form.shape, form.block), strict=True))

    def refuses(self, term: Term, rows: int | None = None) -> str | None:
        """Weights that MatMulNBits has something like, but not fast."""
        forms = (part.nbits(FAST_BLOCKS) for part in term.operated() if part.matmuls)
        slow = next((f"fallback matmulnbits: {form}" for form in forms if isinstance(form, str)), None)
        return slow or super().refuses(term, rows)


def _loss(operator: str, term: Operated, rows: int | None) -> str | None:
    if term.forced:
        return None
    return ops.loses(operator, term.shape, rows, term.work / math.prod(term.shape), term.side_by_side)
