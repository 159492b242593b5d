"""When low rank is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, Surveyed, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense, Product, Separable, Term
from regc.passes import bad_choice, no_gain
from regc.passes.low_rank.factored import beside, lost, split_along, stored
from regc.passes.low_rank.fit import Spectrum, exact_rank, factors, rank_for_energy, rank_for_ratio, spectrum
from regc.passes.low_rank.options import excluding, out_of_range
from regc.passes.low_rank.plan import WHOLE, Curve, Form, curve
from regc.passes.low_rank.residual import KINDS, ROUNDS, Residual
from regc.passes.low_rank.rounding import Ranks
from regc.passes.low_rank.shared import Based, Basis, share
from regc.passes.low_rank.spatial import Spatial
from regc.passes.low_rank.speed import LEAST, time_share

DEFAULT_RATIO = 2.0


@dataclass(frozen=True, kw_only=True)
class LowRank(Pass):
    """A weight as the product of two factors, by truncated SVD.

    With calibration inputs the factors leave the least error of the outputs, without them of the weight. ``ratio`` is
    for all weights together, which get their ranks by what these matter to the model; some stay whole. With
    ``rank=pela`` each weight has this ratio, the rule of PELA (arXiv 2310.10700). Whatever is asked for, a weight
    whose rank is low to within rounding is factored without loss.

    A convolution has two splits: kh x kw to r channels and 1 x 1, or kh x 1 to r channels and 1 x kw. One budget for
    all weights has both to choose from. Otherwise ranks are those of the first; the second gets the rank that takes as
    many multiply-adds, and is used where its error is smaller, of the outputs with calibration inputs, else of the
    weight. A rank by number is that of the split that is asked for, of the first where none is.

    Modules of this folder tell how ranks become such as kernels like (``rounding``), what is missed a third part
    (``residual``), and a factor that of many weights (``shared``).

    Raises:
        UsageError: an option is out of range, or two exclude each other.
    """

    name: ClassVar[str] = "low-rank"
    summary: ClassVar[str] = "two thin factors in place of one weight"
    structural: ClassVar[bool] = True

    ratio: float | None = option(
        None, "how many times fewer values; none: 2, unless a rank or energy is given", "above 1"
    )
    rank: int | Literal["auto", "pela"] | None = option(
        None,
        "inner size of the factors, in place of ratio, taken as it is (kernels like multiples of 16); or how to find "
        "it for a ratio: one budget for all weights (auto or none), or the same ratio for each (pela), to the nearest "
        "multiple of 16 or 4 that is within an eighth",
        "1 and up, auto | pela",
    )
    energy: float | None = option(
        None,
        "share of the squared singular values, or of the squared outputs, to keep at least, in place of ratio; ranks "
        "go up to a multiple of 16 or 4 that is within an eighth",
        "between 0 and 1",
    )
    split: Literal["auto", "channels", "spatial"] = option(
        "auto",
        "how convolutions become two: k x k and 1 x 1 (channels), k x 1 and 1 x k where there are two axes and no "
        "groups (spatial), or the one of less error",
        "auto | channels | spatial",
    )
    min_outputs: int = option(10, "leave weights of fewer outputs whole, as PELA does", "0 and up")
    stored: bool = option(
        False,
        "also embeddings, and where the node cannot be split in two: a smaller file and no less work; the factors are "
        "multiplied back at load, in all but embeddings",
    )
    residual: Literal["auto", "blocks", "ternary"] | None = option(
        None,
        "in the same bytes a lower rank and what it misses, where that leaves less error and takes less time than the "
        "weight: in blocks of 16x1, ternary, or the better of both (auto); convolutions and embeddings have none",
    )
    refine: int = option(
        ROUNDS,
        "how often parts are fitted to each other in turn: factors and what they miss, two factors that a pass codes",
        "0 and up, with residual 1 and up",
    )
    shared: bool = option(
        False,
        "one second factor for weights that are multiplied with the same tensor (one product fewer for each), or for "
        "embeddings of one width, where that loses less than factors of their own; by one budget for all weights, and "
        "without a residual for these",
    )
    pays: Literal["formula", "measured"] = option(
        "formula",
        "how it is known whether two products take less time than one: by a formula, with the same result everywhere, "
        "or measured on this machine, once for each shape, and kept in the user's cache; weights that are too large to "
        "be timed go by the formula",
        "formula | measured",
    )
    force: bool = option(False, "also where two products are not expected to take less time than one")

    def __post_init__(self) -> None:
        problem = bad_choice(self) or excluding(self) or out_of_range(self)
        if problem:
            raise UsageError(problem)

    @property
    def _fixed(self) -> bool:
        return isinstance(self.rank, int)

    @property
    def _ratio(self) -> float:
        return self.ratio or DEFAULT_RATIO

    @property
    def shares(self) -> bool:  # noqa: D102
        return self.energy is None and self.rank in (None, "auto")

    def plan(self, surveyed: Iterator[Surveyed]) -> Mapping[str, Pass | Refusal]:  # noqa: D102
        whole = Refusal(f"kept whole: for ratio {self._ratio:g} of all weights together, others lose less by it")
        found: dict[str, Pass | Refusal] = {}
        for names, form, basis in share(surveyed, self._curve, self._pays, self._ratio, bases=self.shared):
            found |= dict.fromkeys(names, whole if form == WHOLE else self._share(form, basis))
        return found

    def _share(self, form: Form, basis: Callable[[int], Basis] | None) -> Pass:
        if basis is not None:
            return Based(rank=form.rank, basis=basis(form.rank))
        return replace(self, ratio=None, rank=form.rank, split=form.split or self.split)

    def _curve(self, survey: Surveyed) -> Curve:
        pays, spatial = partial(self._pays, survey.site), self._spatial(survey.site)
        return curve(survey, self._ratio, pays, spatial, both=self.split != "spatial")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        if site.gathered and not site.multiplied and not self.stored:
            return Refusal("its rows are looked up: factors save bytes and cost a product (stored=true allows it)")
        if not site.splittable and not self.stored:
            return Refusal(
                "its node cannot be split in two, so the factors would be multiplied back at load: "
                "a smaller file, no less work (stored=true allows it)"
            )
        if 0 < shape[0] < self.min_outputs:
            return Refusal(f"{shape[0]} outputs, fewer than min_outputs={self.min_outputs} (PELA's rule)")
        if self.energy is not None or self.shares:
            reason = self._refuse(shape, 1, site)
            share = f"{self.energy:.4g} of the energy" if self.energy else f"its share of ratio {self._ratio:g}"
            return Refusal(reason) if reason else Preview(f"rank for {share}", None)
        ranks = self._ranks(shape, site)
        reason = self._refuse(shape, ranks.channels, site)
        return Refusal(reason) if reason else self._preview(shape, ranks, site)

    def _preview(self, shape: tuple[int, int], ranks: Ranks, site: SiteInfo) -> Preview:
        size = None if ranks.spatial else ranks.channels * sum(shape) * site.dtype.itemsize
        words = ranks.words(site.kernel, along=self.split == "spatial")
        return Preview(f"{words} ({site.dtype} x {site.dtype})", size)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        return frozenset() if isinstance(self.preview(shape, site), Refusal) else frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term | Refusal:  # noqa: D102
        term = self._factored(weight, site, inputs)
        if isinstance(term, Refusal) or term.exact:
            return term
        if self.residual is None or not isinstance(term, Product) or not site.multiplied:
            return term
        kinds = KINDS if self.residual == "auto" else (self.residual,)
        return beside(term, weight, inputs, Residual(kinds, self.refine, partial(self._pays, site), site.rows))

    def _factored(self, weight: Dense, site: SiteInfo, inputs: Statistics | None) -> Product | Separable | Refusal:
        gram = None if inputs is None else inputs.gram
        found = spectrum(weight.values, gram)
        ranks = self._ranks(weight.shape, site, found)
        exact = exact_rank(weight.values, found)
        if exact is not None and self._fixed:
            exact = exact if exact <= ranks.channels else None  # so few were asked for by number
        below = exact if exact is not None else ranks.channels + 1 if self._fixed else None
        separable = self._separable_exactly(weight, site, below)
        if separable is not None:
            return separable
        rank = ranks.channels if exact is None else exact
        reason = self._refuse(weight.shape, rank, site)
        if reason:
            return Refusal(reason)
        first, second = (stored(factor, weight) for factor in factors(weight.values, found, rank))
        term = Product(first, second, exact is not None and weight.dtype == np.float32, self.refine)
        spatial = self._spatial(site)
        if spatial is None or exact is not None or not ranks.spatial:
            return term
        other = split_along(spatial, weight, ranks.spatial, gram)
        better = self.split == "spatial" or lost(other, weight, inputs) < lost(term, weight, inputs)
        return other if better else term

    def _separable_exactly(self, weight: Dense, site: SiteInfo, below: int | None) -> Separable | None:
        """A kernel that is separable to within rounding, with less work than the split into ``below`` channels."""
        spatial = self._spatial(site)
        rank = None if spatial is None else spatial.exact_rank(weight.values)
        if spatial is None or rank is None or self._refuse(weight.shape, spatial.other(rank), site):
            return None
        less = below is None or spatial.other(rank) < below
        return split_along(spatial, weight, rank, None, exact=True) if less else None

    def _spatial(self, site: SiteInfo) -> Spatial | None:
        """The split along the axes of images, where there is one and it is asked for."""
        return Spatial.of(site) if self.split != "channels" else None

    def _ranks(self, shape: tuple[int, int], site: SiteInfo, found: Spectrum | None = None) -> Ranks:
        """Those of both splits: as given, else such as kernels like; for ``energy`` by the spectrum."""
        spatial = self._spatial(site)
        if isinstance(self.rank, int):
            return Ranks.given(self.rank, spatial, along=self.split == "spatial")
        rank = rank_for_ratio(shape, self._ratio)
        if self.energy is not None and found is not None:
            rank = rank_for_energy(found.squares, self.energy)
        up = self.energy is not None
        return Ranks.found(rank, spatial, lambda rank: self._refuse(shape, rank, site) is None, up=up)

    def _refuse(self, shape: tuple[int, int], rank: int, site: SiteInfo) -> str | None:
        rows, columns = shape
        values = rank * (rows + columns)
        if all(shape) and rank < 1:
            return f"{rows}x{columns}: too small, the rank would be {rank}"
        if all(shape) and values >= rows * columns:
            return f"rank {rank} of {rows}x{columns} takes {values} values, the weight {rows * columns}"
        if all(shape) and not self._pays(site, rank):
            times = f"{self._time(site, rank):.2f} times as long as one (force=true allows it)"
            return f"rank {rank} of {rows}x{columns}: two products take about {times}"
        return no_gain(shape, site.dtype.itemsize, values * site.dtype.itemsize)

    def _pays(self, site: SiteInfo, rank: int, beside: float = 0.0) -> bool:
        """Whether the factors do all that is asked of them: less time, where they are multiplied by.

        ``beside`` is the time of what is multiplied beside them, by that of the whole weight.
        """
        return self.force or not site.splittable or self._time(site, rank, beside) <= LEAST

    def _time(self, site: SiteInfo, rank: int, beside: float = 0.0) -> float:
        return time_share(site.shape, rank, site.rows, beside, measured=self.pays == "measured")
