"""When ternary weights are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense
from regc.passes import bad_choice, no_gain
from regc.passes.feedback import damped, towards
from regc.passes.rounding import halved
from regc.passes.ternary import exact, fit, second_order
from regc.passes.ternary.fit import Fitted, Float32, Method
from regc.passes.ternary.term import TernaryTerm, label, nbytes
from regc.runtime_ops.formats import ternary5
from regc.runtime_ops.formats.ternary import BLOCK


@dataclass(frozen=True, kw_only=True)
class Ternary(Pass):
    """Weights {-1, 0, 1} times a scale, in two bits or five to a byte.

    With calibration inputs the trits and scales are those that keep the outputs
    (:mod:`regc.passes.ternary.second_order`), without them those of least squared error. ``method=median,per=tensor``
    (or ``mean``) is BitNet b1.58 Reloaded bit for bit; the paper trains with it, so expect a model that was not to lose
    far more. A weight that is ternary already stays as it is, whatever the options
    (:mod:`regc.passes.ternary.exact`).

    Raises:
        UsageError: an option is out of range, or two exclude each other.
    """

    name: ClassVar[str] = "ternary"
    summary: ClassVar[str] = "2 or 1.6 bits a weight: -1, 0 or 1 times a scale"

    group: int | None = option(
        None, "inputs that share a scale; none: a whole row", "a multiple of 16, or 20 for 1.6bit"
    )
    method: Literal["gptq", "lloyd", "mean", "median"] | None = option(
        None,
        "error feedback by the Gram matrix of the inputs (gptq), least squared error weighted by their second moments "
        "(lloyd), or the paper's mean or median of |W|; none: gptq where inputs are known, else lloyd",
        "gptq | lloyd | mean | median",
    )
    per: Literal["row", "tensor"] = option(
        "row", "a scale for each output, or one for the whole weight as in the paper", "row | tensor"
    )
    refit: bool = option(False, "with mean or median: least squares for the scale, once the trits are found")
    act: Literal["int8", "float32"] = option("int8", "the type in which activations are multiplied", "int8 | float32")
    storage: Literal["2bit", "1.6bit"] = option(
        "2bit",
        "four or five weights a byte; five are a fifth smaller and with one row 1.2 times as fast on a CPU with VNNI, "
        "but slower on one without",
        "2bit | 1.6bit",
    )

    def __post_init__(self) -> None:
        block = ternary5.BLOCK if self.storage == "1.6bit" else BLOCK
        if self.group is not None and (self.group < block or self.group % block):
            raise UsageError(
                f"ternary: group must be a multiple of {block} with storage={self.storage}, {block} or more, "
                f"got {self.group}"
            )
        if problem := bad_choice(self):
            raise UsageError(problem)
        if self.group is not None and self.per == "tensor":
            raise UsageError(f"ternary: per=tensor has one scale and takes no group, got group={self.group}")
        if self.method == "gptq" and self.per == "tensor":
            raise UsageError("ternary: per=tensor takes method=lloyd, mean or median, not gptq")
        if self.refit and self.method not in ("mean", "median"):
            raise UsageError("ternary: refit is for method=mean or median; the others are least squares already")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        columns = shape[1]
        group = self._group(columns)
        five = self.storage == "1.6bit"
        size = nbytes(shape, group, five=five)
        reason = no_gain(shape, site.dtype.itemsize, size)
        return Refusal(reason) if reason else Preview(label(group, columns, five=five), size)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        if self.per == "tensor" or self.method in ("mean", "median"):
            return frozenset()
        return frozenset({"moments"} if self.method == "lloyd" else {"gram"})

    def fit(  # noqa: D102
        self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None
    ) -> TernaryTerm | Refusal:
        values, columns = weight.values, weight.shape[1]
        found = exact.find(values, weight.dtype)
        if found is not None:
            return self._stored(TernaryTerm(*found.fitted, columns, found.group, self.act == "int8", exact=True))
        gram = inputs.gram if inputs is not None else None
        if self.method == "gptq" and gram is None:
            return Refusal(
                "method=gptq needs calibration inputs, and what flows into this weight is not known; "
                "leave the method out for the best that can be done"
            )
        fitted = self._fitted(values, inputs, gram)
        if self._least_squares:
            fitted = fitted._replace(scale=halved(fitted.scale))
        return self._stored(TernaryTerm(*fitted, columns, self._group(columns), self.act == "int8"))

    def _stored(self, term: TernaryTerm) -> TernaryTerm:
        """In fives if asked for, and if the groups allow it, which those of a weight that was ternary may not."""
        whole = term.group == term.inputs or term.group % ternary5.BLOCK == 0
        return term.in_fives() if self.storage == "1.6bit" and whole else term

    def _fitted(self, values: Float32, inputs: Statistics | None, gram: Float32 | None) -> Fitted:
        if self.per == "tensor":
            return fit.fit_tensor(values, self._plain_method(), refit=self.refit)
        if gram is not None and self.method in (None, "gptq"):
            return second_order.fit_rows(
                towards(values, gram, inputs.cross if inputs is not None else None), gram, group=self.group
            )
        moments = damped(inputs.second_moment) if inputs is not None else None
        return fit.fit_rows(values, self._plain_method(), group=self.group, refit=self.refit, moments=moments)

    @property
    def _least_squares(self) -> bool:
        """Whether scales are those of least squares, and not the paper's measures, which stay as they are."""
        return self.refit or self.method not in ("mean", "median")

    def _plain_method(self) -> Method:
        """The method where the Gram matrix of the inputs is not known."""
        return "lloyd" if self.method is None or self.method == "gptq" else self.method

    def _group(self, columns: int) -> int:
        return max(1, min(self.group or columns, columns))
