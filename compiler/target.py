"""What may be emitted: our operators, those of them that the CUDA provider has, or only what ONNX Runtime has already.

``stock`` multiplies by ``com.microsoft::MatMulNBits``, only in combinations that its fast kernels take. Weights that it
has no kernel for are decoded by model-local functions of standard operators, when the model is loaded; rows of
embeddings when they are asked for. RF8 is one of them: its significands need four bits after the point, so neither
float8 E4M3 nor int8 with a scale a row holds it for DequantizeLinear. It makes the file small, but the model no faster.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from regc.compiler.errors import UsageError
from regc.compiler.filters import Filtered
from regc.compiler.suggest import nearest
from regc.compiler.terms import Coded, NBits, Operated, Product, Sum, Term
from regc.runtime_ops import nbits, ops, typed
from regc.runtime_ops.ops import MATMULNBITS, ON_CUDA, OPERATORS, TYPED, Operator

if TYPE_CHECKING:
    from regc.compiler.passes import SiteInfo

FAST_BLOCKS = {2: (128, 64, 32), 4: (256, 128, 64, 32, 16), 8: (256, 128, 64, 32, 16)}
"""Block sizes for which MatMulNBits does not fall back to decoding all weights at every call, the fastest first.

Measured on ONNX Runtime 1.32 (one thread, AVX-512 VNNI, 768x3072, one row): 2 bits in blocks of 128 take 42 us, of 64
57 us, of 32 122 us, but of 16 6200 us and of 256 5500 us. Any N and K will do. ONNX Runtime loads 2 bits since 1.24 and
is fast since 1.28 (blocks of 128: 1300 us in 1.27, 62 in 1.28, at 512x1024 and 8 rows); 8 bits since 1.22; 4 bits since
1.17.
"""


CUDA_BLOCKS = {bits: blocks for bits, blocks in FAST_BLOCKS.items() if bits != 2}
"""Of the CUDA provider: no released ONNX Runtime has a kernel for 2 bits there."""


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
        forms = (part.nbits(FAST_BLOCKS) for part in term.operated())
        return next((f"target stock: {form}" for form in forms if isinstance(form, str)), None)


def _loss(operator: str, term: Operated, rows: int | None) -> str | None:
    return None if term.forced else ops.loses(operator, term.shape, rows, term.work / math.prod(term.shape))


TARGETS: dict[str, Target] = {target.name: target for target in (Cpu(), Cuda(), Stock())}

FALLBACKS = ("standard", "matmulnbits")
"""What bodies multiply by where our library is not loaded: standard operators, or MatMulNBits with two bits."""


def target_of(name: str, fallback: str = FALLBACKS[0]) -> Target:
    """The target of this name, with the bodies of this name.

    Raises:
        UsageError: there is none.
    """
    for given, known, kind in ((name, TARGETS, "target"), (fallback, FALLBACKS, "fallback")):
        if given not in known:
            raise UsageError(f"there is no {kind} {given!r}; choose one of {', '.join(known)}{nearest(given, known)}")
    if fallback == FALLBACKS[0]:
        return TARGETS[name]
    if name != Cpu.name:
        raise UsageError(f"fallback {fallback} is for target {Cpu.name}, not for {name}; leave it out")
    return CpuNBits()


CPU = TARGETS["cpu"]
