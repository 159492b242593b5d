"""Whether a small model gets any smaller: the definitions of our operators become part of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regc.compiler.lower import Lowering
from regc.compiler.model import Model, from_proto
from regc.compiler.model.writer import PROTOBUF_LIMIT
from regc.compiler.pipeline.outcome import Outcome
from regc.compiler.sites import Scopes, Site, find_sites
from regc.compiler.target import Target
from regc.compiler.terms import Term
from regc.runtime_ops import ops

SMALL = 1 << 20
"""Bytes of weights below which that is asked. The definitions of all operators together take less than a tenth."""


def is_small(model: Model, sites: Sequence[Site]) -> bool:
    """Whether to ask. What else the model holds is copied for the answer, so it must fit into one message."""
    return sum(site.nbytes for site in sites) < SMALL and model.nbytes < PROTOBUF_LIMIT


def paying(outcomes: Sequence[Outcome], model: Model, target: Target) -> list[Outcome]:
    """The outcomes, all turned into refusals when the operators' definitions would outweigh what is saved.

    Not so where one of the terms is there to save work at run time.
    """
    terms = {outcome.name: outcome.term for outcome in outcomes if outcome.term is not None}
    if not all(term.linear for term in terms.values()):
        return list(outcomes)
    saved = sum(outcome.site.nbytes - outcome.nbytes(target) for outcome in outcomes)
    functions = ops.functions(_used(model, terms, target), model.opset, target.operators(model.opset))
    bodies = sum(body.ByteSize() for body in functions)
    if saved > bodies:
        return list(outcomes)
    reason = f"all weights together would save {saved:,} bytes, less than the {bodies:,} of the operators' definition"
    return [outcome if outcome.term is None else outcome.refused(reason) for outcome in outcomes]


def _used(model: Model, terms: Mapping[str, Term], target: Target) -> set[str]:
    """The operators of ours that terms need: which, depends on all that reads the weights, so it is tried on a copy."""
    copy = from_proto(model.to_proto(), model.folder)
    scopes = Scopes(copy.graph)
    lowering = Lowering(copy, scopes, target)
    for site in find_sites(copy, scopes):
        if site.info.name in terms:
            lowering.lower(site, terms[site.info.name])
    return lowering.operands.operators
