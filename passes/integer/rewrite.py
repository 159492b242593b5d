"""When plain integers are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, option
from regc.compiler.statistics import Statistics
from regc.compiler.target import FAST_BLOCKS
from regc.compiler.terms import Dense
from regc.passes import no_gain
from regc.passes.integer import fit
from regc.passes.integer.term import IntTerm, label, nbytes
from regc.runtime_ops.formats import nbits

DEFAULT_BLOCK = {4: 32, 8: 128}


@dataclass(frozen=True, kw_only=True)
class Int(Pass):
    """Signed integers of 4 or 8 bits with a scale for each block of inputs.

    Multiplied by ONNX Runtime's own MatMulNBits with int8 activations on every target: what users have without us, for
    pipelines that mix it with the rest.

    Raises:
        UsageError: an option is out of range.
    """

    name: ClassVar[str] = "int"
    summary: ClassVar[str] = "4 or 8 bits a weight: an integer times a scale, multiplied by ONNX Runtime's own operator"

    bits: int = option(8, "of a weight", "4 | 8")
    block: int | None = option(
        None, "inputs that share a scale; none: 128 with 8 bits, 32 with 4", "16 | 32 | 64 | 128 | 256"
    )

    def __post_init__(self) -> None:
        if self.bits not in DEFAULT_BLOCK:
            raise UsageError(f"int: bits must be 4 or 8, got {self.bits}")
        if self.block is not None and self.block not in FAST_BLOCKS[self.bits]:
            known = ", ".join(map(str, sorted(FAST_BLOCKS[self.bits])))
            raise UsageError(f"int: block must be one of {known}, got {self.block}")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        if site.gathered:
            return Refusal("rows of it are looked up, which no operator does for int codes; take rf8 or ternary")
        size = nbytes(shape, self.bits, self._block)
        reason = no_gain(shape, site.dtype.itemsize, size)
        return Refusal(reason) if reason else Preview(label(self.bits, self._block), size)

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> IntTerm:  # noqa: D102
        levels, scale = fit.encode(weight.values, self.bits, self._block)
        return IntTerm(nbits.pack(levels, self.bits, self._block), scale, weight.shape[1], self.bits)

    @property
    def _block(self) -> int:
        return self.block or DEFAULT_BLOCK[self.bits]
