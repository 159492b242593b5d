"""When ternary weights are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, option
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from regc.passes import bad_choice, no_gain
from regc.passes.ternary import fit
from regc.passes.ternary.term import TernaryTerm, label, nbytes
from regc.runtime_ops.formats.ternary import BLOCK, MAX_INPUTS, MAX_MULTIPLIER


@dataclass(frozen=True, kw_only=True)
class Ternary(Pass):
    """Two-bit weights {-1, 0, 1} times a scale.

    ``scale=median,per=tensor`` (or ``mean``) is BitNet b1.58 Reloaded bit for bit; the paper trains with it,
    so expect a model that was not to lose far more than with the default, the least-squares optimum for each
    row or group.

    Raises:
        UsageError: an option is out of range, or two exclude each other.
    """

    name: ClassVar[str] = "ternary"
    summary: ClassVar[str] = "2 bits a weight: -1, 0 or 1 times a scale"

    group: int | None = option(None, "inputs that share a scale; none: a whole row", "a multiple of 16")
    scale: Literal["lloyd", "mean", "median"] = option(
        "lloyd", "least squared error, or the paper's mean or median of |W|", "lloyd | mean | median"
    )
    per: Literal["row", "tensor"] = option(
        "row", "a scale for each output, or one for the whole weight as in the paper", "row | tensor"
    )
    refit: bool = option(False, "with mean or median: least squares for the scale, once the trits are found")
    act: Literal["int8", "float32"] = option("int8", "the type in which activations are multiplied", "int8 | float32")

    def __post_init__(self) -> None:
        if self.group is not None and (self.group < BLOCK or self.group % BLOCK):
            raise UsageError(f"ternary: group must be a multiple of {BLOCK}, {BLOCK} or more, got {self.group}")
        if problem := bad_choice(self):
            raise UsageError(problem)
        if self.group is not None and self.per == "tensor":
            raise UsageError(f"ternary: per=tensor has one scale and takes no group, got group={self.group}")
        if self.refit and self.scale == "lloyd":
            raise UsageError("ternary: refit is for scale=mean or median; lloyd is least squares already")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        columns = shape[1]
        group = self._group(columns)
        text, most = label(group, columns), MAX_INPUTS if group < columns else MAX_INPUTS * MAX_MULTIPLIER
        if columns > most:
            return Refusal(f"{columns} inputs: the integer sums of {text} hold {most} at most")
        size = nbytes(shape, group)
        reason = no_gain(shape, site.dtype.itemsize, size)
        return Refusal(reason) if reason else Preview(text, size)

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> TernaryTerm:  # noqa: D102
        columns = weight.shape[1]
        if self.per == "tensor":
            found = fit.fit_tensor(weight.values, self.scale, refit=self.refit)
        else:
            found = fit.fit_rows(weight.values, self.scale, group=self.group, refit=self.refit)
        return TernaryTerm(*found, columns, self._group(columns), self.act == "int8")

    def _group(self, columns: int) -> int:
        return max(1, min(self.group or columns, columns))
