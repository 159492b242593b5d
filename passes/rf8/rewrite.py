"""When RF8 is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from regc.compiler.distribution import describe, entropy_of_codes
from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense
from regc.passes import bad_choice, no_gain
from regc.passes.feedback import towards
from regc.passes.rf8 import deepshape, exact, fit, second_order, shaped
from regc.passes.rf8.fit import Encoded, Float32
from regc.passes.rf8.term import LABEL, RF8Term, nbytes
from regc.runtime_ops.formats.rf8 import unpack_codes


@dataclass(frozen=True, kw_only=True)
class RF8(Pass):
    """8-bit residual floating point (arXiv 2506.00486 v1-v3).

    The authors' rule is ``rounding=authors``, bit for bit. It is not the default, for it costs more than it must: the
    logits of ResNet-20 (CIFAR-10) are off by 10.7 % with it, by 3.4 % with :mod:`regc.passes.rf8.shaped`. With
    calibration inputs the codes are those that keep the outputs (:mod:`regc.passes.rf8.second_order`). A weight that
    is RF8 at some scales already stays as it is, unless scales of another kind are asked for.

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
    rounding: Literal["gptq", "shaped", "authors", "nearest"] | None = option(
        None,
        "error feedback by the Gram matrix of the inputs (gptq), the nearest value, but with scale=fitted the taps of "
        "a convolution make up for each other's errors (shaped), the authors' rule, or the nearest value; none: gptq "
        "where inputs are known, else shaped",
    )
    deepshape: float | None = option(
        None,
        "first move the weights to a narrower law, whose shape is this factor times theirs (the authors': 0.8), at a "
        "greater error; the report tells the bits of an int8 value of such a law and of an RF8 code",
        "above 0, below 1",
    )

    def __post_init__(self) -> None:
        if problem := bad_choice(self):
            raise UsageError(problem)
        if self.deepshape is not None and not 0 < self.deepshape < 1:
            raise UsageError(f"rf8: deepshape must be above 0 and below 1, got {self.deepshape}")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        size = nbytes(shape)
        reason = no_gain(shape, site.dtype.itemsize, size)
        return Refusal(reason) if reason else Preview(LABEL, size)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        return frozenset({"gram"} if self.rounding in (None, "gptq") else ())

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> RF8Term | Refusal:  # noqa: D102
        gram, values, columns = inputs.gram if inputs is not None else None, weight.values, weight.shape[1]
        if self.rounding == "gptq" and gram is None:
            return Refusal(
                "rounding=gptq needs calibration inputs, and what flows into this weight is not known; "
                "leave the rounding out for the best that can be done"
            )
        if self.deepshape is not None:
            return self._deepshaped(values, site, gram)
        scale = exact.scales(values, weight.dtype) if self._kind == "fitted" else None
        if scale is not None:
            return RF8Term(*fit.encode(values, scale, fit.NEAREST), columns, "exact")
        if gram is not None and self.rounding in (None, "gptq"):
            values = towards(values, gram, inputs.cross if inputs is not None else None)
        return RF8Term(*self._encode(values, site, gram), columns)

    def _deepshaped(self, values: Float32, site: SiteInfo, gram: Float32 | None) -> RF8Term:
        narrow = deepshape.narrowed(values, self.deepshape or deepshape.SHAPE_FACTOR)
        before, after = self._encode(values, site, gram), self._encode(narrow, site, gram)
        integers = [describe(law).bits for law in (values, narrow)]
        codes = [
            entropy_of_codes(unpack_codes(encoded.codes, (len(values), values.shape[1]))) for encoded in (before, after)
        ]
        note = "int8 {:.2f} -> {:.2f} bits, rf8 {:.2f} -> {:.2f}".format(*integers, *codes)
        return RF8Term(*after, values.shape[1], note)

    @property
    def _kind(self) -> str:
        return self.scale or ("row" if self.rounding == "authors" else "fitted")

    def _encode(self, values: Float32, site: SiteInfo, gram: Float32 | None) -> Encoded:
        thresholds = fit.AUTHORS if self.rounding == "authors" else fit.NEAREST
        if self._kind != "fitted":
            scale = fit.octave_scales(values, thresholds, per_row=self._kind == "row")
        elif self._shapes(values, site, gram):
            return shaped.encode(values, site.kernel)
        else:
            scale = fit.fitted_scales(values)
        if gram is not None and self.rounding in (None, "gptq"):
            return second_order.encode(values, scale, gram)
        return fit.encode(values, scale, thresholds)

    def _shapes(self, values: Float32, site: SiteInfo, gram: Float32 | None) -> bool:
        asked = self.rounding == "shaped" or (self.rounding is None and gram is None)
        return asked and values.shape[1] == site.shape[1] and shaped.suits(site.kernel)
