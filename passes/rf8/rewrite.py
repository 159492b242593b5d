"""When RF8 is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, option
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from regc.passes import bad_choice, no_gain
from regc.passes.rf8 import fit, shaped
from regc.passes.rf8.fit import Encoded, Float32
from regc.passes.rf8.term import LABEL, RF8Term, nbytes


@dataclass(frozen=True, kw_only=True)
class RF8(Pass):
    """8-bit residual floating point (arXiv 2506.00486 v1-v3).

    The authors' rule is ``rounding=authors``, bit for bit. It is not the default, for it costs more than it must: the
    logits of ResNet-20 (CIFAR-10) are off by 10.7 % with it, by 3.4 % with :mod:`regc.passes.rf8.shaped`.

    ``scale=fitted`` takes for each output the scale with the least error, ``row`` and ``tensor`` take powers of two. A
    scale for each output costs no bytes, for the format stores one anyway.

    Raises:
        UsageError: an option is out of range.
    """

    name: ClassVar[str] = "rf8"
    summary: ClassVar[str] = "8 bits a weight: a power of two plus or minus at most one smaller power of two"

    scale: Literal["fitted", "row", "tensor"] | None = option(
        None,
        "for each output that of least error (fitted) or a power of two (row), or one power of two for all "
        "(tensor); none: fitted, but row with rounding=authors",
    )
    rounding: Literal["shaped", "authors", "nearest"] = option(
        "shaped",
        "the authors' rule, the nearest value, or shaped: the nearest value, but with scale=fitted the taps of a "
        "convolution make up for each other's errors",
    )

    def __post_init__(self) -> None:
        if problem := bad_choice(self):
            raise UsageError(problem)

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        size = nbytes(shape)
        reason = no_gain(shape, site.dtype.itemsize, size)
        return Refusal(reason) if reason else Preview(LABEL, size)

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> RF8Term:  # noqa: D102
        codes, scale = self._encode(weight.values, site)
        return RF8Term(codes, scale, weight.shape[1])

    def _encode(self, values: Float32, site: SiteInfo) -> Encoded:
        thresholds = fit.AUTHORS if self.rounding == "authors" else fit.NEAREST
        kind = self.scale or ("row" if self.rounding == "authors" else "fitted")
        if kind != "fitted":
            return fit.encode(values, fit.octave_scales(values, thresholds, per_row=kind == "row"), thresholds)
        if self.rounding == "shaped" and values.shape[1] == site.shape[1] and shaped.suits(site.kernel):
            return shaped.encode(values, site.kernel)
        return fit.encode(values, fit.fitted_scales(values), thresholds)
