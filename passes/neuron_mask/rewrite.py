"""When neurons are masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from regc.compiler.errors import UsageError
from regc.compiler.passes import Kept, Pass, Preview, Refusal, SiteInfo, Surveyed, Units, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense
from regc.passes import bad_choice
from regc.passes.neuron_mask.allocate import LEVELS, MARGIN, Curve, curve, levels
from regc.passes.neuron_mask.dynamic import Skipping, gated, loses, unfit
from regc.passes.neuron_mask.exact import exact
from regc.passes.neuron_mask.static import masked, polarized
from regc.passes.neuron_mask.term import Gated
from regc.passes.units import unasked

UNSEEN = "needs calibration inputs, and what flows into this weight is not known"
WHOLE = Refusal("uses all of its inputs: to skip any costs more than in other weights")


@dataclass(frozen=True, kw_only=True)
class NeuronMask(Pass):
    """Units of hidden layers that matter little are removed, or inputs skipped while the model runs.

    With ``keep`` neurons and filters are taken out of the graph for good, and what reads them makes up for them by
    least squares; see :mod:`regc.passes.neuron_mask.static`. Before that gates that never vary become constants; see
    :mod:`regc.compiler.gates`. All else is about skipping.

    The gate is WINA's (arXiv 2505.19427) or TEAL's (arXiv 2408.14690), with a centre and a compensation of our own; see
    :mod:`regc.passes.neuron_mask.thresholds`, where both papers' gates are ``centre=false,compensate=false``, and why
    neither WINA's rotation nor the papers' dense first positions are options.

    Raises:
        UsageError: an option is out of range.
    """

    name: ClassVar[str] = "neuron-mask"
    summary: ClassVar[str] = "neurons that matter little are removed, or skipped at run time row by row"
    structural: ClassVar[bool] = True

    mode: Literal["dynamic", "static"] | None = option(
        None, "at run time, anew for each row (dynamic), or for good (static); none: static where keep is given"
    )
    keep: float | None = option(
        None,
        "static: share of the units of each layer that stay; 1 removes only what changes no output: units that are "
        "constant over the calibration inputs, unread, or there twice",
        "above 0, at most 1",
    )
    groups: Literal["neurons", "filters", "channels", "heads", "all"] | None = option(
        None,
        "static: units that go: neurons of hidden layers, filters of convolutions, both (channels), attention heads, "
        "or all of them; none: channels, and all with keep=1",
    )
    sparsity: float = option(0.5, "share of the inputs that are skipped, over the calibration rows", "above 0, below 1")
    score: Literal["eliminate", "wina", "magnitude", "ipr", "gap"] | None = option(
        None,
        "what goes: what is small times the norm of the weights that read it (wina), what is small (magnitude), or, "
        "static, what the others make up for best (eliminate), what remembers single samples (ipr), or, without keep, "
        "the lower of two clusters of BatchNormalization scales (gap); none: eliminate where it can be, else wina",
    )
    basis: Literal["samples", "fourier", "dct"] = option(
        "samples",
        "score=ipr: units go first that answer to few samples, or whose weights are spread over all waves of a basis",
    )
    select: Literal["threshold", "topk"] = option(
        "threshold",
        "by one threshold for all rows, a quantile over the calibration rows, or exactly so many of each row (topk)",
    )
    centre: bool = option(True, "skipped inputs count as what they mostly are, not as zero")
    compensate: bool = option(True, "what is used makes up for what is skipped, by least squares")
    allocate: Literal["greedy", "uniform"] = option(
        "greedy",
        "sparsity is that of all weights together, each skips what the model's outputs mind least (greedy), or that of "
        "each of them (uniform)",
    )
    gates: float | None = option(
        1e-6,
        "static: gates that vary by no more than this over the calibration inputs become constants, and the branches "
        "that they close go; None: gates stay",
        "of a value, or of 1",
    )
    force: bool = option(False, "also where products have more rows than the operators gain from")

    def __post_init__(self) -> None:
        if problem := bad_choice(self):
            raise UsageError(problem)
        counted = self.removes and self.score != "gap"
        if (self.keep is not None) != counted or (self.keep is not None and not 0 < self.keep <= 1):
            raise UsageError(
                f"neuron-mask: keep must be above 0 and at most 1, and goes with mode=static alone and not with "
                f"score=gap, got {self.keep}"
            )
        if self.groups is not None and not self.removes:
            raise UsageError(f"neuron-mask: groups={self.groups} is for mode=static, which removes units")
        if self.score in ("eliminate", "ipr", "gap") and not self.removes:
            raise UsageError(f"neuron-mask: score={self.score} is for mode=static, which removes units")
        if self.gates is not None and not 0 <= self.gates < 1:
            raise UsageError(f"neuron-mask: gates must be at least 0 and below 1, got {self.gates}")
        if not 0 < self.sparsity < 1:
            raise UsageError(f"neuron-mask: sparsity must be above 0 and below 1, got {self.sparsity}")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        reason = unfit(site)
        if reason is None and not self.force:
            reason = loses(site, shape, 0.0 if self.shares else 1 - self.sparsity, topk=self.select == "topk")
        return Refusal(reason) if reason else Preview(f"{self.sparsity:.0%} skipped (float32)", None)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        if isinstance(self.preview(shape, site), Refusal):
            return frozenset()
        return frozenset({"quantiles", "gram"} if self.compensate or self.shares else {"quantiles"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Gated | Refusal:  # noqa: D102
        if inputs is None or inputs.sample is None:
            return Refusal(UNSEEN)
        reason = self._loses(site, weight.shape, self.sparsity, inputs)
        if reason is not None:
            return Refusal(reason)
        how = Skipping(
            sparsity=self.sparsity,
            wina=self.score != "magnitude",
            topk=self.select == "topk",
            centre=self.centre,
            compensate=self.compensate,
            forced=self.force,
        )
        return gated(weight, inputs, inputs.sample, how)

    @property
    def shares(self) -> bool:  # noqa: D102
        return self.allocate == "greedy" and not self.removes

    def plan(self, surveyed: Iterator[Surveyed]) -> Mapping[str, NeuronMask | Refusal]:
        """A sparsity for each weight; that of the pass where the model's outputs do not tell what its errors count."""
        answers: dict[str, NeuronMask | Refusal] = {}
        curves: dict[str, Curve] = {}
        for survey in surveyed:
            answer = self._curve(survey)
            if isinstance(answer, Curve):
                curves[survey.site.name] = answer
            else:
                answers[survey.site.name] = answer
        shared = levels(curves, self.sparsity)
        return answers | {name: replace(self, sparsity=level) if level else WHOLE for name, level in shared.items()}

    def _curve(self, survey: Surveyed) -> Curve | NeuronMask | Refusal:
        """What skipping costs a weight, or what becomes of it where that cannot be weighed against others."""
        site, inputs, shape = survey.site, survey.inputs, survey.weight.shape
        if inputs is None or inputs.sample is None:
            return Refusal(UNSEEN)
        faster = tuple(level for level in LEVELS if self._loses(site, shape, level - MARGIN, inputs) is None)
        if not faster:
            return Refusal(self._loses(site, shape, LEVELS[-1], inputs) or "")
        found = curve(survey, inputs.sample, faster, wina=self.score != "magnitude", centred=self.centre)
        return self if found is None else found

    def _loses(self, site: SiteInfo, shape: tuple[int, int], sparsity: float, inputs: Statistics) -> str | None:
        return None if self.force else loses(site, shape, 1 - sparsity, inputs, topk=self.select == "topk")

    @property
    def settles(self) -> float | None:  # noqa: D102
        return self.gates if self.removes else None

    @property
    def removes(self) -> bool:  # noqa: D102
        return self.mode == "static" or (self.mode is None and (self.keep is not None or self.score == "gap"))

    @property
    def unit_needs(self) -> frozenset[Need]:  # noqa: D102
        sampled = self.score == "ipr" and self.basis == "samples"
        return super().unit_needs | ({"quantiles"} if sampled else frozenset())

    def leaves(self, kind: str) -> str | None:  # noqa: D102
        return unasked(kind, self.groups or ("all" if self.keep == 1 else "channels"))

    def choose(self, units: Units) -> Kept | Refusal:  # noqa: D102
        if self.keep == 1:
            return exact(units)
        if self.keep is None:
            return polarized(units, self.compensate)
        return masked(units, max(1, round(self.keep * units.units)), self.score, self.basis, compensate=self.compensate)
