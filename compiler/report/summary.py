"""What many records have in common, so that a report of 300 weights stays readable."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from regc.compiler.report import text

if TYPE_CHECKING:
    from regc.compiler.passes import Decision
    from regc.compiler.records import SiteRecord

MANY = 30
"""Changed weights above which those that are alike share a row."""
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, keys in the order in which they first come."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def refused(records: Sequence[SiteRecord]) -> list[tuple[str, list[SiteRecord]]]:
    """The untouched weights by reason, the reason that costs most bytes first."""
    groups = grouped((record for record in records if not record.changed), lambda record: record.reason)
    return sorted(groups.items(), key=lambda group: -sum(record.nbytes_before for record in group[1]))


def unseen(records: Sequence[SiteRecord]) -> list[tuple[str, list[SiteRecord]]]:
    """The changed weights that were fitted blindly though a pass would have used statistics, by reason."""
    blind = (record for record in records if record.changed and record.unseen)
    return list(grouped(blind, lambda record: record.unseen).items())


def alike(records: Sequence[SiteRecord]) -> list[list[SiteRecord]]:
    """The changed weights in groups of equal shape, type, new term and emission."""
    changed = (record for record in records if record.changed)
    return list(grouped(changed, lambda r: (r.info.shape, r.before, r.after, r.emitted)).values())


def in_rows(records: Sequence[SiteRecord], full: bool = False) -> list[list[SiteRecord]]:
    """The changed weights as the rows of a table: one each, or those alike together where there are many."""
    changed = [record for record in records if record.changed]
    return [[record] for record in changed] if full or len(changed) <= MANY else alike(records)


def emissions(records: Sequence[SiteRecord]) -> list[tuple[str, int]]:
    """How often each way of computing a changed weight was emitted."""
    groups = grouped((record for record in records if record.changed), lambda record: record.emitted)
    return sorted(((way, len(group)) for way, group in groups.items()), key=lambda pair: -pair[1])


@dataclass(frozen=True)
class PassSummary:
    """What one pass did: how many weights it changed, and the names of those it refused, by reason, most
    first. ``factors`` counts what it changed and saw where that were factors of weights, no whole weight.
    """

    name: str
    changed: int
    refused: tuple[tuple[str, tuple[str, ...]], ...]
    factors: tuple[int, int] | None = None

    @property
    def asked(self) -> int:
        """How many weights the pass saw."""
        return self.changed + len({name for _, names in self.refused for name in names})

    @property
    def words(self) -> str:
        """``8 of 22 weights``, ``0 of 1 remaining factor``, or why there was nothing for the pass to do."""
        if not self.asked:
            return "none: there was no float weight for it, or the passes before it left none"
        if self.factors is not None:
            return f"{self.factors[0]} of {text.count(self.factors[1], 'remaining factor')}"
        return f"{self.changed} of {text.count(self.asked, 'weight')}"


def by_pass(records: Sequence[SiteRecord], pipeline: str) -> list[PassSummary]:
    """A summary for each pass of a pipeline, also for one that was left nothing. A weight changed in part
    counts as changed.
    """
    decisions = grouped(
        (decision for record in records for decision in record.decisions), lambda decision: decision.pass_name
    )
    names = re.sub(r"\{.*?\}", "", pipeline).split(",")
    return [_summary(name, decisions.get(name, [])) for name in dict.fromkeys(name.strip() for name in names)]


def _summary(name: str, decisions: Sequence[Decision]) -> PassSummary:
    changed = {decision.site for decision in decisions if decision.after is not None}
    reasons = grouped((d for d in decisions if d.site not in changed), lambda decision: decision.reason or "")
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    named = tuple((reason, tuple(dict.fromkeys(d.site for d in group))) for reason, group in ordered)
    factors = None
    if decisions and all(decision.leaf for decision in decisions):
        factors = sum(decision.after is not None for decision in decisions), len(decisions)
    return PassSummary(name, len(changed), named, factors)
