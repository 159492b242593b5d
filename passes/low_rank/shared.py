"""One basis for several weights: ``W_i = A_i B`` with the same B, as HOLa has one for all of its classes.

Weights that are multiplied with the same tensor (queries, keys and values; gate and up projection) get the basis of all
their rows together: B is stored once and ``x B^T`` computed once. For as many values its rank is higher than that of
factors of their own, for three weights of one size 1.5 times. Tables, that is embeddings of one width and a classifier
as large as one of them, store one basis; each is multiplied by it on its own.

It is not the default. Queries, keys and values of MiniLM lose less by it weight by weight: at ratio 1.5 the squared
error, output by output, is 23 to 31 % less in each layer. What the model loses is no less, perhaps because all three
then miss the same of their input: score and cosine at ratio 1.5 / 2 are 83.43 and 0.859 / 83.03 and 0.754 with factors
of their own, 83.36 and 0.851 / 82.47 and 0.735 with those that are shared. Nor is it faster: at ratio 1.5 32 tokens
take 5.05 ms, with factors of their own 5.13, 128 tokens 18.0 ms with either (ONNX Runtime 1.32, one thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby, pairwise
from typing import ClassVar, NamedTuple

import numpy as np

from regc.compiler.passes import Pass, Preview, SiteInfo, Surveyed, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense, Float32, Product, Term
from regc.passes.budget import share_out
from regc.passes.low_rank.factored import stored
from regc.passes.low_rank.fit import (
    Float64,
    Spectrum,
    damped,
    explained,
    factors,
    first_factor,
    rank_for_ratio,
    relative_loss,
    spectrum,
)
from regc.passes.low_rank.plan import WHOLE, Cost, Curve, Form, ranks, steps, typical_worth


class Basis:
    """The factor B of some weights, by their names: made of all of them when the first asks, let go after the last.

    ``loads`` give these weights, ``[N_i, K]`` of one type, in the order of ``names``. ``one_input`` tells that the same
    flows into all, so that the basis is the best for it.
    """

    def __init__(self, names: Sequence[str], loads: Sequence[Callable[[], Dense]], one_input: bool, rank: int) -> None:
        self.names, self.rank = tuple(names), rank
        self._loads, self._one_input = loads, one_input
        self._made: Dense | None = None
        self._left = len(loads)

    def __str__(self) -> str:
        return "|".join(self.names)

    def of(self, inputs: Statistics | None) -> Dense:
        """The basis ``[rank, K]``, of the type of the weights; always the same object. Each weight asks once.

        ``inputs`` are those of the weight that asks.

        Raises:
            ValueError: a weight has NaN or infinity.
        """
        if self._made is None:
            weights = [load() for load in self._loads]
            whole = np.concatenate([weight.values for weight in weights])
            found = spectrum(whole, inputs.gram if inputs is not None and self._one_input else None)
            self._made = stored(factors(whole, found, self.rank)[1], weights[0])
        made, self._left = self._made, self._left - 1
        self._made = made if self._left else None
        return made


@dataclass(frozen=True, kw_only=True)
class Based(Pass):
    """A weight as its own factor times a basis that it has in common with others: what ``low-rank`` plans for them."""

    name: ClassVar[str] = "low-rank"
    summary: ClassVar[str] = "two thin factors, of which several weights share one"
    structural: ClassVar[bool] = True

    rank: int = option(1, "inner size of the factors")
    basis: Basis = option(None, "the weights that share it")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview:  # noqa: D102
        return Preview(f"rank {self.rank}, one basis for {len(self.basis.names)} ({site.dtype} x {site.dtype})", None)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        return frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term:  # noqa: D102
        second = self.basis.of(inputs)
        first = first_factor(weight.values, second.values, None if inputs is None else inputs.gram)
        return Product(stored(first, weight), second, shares=len(self.basis.names))


def groups(surveyed: Iterator[Surveyed]) -> Iterator[list[Surveyed]]:
    """The weights, those together that may share a basis: neighbours that read one tensor, and at the end tables.

    Only those of a group are held at a time, and the tables.
    """
    tables: dict[tuple[int, str], list[Surveyed]] = {}
    for _, found in groupby(surveyed, _reads):
        group = list(found)
        site = group[0].site
        alike = tables.setdefault((site.shape[1], site.dtype.name), []) if not site.kernel else []
        if site.gathered or any(site.shape == other.site.shape for other in alike):
            alike += group
        else:
            yield group
    yield from filter(None, tables.values())


def _reads(survey: Surveyed) -> tuple[str, str]:
    site = survey.site
    alone = site.gathered or not site.reads
    return (site.name, "") if alone else (site.reads, site.dtype.name)


class Share(NamedTuple):
    """What a budget gives to some weights: a form for all of them, whose ``basis`` of some rank is one, or for one."""

    names: tuple[str, ...]
    form: Form
    basis: Callable[[int], Basis] | None


def share(
    surveyed: Iterator[Surveyed],
    own: Callable[[Surveyed], Curve],
    pays: Callable[[SiteInfo, int], bool],
    ratio: float,
    *,
    bases: bool,
) -> Iterator[Share]:
    """Share one budget out over weights, and groups of them where there may be ``bases``.

    ``own`` gives the curve of a weight, ``pays`` tells whether a rank does, for :func:`together`.
    """
    curves: dict[str, Curve] = {}
    known: dict[str, tuple[tuple[str, ...], Callable[[int], Basis]]] = {}
    for group in groups(surveyed) if bases else ([survey] for survey in surveyed):
        alone = {survey.site.name: own(survey) for survey in group}
        joint, names = together(group, alone, ratio, pays), tuple(alone)
        curves |= alone if joint is None else {names[0]: joint}
        if joint is not None:
            known[names[0]] = names, partial(Basis, names, [survey.load for survey in group], _one_input(group))
    for name, form in ranks(curves, ratio).items():
        names, basis = known.get(name, ((name,), None))
        yield Share(names, form, basis)


def together(
    group: Sequence[Surveyed], own: Mapping[str, Curve], ratio: float, pays: Callable[[SiteInfo, int], bool]
) -> Curve | None:
    """What a group may become with one basis, all of it by one form; None where factors of their own lose less.

    That is judged at this ratio, for as many values. ``own`` are the curves of the weights; ``pays`` is asked for all
    that read one tensor as for one weight of all their rows.
    """
    if len(group) < 2 or any(WHOLE not in curve.costs for curve in own.values()):
        return None  # alone, or among those that are factored without loss
    whole = replace(group[0].site, shape=(sum(s.site.shape[0] for s in group), group[0].site.shape[1]))
    places = [whole] if _one_input(group) else [s.site for s in group]
    most = rank_for_ratio(whole.shape, 1.0)
    usual = steps(rank_for_ratio(whole.shape, ratio), most)
    typical = typical_worth(own.values())
    worths = [1.0 if typical is None else (own[s.site.name].worth or typical) / typical for s in group]
    lost = np.sum([worth * part for worth, part in zip(worths, _lost(group, most), strict=True)], axis=0)
    costs = {Form(r): Cost(r * sum(whole.shape), float(lost[r])) for r in usual if all(pays(p, r) for p in places)}
    values, itemsize = whole.shape[0] * whole.shape[1], whole.dtype.itemsize
    apart = {s.site.name: own[s.site.name].points(worth) for s, worth in zip(group, worths, strict=True)}
    fits = [cost for cost in costs.values() if cost.values <= values / ratio]
    if not fits:
        return None
    one = max(fits)
    if one.error >= sum(point.error for point in share_out(apart, one.values * itemsize).values()):
        return None
    return Curve({**costs, WHOLE: Cost(values, 0.0)}, typical, values, itemsize)


def _one_input(group: Sequence[Surveyed]) -> bool:
    return group[0].site.reads != "" and all(s.site.reads == group[0].site.reads for s in group)


def _lost(group: Sequence[Surveyed], most: int) -> Iterator[Float64]:
    """What each weight of a group loses by a common basis of 0 to ``most`` rows, as its own curve counts."""
    rows = np.concatenate([s.weight.values for s in group])
    one_input = _one_input(group)
    found = spectrum(rows, _gram(group[0]) if one_input else None)
    second = factors(rows, found, most)[1].astype(np.float64)
    ends = list(accumulate((len(s.weight.values) for s in group), initial=0))
    for survey, (start, end) in zip(group, pairwise(ends), strict=True):
        gram = _gram(survey)
        if gram is None or one_input:
            yield Spectrum(found.squares, found.vectors[start:end]).left_out[: most + 1]
            continue
        wide, metric = survey.weight.values.astype(np.float64), damped(gram)
        parts = explained(second @ metric @ second.T, second @ metric @ wide.T)
        yield relative_loss(np.einsum("nk,nk->n", wide @ metric, wide), parts)


def _gram(survey: Surveyed) -> Float32 | None:
    return None if survey.inputs is None else survey.inputs.gram
