"""The pass manager, which takes weights through the passes one by one, and :func:`compile_model` around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regc.compiler.errors import UsageError
from regc.compiler.lower import Lowering
from regc.compiler.model import Model, from_proto, load, save
from regc.compiler.passes import Decision, Pass, Refusal, SiteInfo
from regc.compiler.select import Selection
from regc.compiler.sites import Scopes, Site, find_sites
from regc.compiler.spec import format_passes, parse_passes
from regc.compiler.terms import Coded, Dense, Leaf, Term, relative_error
from regc.runtime_ops import ops

if TYPE_CHECKING:
    import onnx

    from regc.compiler.model import SavedFiles
    from regc.compiler.report import Report

SMALL = 1 << 20
"""Bytes of weights below which the bodies of our operators may outweigh what is saved: worked out first."""


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is: ``done`` of ``total`` (bytes or items) of a stage, now at ``item``."""

    stage: str
    done: int
    total: int
    item: str


@dataclass(frozen=True)
class SiteRecord:
    """One weight of a model and what became of it.

    ``before`` and ``after`` are labels of terms, equal when nothing was done; bytes count all stored copies.
    ``error`` is ``||W - W'|| / ||W||`` of the whole weight, None when it is untouched. ``emitted`` tells by what it
    is computed now.
    """

    info: SiteInfo
    before: str
    after: str
    nbytes_before: int
    nbytes_after: int
    error: float | None
    emitted: str
    decisions: tuple[Decision, ...]
    aliases: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any pass took the weight."""
        return self.error is not None

    @property
    def reason(self) -> str:
        """Why nothing was done, in words; empty when something was."""
        words = dict.fromkeys(f"{d.pass_name}: {d.reason}" if d.pass_name else d.reason for d in self.decisions)
        return "" if self.changed else "; ".join(map(str, words))


class PassManager:
    """Runs passes over the weights of a model, in order.

    ``include`` and ``exclude`` are selectors (see :mod:`regc.compiler.select`) for all passes. ``callback`` hears of
    progress.

    Raises:
        UsageError: no pass, or a structural pass (such as low-rank) after one that leaves only codes.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        callback: Callable[[Progress], None] | None = None,
    ) -> None:
        if not passes:
            raise UsageError("a pipeline needs at least one pass; see: regc passes")
        self.passes = tuple(passes)
        self.selection = Selection(tuple(include), tuple(exclude))
        self.callback = callback or (lambda progress: None)
        self._check_order()

    def _check_order(self) -> None:
        for position, later in enumerate(self.passes):
            for earlier in self.passes[:position]:
                partial = earlier.include or earlier.exclude
                if later.structural and not earlier.structural and not partial:
                    raise UsageError(
                        f"{later.name} cannot follow {earlier.name}: it needs float weights and {earlier.name} leaves "
                        f"codes; put {later.name} first, or give {earlier.name} an include or exclude"
                    )

    def rewrite(self, weight: Dense, site: SiteInfo) -> tuple[Term, list[Decision]]:
        """Take one weight through all passes: its new term (the weight itself when all refuse) and every answer."""
        term: Term = weight
        decisions: list[Decision] = []
        for pass_ in self.passes:
            reason = Selection(pass_.include, pass_.exclude).refuses(site)
            if reason is not None:
                decisions.append(Decision(site.name, pass_.name, "", term.label, None, reason))
                continue

            def apply(leaf: Leaf, path: str, pass_: Pass = pass_) -> Term:
                return _apply(pass_, leaf, path, site, decisions)

            term = term.map_leaves(apply)
        return term, decisions

    def run(self, model: Model) -> list[SiteRecord]:
        """Rewrite the weights of a model in place.

        Raises:
            UsageError: a selector that matches no weight.
        """
        if model.opaque:
            return []
        scopes = Scopes(model.graph)
        sites = find_sites(model, scopes)
        infos = [site.info for site in sites]
        for selection in (self.selection, *(Selection(p.include, p.exclude) for p in self.passes)):
            selection.check(infos)
        results = self._terms(sites)
        if sum(site.nbytes for site in sites) < SMALL:
            results = iter(_paying(list(results), model.opset))
        lowering = Lowering(model, scopes)
        records = [self._record(result, lowering) for result in results]
        model.add_functions(ops.functions(lowering.operands.operators, model.opset))
        return records

    def _terms(self, sites: list[Site]) -> Iterator[_Result]:
        total, done = sum(site.nbytes for site in sites), 0
        for site in sites:
            self.callback(Progress("compress", done, total, site.info.name))
            yield self._term(site)
            done += site.nbytes
        self.callback(Progress("compress", total, total, ""))

    def _term(self, site: Site) -> _Result:
        reason = site.refusal or self.selection.refuses(site.info)
        if reason is not None:
            return _Result(site, None, [Decision(site.info.name, "", "", str(site.info.dtype), None, reason)])
        refusals = self._foreseen(site.info)
        if len(refusals) == len(self.passes):
            return _Result(site, None, refusals)
        weight = site.load()
        if not np.isfinite(weight.values).all():
            decision = Decision(site.info.name, "", "", weight.label, None, "holds NaN or infinite values")
            return _Result(site, None, [decision])
        term, decisions = self.rewrite(weight, site.info)
        if term is weight:
            return _Result(site, None, decisions)
        applied = [decision.error for decision in decisions if decision.after is not None]
        whole = applied[0] if len(applied) == 1 else relative_error(term, weight.values)
        return _Result(site, term, decisions, whole)

    def _foreseen(self, site: SiteInfo) -> list[Decision]:
        """The refusals that follow from shapes and selectors alone, so that the weight need not be read."""
        refusals = []
        for pass_ in self.passes:
            preview = pass_.preview(site.shape, site)
            reason = Selection(pass_.include, pass_.exclude).refuses(site)
            reason = reason or (preview.reason if isinstance(preview, Refusal) else None)
            if reason is not None:
                refusals.append(Decision(site.name, pass_.name, "", str(site.dtype), None, reason))
        return refusals

    def _record(self, result: _Result, lowering: Lowering) -> SiteRecord:
        site, term = result.site, result.term
        emitted = lowering.lower(site, term) if term is not None else ""
        return SiteRecord(
            info=site.info,
            before=str(site.info.dtype),
            after=term.label if term is not None else str(site.info.dtype),
            nbytes_before=site.nbytes,
            nbytes_after=term.nbytes if term is not None else site.nbytes,
            error=result.error,
            emitted=emitted,
            decisions=tuple(result.decisions),
            aliases=site.aliases,
        )


@dataclass
class _Result:
    """A weight, its new term (None: untouched), and the answers that led to it."""

    site: Site
    term: Term | None
    decisions: list[Decision]
    error: float | None = None


def _apply(pass_: Pass, leaf: Leaf, path: str, site: SiteInfo, decisions: list[Decision]) -> Term:
    """Let a pass answer for one leaf; what does not shrink it is not applied."""
    if not isinstance(leaf, Dense):
        return leaf
    answer = pass_.preview(leaf.shape, site)
    result = answer if isinstance(answer, Refusal) else pass_.fit(leaf, site)
    if not isinstance(result, Refusal) and result.nbytes >= leaf.nbytes:
        result = Refusal(f"would take {result.nbytes:,} bytes instead of {leaf.nbytes:,}")
    if isinstance(result, Refusal):
        decisions.append(Decision(site.name, pass_.name, path, leaf.label, None, result.reason))
        return leaf
    error = relative_error(result, leaf.values)
    decisions.append(Decision(site.name, pass_.name, path, leaf.label, result.label, error=error))
    return result


def _paying(results: list[_Result], opset: int) -> list[_Result]:
    """The results, all turned into refusals when the bodies of the operators would outweigh what is saved."""
    terms = [result.term for result in results if result.term is not None]
    names = {
        _operator(leaf, r.site.info, opset)
        for r in results
        if r.term
        for leaf in r.term.leaves()
        if isinstance(leaf, Coded)
    }
    bodies = sum(body.ByteSize() for body in ops.functions(names, opset))
    saved = sum(result.site.nbytes - result.term.nbytes for result in results if result.term is not None)
    if not terms or saved > bodies:
        return results
    reason = f"all weights together would save {saved:,} bytes, less than the {bodies:,} of the operators' definition"
    return [
        _Result(r.site, None, [Decision(r.site.info.name, "", "", "", None, reason)]) if r.term else r for r in results
    ]


def _operator(leaf: Coded, site: SiteInfo, opset: int) -> str:
    return leaf.matmul if site.multiplied and ops.OPERATORS[leaf.matmul].since_opset <= opset else leaf.decoder


@dataclass
class CompileResult:
    """What :func:`compile_model` gives back: the rewritten model and the record of every weight."""

    model: Model
    records: list[SiteRecord]
    pipeline: str
    seconds: float
    callback: Callable[[Progress], None] = field(default=lambda progress: None, repr=False)

    @property
    def changed(self) -> bool:
        """Whether any weight was changed."""
        return any(record.changed for record in self.records)

    @property
    def report(self) -> Report:
        """The records as a report; ``str()`` of it is the table."""
        from regc.compiler.report import Report  # noqa: PLC0415 - the report needs rich, compiling does not

        return Report.of(self)

    def save(self, path: str | Path, *, external_data: bool | None = None) -> SavedFiles:
        """Write the model; see :func:`regc.compiler.model.save`."""
        return save(self.model, path, external_data=external_data)


def compile_model(
    model: str | Path | onnx.ModelProto | Model,
    passes: Sequence[Pass] | str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    callback: Callable[[Progress], None] | None = None,
) -> CompileResult:
    """Compress the weights of a model. The file or the proto given is never changed.

    ``passes`` are pass objects or their text, ``include`` and ``exclude`` selectors for all of them.

    Raises:
        ModelError: the model cannot be read.
        UsageError: a pass text, an option or a selector is wrong.
    """
    start = time.perf_counter()
    pipeline = parse_passes(passes) if isinstance(passes, str) else list(passes)
    manager = PassManager(pipeline, include=include, exclude=exclude, callback=callback)
    opened = _open(model)
    records = manager.run(opened)
    result = CompileResult(opened, records, format_passes(pipeline), time.perf_counter() - start, manager.callback)
    if result.changed:
        opened.metadata |= _metadata(opened, result.pipeline)
    return result


def _open(model: Any) -> Model:
    if isinstance(model, Model):
        return model
    return load(model) if isinstance(model, str | Path) else from_proto(model)


def _metadata(model: Model, pipeline: str) -> dict[str, str]:
    import importlib.metadata  # noqa: PLC0415

    values = {
        "regc.version": importlib.metadata.version("regc"),
        "regc.passes": pipeline,
        "regc.source_sha256": model.digest(),
    }
    return {key: value for key, value in values.items() if value}
