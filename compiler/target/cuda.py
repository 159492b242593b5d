"""Our operators on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from regc.compiler.target.blocks import CUDA_BLOCKS
from regc.compiler.target.target import Target
from regc.compiler.terms import Coded, NBits, Operated, Term
from regc.runtime_ops import typed
from regc.runtime_ops.ops import ON_CUDA, OPERATORS, TYPED, Operator


@dataclass(frozen=True)
class Cuda(Target):
    """Our operators as far as the CUDA provider has them. Where they win has not been measured on a GPU."""

    name: ClassVar[str] = "cuda"

    def operators(self, opset: int) -> Mapping[str, Operator]:
        """With bodies for all types that they take."""
        return OPERATORS | TYPED if opset >= typed.SINCE_OPSET else OPERATORS

    def takes(self, dtype: np.dtype[Any], opset: int) -> bool:
        """float16 and bfloat16 too: a cast reads and writes all of a tensor, at one kernel each."""
        return dtype == np.float32 or (opset >= typed.SINCE_OPSET and dtype.name in ("float16", "bfloat16"))

    def operator(self, term: Operated, opset: int) -> str | None:
        """The first that is legal at this opset."""
        return next((name for name in term.matmuls if name in ON_CUDA and OPERATORS[name].since_opset <= opset), None)

    def nbits(self, term: Operated) -> NBits | None:
        """Of a term that we have no operator for; ONNX Runtime multiplies by 4 and 8 bits on a GPU."""
        form = term.nbits(CUDA_BLOCKS) if not term.matmuls else None
        return form if isinstance(form, NBits) else None

    def convolution(self, leaf: Coded, taps: int, opset: int) -> str | None:
        """None: the weight is decoded when the model is loaded, and ONNX Runtime's Conv stays on the GPU."""
        return None

    def multiplies(self, term: Term, opset: int) -> bool:  # noqa: D102
        return all(self.operator(part, opset) or self.nbits(part) for part in term.operated())

    def refuses(self, term: Term, rows: int | None = None) -> str | None:
        """What would run on the host, between copies of all that goes in and out."""
        for part in term.operated():
            form = None if part.matmuls else part.nbits(CUDA_BLOCKS)
            if isinstance(form, str):
                return f"target cuda: {form}"
            if part.matmuls and not ON_CUDA.intersection(part.matmuls):
                return f"target cuda: {part.matmuls[0]} has no kernel there and would run on the host"
        return None
