"""The pass manager, which takes the weights of a model through the passes one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from regc.compiler.errors import UsageError
from regc.compiler.filters import activities
from regc.compiler.inflows import Calibrate, Inflows, Known, Nothing, Wanted
from regc.compiler.lower import Lowering
from regc.compiler.lower.gather import row_operator
from regc.compiler.lower.shapes import fold_shapes
from regc.compiler.model import Model
from regc.compiler.passes import Decision, Pass, Preview, Refusal, SiteInfo
from regc.compiler.planning import NO_PLANS, NOT_FINITE, Plans, allotted, check_order, share_out
from regc.compiler.records import Progress, Recovered, SiteRecord, UnitsRecord
from regc.compiler.removing import Fitting, run_removal
from regc.compiler.select import Selection
from regc.compiler.sites import Scopes, Site, find_sites
from regc.compiler.spec import check_types
from regc.compiler.statistics import Need, Statistics, inputs_at
from regc.compiler.target import CPU, Target
from regc.compiler.terms import Coded, Dense, Float32, Leaf, Operated, Term, relative_error
from regc.runtime_ops import ops

Recovering = Callable[
    [Model, Mapping[str, Term], Mapping[str, Site], Mapping[Term, Float32]], tuple[dict[str, Term], Recovered]
]
"""Trains terms, given by the name of their weight, with all weights and what coded terms were made from."""

SMALL = 1 << 20
"""Bytes of weights below which the bodies of our operators may outweigh what is saved: worked out first."""


class PassManager:
    """Runs passes over the weights of a model, in order.

    ``include`` and ``exclude`` are selectors (see :mod:`regc.compiler.select`) for all passes. ``target`` decides what
    may be emitted. ``callback`` hears of progress.

    Raises:
        UsageError: no pass, or one that cannot follow another; see :func:`regc.compiler.planning.check_order`.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        target: Target = CPU,
        callback: Callable[[Progress], None] | None = None,
        recover: Recovering | None = None,
    ) -> None:
        if not passes:
            raise UsageError("a pipeline needs at least one pass; see: regc passes")
        for pass_ in passes:
            if not isinstance(pass_, Pass):
                raise UsageError(f"a pipeline is a list of passes such as RF8(), or one text; it has {pass_!r}")
            check_types(pass_)
        check_order(passes)
        self.removing = tuple(pass_ for pass_ in passes if pass_.removes)
        self.passes = tuple(pass_ for pass_ in passes if not pass_.removes)
        self.units: list[UnitsRecord] = []
        self.selection = Selection(tuple(include), tuple(exclude))
        self.target = target
        self.recover = recover
        self.recovered: Recovered | None = None
        self._starts: dict[Term, Float32] = {}
        self.callback = callback or (lambda progress: None)

    def rewrite(
        self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None, plans: Plans = NO_PLANS
    ) -> tuple[Term, list[Decision]]:
        """Take one weight through all passes: its new term (the weight itself when all refuse) and every answer."""
        term: Term = weight
        decisions: list[Decision] = []
        for position, pass_ in enumerate(self.passes):
            share = plans.of(position, pass_, site)
            if isinstance(share, Refusal):
                decisions.append(Decision(site.name, pass_.name, "", term.label, None, share.reason))
                continue
            words = allotted(pass_, share)

            def apply(leaf: Leaf, path: str, share: Pass = share, words: str = words, whole: Term = term) -> Term:
                result, decision = self._apply(share, leaf, path, site, inputs_at(whole, path, inputs))
                decisions.extend([replace(decision, allotted=words)] if decision is not None else [])
                return result

            term = term.map_leaves(apply)
        return term, decisions

    def _apply(
        self, pass_: Pass, leaf: Leaf, path: str, site: SiteInfo, inputs: Statistics | None
    ) -> tuple[Term, Decision | None]:
        """The answer of a pass for one leaf, None when it is coded already; what saves neither bytes nor work is not
        applied.
        """
        if not isinstance(leaf, Dense):
            return leaf, None
        answer = pass_.preview(leaf.shape, site)
        result = answer if isinstance(answer, Refusal) else pass_.fit(leaf, site, inputs)
        unfit = self.target.refuses(result, site.rows) if site.multiplied and not isinstance(result, Refusal) else None
        if unfit is not None:
            result = Refusal(unfit)
        size = leaf.nbytes if isinstance(result, Refusal) else self._nbytes(result, site)
        if not isinstance(result, Refusal) and size >= leaf.nbytes and result.work >= leaf.work:
            result = Refusal(f"would take {size:,} bytes instead of {leaf.nbytes:,}")
        if isinstance(result, Refusal):
            return leaf, Decision(site.name, pass_.name, path, leaf.label, None, result.reason)
        if self.recover is not None:
            self._starts[result] = leaf.values
        error = relative_error(result, leaf.values)
        seen = inputs.output_error(result, leaf.values) if inputs is not None else None
        return result, Decision(site.name, pass_.name, path, leaf.label, result.label, error=error, output_error=seen)

    def run(self, model: Model, inputs: Mapping[str, Statistics] | Calibrate | None = None) -> list[SiteRecord]:
        """Rewrite the weights of a model in place. ``inputs`` has what flows into weights, by name, or gathers it.

        Units that passes remove go first; :attr:`units` tells of them.

        Raises:
            UsageError: a selector that matches no weight, or a fallback that does not suit the model.
        """
        if model.opaque:
            return []
        self.target.check(model.opset)
        for pass_ in self.removing:
            self.units += run_removal(model, pass_, self.selection, inputs, self.callback)
        if not self.passes and self.recover is None:
            return []
        scopes = Scopes(model.graph)
        sites = find_sites(model, scopes)
        infos = [site.info for site in sites]
        for selection in (self.selection, *(Selection(p.include, p.exclude) for p in self.passes)):
            selection.check(infos)
        inflows = self._inflows(model, sites, inputs)
        plans = NO_PLANS
        if any(pass_.shares for pass_ in self.passes):
            with inflows.original() as original:
                plans = share_out(self.passes, self.selection, sites, original, self.callback)
        results = self._terms(sites, inflows, plans)
        if sum(site.nbytes for site in sites) < SMALL:
            results = iter(_paying(list(results), model.opset, self.target))
        if self.recover is not None:
            results = iter(self._trained(model, list(results), self.recover))
        lowering = Lowering(model, scopes, self.target)
        records = [self._record(result, lowering) for result in results]
        used = lowering.operands.operators
        self.target.check_used(used)
        model.add_functions(ops.functions(used, model.opset, self.target.operators))
        if any(record.changed for record in records):
            fold_shapes(model)
        return records

    def _trained(self, model: Model, results: list[_Result], recover: Recovering) -> list[_Result]:
        """The results with terms that were trained, where any weight was compressed."""
        terms = {r.site.info.name: r.term for r in results if r.term is not None}
        if not terms:
            return results
        better, self.recovered = recover(model, terms, {r.site.info.name: r.site for r in results}, self._starts)
        self._starts.clear()
        return [_retold(result, better.get(result.site.info.name), self.recovered) for result in results]

    def _inflows(self, model: Model, sites: list[Site], inputs: Mapping[str, Statistics] | Calibrate | None) -> Inflows:
        if inputs is None:
            return Nothing()
        found = Known(inputs) if isinstance(inputs, Mapping) else inputs(model, self.wanted(sites))
        return Fitting(found) if self.removing else found

    def wanted(self, sites: Sequence[Site]) -> Wanted:
        """What the passes need of what flows into weights, mostly nothing; a weight that none may take is left out."""
        free = [site for site in sites if not (site.refusal or self.selection.refuses(site.info))]
        return [(site, frozenset(need for p in self.passes for need in _needs(p, site.info))) for site in free]

    def _terms(self, sites: list[Site], inflows: Inflows, plans: Plans) -> Iterator[_Result]:
        total, done = sum(site.nbytes for site in sites), 0
        for site in sites:
            self.callback(Progress("compress", done, total, site.info.name))
            result = self._term(site, inflows, plans)
            if result.term is not None:
                inflows.put(site, result.term)
            yield result
            done += site.nbytes
        self.callback(Progress("compress", total, total, ""))

    def _term(self, site: Site, inflows: Inflows, plans: Plans) -> _Result:
        reason = site.refusal or self.selection.refuses(site.info)
        if reason is not None:
            return _Result(site, None, [Decision(site.info.name, "", "", str(site.info.dtype), None, reason)])
        refusals = self._foreseen(site.info, plans)
        if len(refusals) == len(self.passes):
            return _Result(site, None, refusals)
        weight = site.load()
        if not np.isfinite(weight.values).all():
            decision = Decision(site.info.name, "", "", weight.label, None, NOT_FINITE)
            return _Result(site, None, [decision])
        found = inflows.of(site)
        inputs, unseen = (None, found) if isinstance(found, str) else (found, "")
        term, decisions = self.rewrite(weight, site.info, inputs, plans)
        if term is weight:
            return _Result(site, None, decisions)
        applied = [decision for decision in decisions if decision.after is not None]
        if len(applied) == 1:
            return _Result(site, term, decisions, applied[0].error, applied[0].output_error, unseen)
        output_error = inputs.output_error(term, weight.values) if inputs is not None else None
        return _Result(site, term, decisions, relative_error(term, weight.values), output_error, unseen)

    def _foreseen(self, site: SiteInfo, plans: Plans) -> list[Decision]:
        """The refusals that follow from shapes, selectors and plans alone, so that the weight need not be read."""
        refusals = []
        for position, pass_ in enumerate(self.passes):
            answer: Pass | Preview | Refusal = plans.of(position, pass_, site)
            answer = answer.preview(site.shape, site) if isinstance(answer, Pass) else answer
            if isinstance(answer, Refusal):
                refusals.append(Decision(site.name, pass_.name, "", str(site.dtype), None, answer.reason))
        return refusals

    def _record(self, result: _Result, lowering: Lowering) -> SiteRecord:
        site, term = result.site, result.term
        emitted = lowering.lower(site, term) if term is not None else ""
        return SiteRecord(
            info=site.info,
            before=str(site.info.dtype),
            after=term.label if term is not None else str(site.info.dtype),
            nbytes_before=site.nbytes,
            nbytes_after=self._nbytes(term, site.info) if term is not None else site.nbytes,
            error=result.error,
            output_error=result.output_error,
            unseen=result.unseen,
            activities=tuple(activities(term)) if term is not None else (),
            recovery=result.recovery,
            emitted=emitted,
            decisions=tuple(result.decisions),
            aliases=site.aliases,
        )

    def _nbytes(self, term: Term, site: SiteInfo) -> int:
        return _nbytes(term, site, self.target)


@dataclass
class _Result:
    """A weight, its new term (None: untouched), and the answers that led to it."""

    site: Site
    term: Term | None
    decisions: list[Decision]
    error: float | None = None
    output_error: float | None = None
    unseen: str = ""
    recovery: str = ""


def _retold(result: _Result, term: Term | None, recovered: Recovered) -> _Result:
    """A result with the term that recovery left."""
    if term is None or term is result.term:
        return replace(result, recovery=recovered.left.get(result.site.info.name, ""))
    error = relative_error(term, result.site.load().values)
    return replace(result, term=term, error=error, output_error=None, recovery="trained")


def _needs(pass_: Pass, site: SiteInfo) -> frozenset[Need]:
    """What a pass needs of what flows into a weight that it may take."""
    refused = Selection(pass_.include, pass_.exclude).refuses(site)
    return frozenset() if refused else pass_.needs(site.shape, site)


def _nbytes(term: Term, site: SiteInfo, target: Target) -> int:
    """Bytes of a term in the place of a weight, in the form in which it is emitted."""
    return target.nbytes(term) if site.multiplied else term.nbytes


def _paying(results: list[_Result], opset: int, target: Target) -> list[_Result]:
    """The results, all turned into refusals when the bodies of the operators would outweigh what is saved.

    Not so where one of them is there to save work at run time.
    """
    terms = [result.term for result in results if result.term is not None]
    leaves = ((leaf, result.site.info) for result in results if result.term for leaf in result.term.operated())
    names = {name for leaf, site in leaves for name in _operators(leaf, site, opset, target)}
    bodies = sum(body.ByteSize() for body in ops.functions(names, opset, target.operators))
    changed = ((result.site, result.term) for result in results if result.term is not None)
    saved = sum(site.nbytes - _nbytes(term, site.info, target) for site, term in changed)
    if not terms or saved > bodies or not all(term.linear for term in terms):
        return results
    reason = f"all weights together would save {saved:,} bytes, less than the {bodies:,} of the operators' definition"
    return [
        _Result(r.site, None, [Decision(r.site.info.name, "", "", "", None, reason)]) if r.term else r for r in results
    ]


def _operators(leaf: Operated, site: SiteInfo, opset: int, target: Target) -> set[str]:
    """The operator whose definition the model needs for a leaf, if any."""
    if site.gathered and not site.multiplied:
        return {row_operator(leaf, opset, by_rows=True) or leaf.decoder}
    if site.kernel and site.splittable and isinstance(leaf, Coded):
        return {target.convolution(leaf, math.prod(site.kernel), opset) or leaf.decoder}
    if site.multiplied and target.nbits(leaf) is not None:
        return set()
    return {(target.operator(leaf, opset) if site.multiplied else None) or leaf.decoder}
