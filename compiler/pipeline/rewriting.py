"""One weight through all passes: what each of them answers, for every part that an earlier one left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import numpy as np

from regc.compiler.inflows import Inflows
from regc.compiler.passes import Decision, Pass, Preview, Refusal, SiteInfo
from regc.compiler.pipeline.bias import lost_bias
from regc.compiler.pipeline.outcome import Outcome
from regc.compiler.pipeline.planning import NOT_FINITE, Plans, allotted
from regc.compiler.pipeline.refining import parts, refined
from regc.compiler.sites import Site
from regc.compiler.statistics import Statistics, inputs_at
from regc.compiler.target import Target
from regc.compiler.terms import Dense, Float32, Leaf, Term, relative_error
from regc.compiler.timing import Stopwatch


@dataclass(frozen=True)
class Rewriting:
    """Takes weights through ``passes``, each as ``plans`` has it, to what ``target`` can emit.

    ``stopwatch`` tells how fast they are then. ``starts`` collects what coded terms were made from, for those who train
    them; None: nobody does.
    """

    passes: Sequence[Pass]
    target: Target
    plans: Plans
    stopwatch: Stopwatch
    starts: dict[Term, Float32] | None = None
    _answers: WeakKeyDictionary[Dense, dict[Pass, Term | Refusal]] = field(default_factory=WeakKeyDictionary)
    """What passes made of leaves, as long as these are there: one that is a part of several weights stays one."""

    def outcome(self, site: Site, inflows: Inflows) -> Outcome:
        """What becomes of a weight; its values are read only if a pass may take it."""
        refusals = self._foreseen(site.info)
        if len(refusals) == len(self.passes):
            return Outcome(site, None, tuple(refusals))
        weight = site.load()
        if not np.isfinite(weight.values).all():
            return Outcome(site, None, (Decision(site.info.name, "", "", weight.label, None, NOT_FINITE),))
        found = inflows.of(site)
        inputs, unseen = (None, found) if isinstance(found, str) else (found, "")
        term, decisions = self._rewrite(weight, site.info, inputs)
        if term is weight:
            return Outcome(site, None, tuple(decisions))
        error, output_error = _errors(term, weight, decisions, inputs)
        offset = lost_bias(term, weight, site.info, inputs, error)
        if offset is not None and inputs is not None:
            output_error = inputs.output_error(term, weight.values, offset)
        speed = self.stopwatch.speed(weight, term, site.info.rows, inputs)
        return Outcome(site, term, tuple(decisions), error, output_error, unseen, speed=speed, offset=offset)

    def _foreseen(self, site: SiteInfo) -> list[Decision]:
        """The refusals that follow from shapes, selectors and plans alone."""
        refusals = []
        for position, pass_ in enumerate(self.passes):
            answer: Pass | Preview | Refusal = self.plans.of(position, pass_, site)
            answer = answer.preview(site.shape, site) if isinstance(answer, Pass) else answer
            if isinstance(answer, Refusal):
                refusals.append(Decision(site.name, pass_.name, "", str(site.dtype), None, answer.reason))
        return refusals

    def _rewrite(self, weight: Dense, site: SiteInfo, inputs: Statistics | None) -> tuple[Term, list[Decision]]:
        """The new term of a weight (the weight itself when all refuse) and every answer."""
        term: Term = weight
        decisions: list[Decision] = []
        for position, pass_ in enumerate(self.passes):
            share = self.plans.of(position, pass_, site)
            if isinstance(share, Refusal):
                decisions.append(Decision(site.name, pass_.name, "", term.label, None, share.reason))
                continue
            term, found = self._passed(term, weight, share, site, inputs)
            decisions += [replace(decision, allotted=allotted(pass_, share)) for decision in found]
        return term, decisions

    def _passed(
        self, term: Term, weight: Dense, pass_: Pass, site: SiteInfo, inputs: Statistics | None
    ) -> tuple[Term, list[Decision]]:
        """A term after one pass, and its answers for every leaf, for a factor that it coded several times the one that
        was taken.
        """
        answers: list[tuple[Term, Decision]] = []

        def answer(leaf: Leaf, path: str, flow: Statistics | None) -> Term:
            result, decision = self._apply(pass_, leaf, path, site, flow)
            answers.extend([(result, decision)] if decision is not None else [])
            return result

        now = term.map_leaves(lambda leaf, path: answer(leaf, path, inputs_at(term, path, inputs)))
        count = len(answers)
        best = refined(term, now, weight.values, inputs, answer)
        if best is now:
            return now, [decision for _, decision in answers[:count]]
        taken = {id(part) for part in parts(best)}
        if self.starts is not None:
            for dropped in (result for result, _ in answers if id(result) not in taken):
                self.starts.pop(dropped, None)
        of_parts = [decision for result, decision in answers if id(result) in taken]
        return best, sorted(of_parts, key=lambda decision: decision.leaf)

    def _apply(
        self, pass_: Pass, leaf: Leaf, path: str, site: SiteInfo, inputs: Statistics | None
    ) -> tuple[Term, Decision | None]:
        """The answer of a pass for one leaf, None when it is coded already."""
        if not isinstance(leaf, Dense):
            return leaf, None
        known = self._answers.setdefault(leaf, {})
        if pass_ not in known:
            known[pass_] = self._answer(pass_, leaf, site, inputs)
        result = known[pass_]
        if isinstance(result, Refusal):
            return leaf, Decision(site.name, pass_.name, path, leaf.label, None, result.reason)
        if self.starts is not None:
            self.starts[result] = leaf.values
        error = relative_error(result, leaf.values)
        seen = inputs.output_error(result, leaf.values) if inputs is not None else None
        return result, Decision(site.name, pass_.name, path, leaf.label, result.label, error=error, output_error=seen)

    def _answer(self, pass_: Pass, leaf: Dense, site: SiteInfo, inputs: Statistics | None) -> Term | Refusal:
        """That of a pass, unless the target cannot take it or it saves neither bytes nor work."""
        foreseen = pass_.preview(leaf.shape, site)
        result = foreseen if isinstance(foreseen, Refusal) else pass_.fit(leaf, site, inputs)
        if isinstance(result, Refusal):
            return result
        unfit = self.target.refuses(result, site.rows) if site.multiplied else None
        if unfit is not None:
            return Refusal(unfit)
        size = self.target.nbytes_at(result, site)
        if size >= leaf.nbytes and result.work >= leaf.work:
            return Refusal(f"would take {size:,} bytes instead of {leaf.nbytes:,}")
        return result


def _errors(
    term: Term, weight: Dense, decisions: Sequence[Decision], inputs: Statistics | None
) -> tuple[float | None, float | None]:
    """Those of a whole weight and of its outputs, which are known already where one pass alone changed it."""
    applied = [decision for decision in decisions if decision.after is not None]
    if len(applied) == 1:
        return applied[0].error, applied[0].output_error
    output_error = inputs.output_error(term, weight.values) if inputs is not None else None
    return relative_error(term, weight.values), output_error
