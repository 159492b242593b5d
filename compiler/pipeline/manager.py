"""The pass manager, which takes the weights of a model through the passes one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from regc.compiler.errors import UsageError
from regc.compiler.inflows import Calibrate, Fitting, Inflows, Known, Nothing, Wanted
from regc.compiler.lower import Lowering
from regc.compiler.lower.shapes import fold_shapes
from regc.compiler.model import Model
from regc.compiler.passes import Decision, Pass, SiteInfo
from regc.compiler.pipeline.outcome import Outcome
from regc.compiler.pipeline.paying import is_small, paying
from regc.compiler.pipeline.planning import NO_PLANS, Plans, check_order, share_out
from regc.compiler.pipeline.rewriting import Rewriting
from regc.compiler.records import GateRecord, Progress, Recovered, SiteRecord, UnitsRecord
from regc.compiler.select import Selection
from regc.compiler.sites import Scopes, Site, find_sites
from regc.compiler.spec import check_types
from regc.compiler.statistics import Need, Statistics
from regc.compiler.target import CPU, Target
from regc.compiler.terms import Float32, Term
from regc.compiler.timing import Stopwatch
from regc.runtime_ops import ops

if TYPE_CHECKING:
    from regc.compiler.gates import Watch

Recovering = Callable[
    [Model, Mapping[str, Term], Mapping[str, Site], Mapping[Term, Float32], Sequence[str]],
    tuple[dict[str, Term], Recovered],
]
"""Trains terms, given by the name of their weight, with all weights and what coded terms were made from. The last are
the names of dense weights that train, too."""


class PassManager:
    """Runs passes over the weights of a model, in order.

    ``include`` and ``exclude`` are selectors (see :mod:`regc.compiler.select`) for all passes. ``target`` decides what
    may be emitted. ``callback`` hears of progress.

    Raises:
        UsageError: no pass, or one that cannot follow another; see :func:`regc.compiler.pipeline.planning.check_order`.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        target: Target = CPU,
        callback: Callable[[Progress], None] | None = None,
        watch: Watch | None = None,
    ) -> None:
        if not passes:
            raise UsageError("a pipeline needs at least one pass; see: regc passes")
        for pass_ in passes:
            if not isinstance(pass_, Pass):
                raise UsageError(f"a pipeline is a list of passes such as RF8(), or one text; it has {pass_!r}")
            check_types(pass_)
        check_order(passes)
        self.removing = tuple(pass_ for pass_ in passes if pass_.removes)
        self.passes = tuple(pass_ for pass_ in passes if pass_.rewrites)
        self.units: list[UnitsRecord] = []
        self.gates: list[GateRecord] = []
        self.selection = Selection(tuple(include), tuple(exclude))
        self.target = target
        self.recover: Recovering | None = None
        self.watch = watch
        self.recovered: Recovered | None = None
        self.callback = callback or (lambda progress: None)

    def run(self, model: Model, inputs: Mapping[str, Statistics] | Calibrate | None = None) -> list[SiteRecord]:
        """Rewrite the weights of a model in place. ``inputs`` has what flows into weights, by name, or gathers it.

        Gates that passes settle and units that they remove go first; :attr:`gates` and :attr:`units` tell of them.

        Raises:
            UsageError: a selector that matches no weight, or a fallback that does not suit the model.
        """
        if model.opaque:
            return []
        self.target.check(model.opset)
        for pass_ in self.removing:
            self._settle(model, pass_)
            self._remove(model, pass_, inputs)
        if not self.passes and self.recover is None:
            return []
        scopes = Scopes(model.graph)
        sites = find_sites(model, scopes)
        self._check_selectors(sites)
        outcomes = self._outcomes(model, sites, inputs)
        return self._lower(outcomes, model, scopes)

    def _settle(self, model: Model, pass_: Pass) -> None:
        if pass_.settles is not None:
            from regc.compiler.gates import settle_gates  # noqa: PLC0415 - brings the verification along

            self.gates += settle_gates(model, self.watch, pass_.settles)

    def _remove(self, model: Model, pass_: Pass, inputs: Mapping[str, Statistics] | Calibrate | None) -> None:
        from regc.compiler.removing import run_removal  # noqa: PLC0415 - a tenth of all that is imported

        self.units += run_removal(model, pass_, self.selection, inputs, self.callback)

    def _check_selectors(self, sites: Sequence[Site]) -> None:
        infos = [site.info for site in sites]
        for selection in (self.selection, *(Selection(p.include, p.exclude) for p in self.passes)):
            selection.check(infos)

    def _outcomes(
        self, model: Model, sites: Sequence[Site], inputs: Mapping[str, Statistics] | Calibrate | None
    ) -> Iterable[Outcome]:
        """What becomes of every weight: one at a time, unless all of them have to be seen together."""
        inflows = self._inflows(model, sites, inputs)
        starts: dict[Term, Float32] | None = None if self.recover is None else {}
        rewriting = Rewriting(self.passes, self.target, self._plans(sites, inflows), Stopwatch(self.target), starts)
        outcomes: Iterable[Outcome] = self._rewritten(sites, inflows, rewriting)
        if is_small(model, sites):
            outcomes = paying(list(outcomes), model, self.target)
        return outcomes if starts is None else self._trained(model, list(outcomes), starts)

    def _inflows(
        self, model: Model, sites: Sequence[Site], inputs: Mapping[str, Statistics] | Calibrate | None
    ) -> Inflows:
        if inputs is None:
            return Nothing()
        found = Known(inputs) if isinstance(inputs, Mapping) else inputs(model, self._wanted(sites))
        return Fitting(found) if self.removing else found

    def _wanted(self, sites: Sequence[Site]) -> Wanted:
        """What the passes need of what flows into weights, mostly nothing; a weight that none may take is left out."""
        free = [site for site in sites if not self._barred(site)]
        return [(site, frozenset(need for p in self.passes for need in _needs(p, site.info))) for site in free]

    def _barred(self, site: Site) -> str | None:
        """Why no pass may take a weight, if that is so whatever the pass."""
        return site.refusal or self.selection.refuses(site.info)

    def _plans(self, sites: Sequence[Site], inflows: Inflows) -> Plans:
        if not any(pass_.shares for pass_ in self.passes):
            return NO_PLANS
        with inflows.original() as original:
            return share_out(self.passes, self.selection, sites, original, self.callback)

    def _rewritten(self, sites: Sequence[Site], inflows: Inflows, rewriting: Rewriting) -> Iterator[Outcome]:
        """One weight after the other; later ones see what flows into them once earlier ones are compressed."""
        total, done = sum(site.nbytes for site in sites), 0
        for site in sites:
            self.callback(Progress("compress", done, total, site.info.name))
            reason = self._barred(site)
            if reason is None:
                outcome = rewriting.outcome(site, inflows)
            else:
                outcome = Outcome(site, None, (Decision(site.info.name, "", "", str(site.info.dtype), None, reason),))
            if outcome.term is not None:
                inflows.put(site, outcome.term, outcome.offset)
            yield outcome
            done += site.nbytes
        self.callback(Progress("compress", total, total, ""))

    def _trained(self, model: Model, outcomes: list[Outcome], starts: dict[Term, Float32]) -> list[Outcome]:
        """With terms that were trained, where any weight was compressed or units were removed.

        Dense weights train, too, to make up for what others lost. Of MiniLM with half of all blocks seven weights stay
        whole: with these in training 100 steps end at a loss of 0.307 instead of 0.322, and take 6 % longer.
        """
        terms = {outcome.name: outcome.term for outcome in outcomes if outcome.term is not None}
        if self.recover is None or not (terms or any(units.changed for units in self.units)):
            return outcomes
        dense = [outcome.name for outcome in outcomes if outcome.term is None and self._free(outcome.site)]
        recovered = self.recover(model, terms, {outcome.name: outcome.site for outcome in outcomes}, starts, dense)
        better, self.recovered = recovered
        return [outcome.recovered(better.get(outcome.name), recovered[1]) for outcome in outcomes]

    def _free(self, site: Site) -> bool:
        """Whether a weight is multiplied by and may be changed."""
        return self._barred(site) is None and (site.info.multiplied or bool(site.info.kernel))

    def _lower(self, outcomes: Iterable[Outcome], model: Model, scopes: Scopes) -> list[SiteRecord]:
        """Put the new terms into the model, with the definitions of the operators that they need."""
        lowering = Lowering(model, scopes, self.target)
        records = []
        for outcome in outcomes:
            emitted = "" if outcome.term is None else lowering.lower(outcome.site, outcome.term, outcome.offset)
            records.append(outcome.record(emitted, self.target))
        lowering.finish()
        used = lowering.operands.operators
        self.target.check_used(used)
        model.add_functions(ops.functions(used, model.opset, self.target.operators(model.opset)))
        if any(record.changed for record in records):
            fold_shapes(model)
        return records


def _needs(pass_: Pass, site: SiteInfo) -> frozenset[Need]:
    """What a pass needs of what flows into a weight that it may take."""
    refused = Selection(pass_.include, pass_.exclude).refuses(site)
    return frozenset() if refused else pass_.needs(site.shape, site)
