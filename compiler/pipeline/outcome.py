"""What the passes made of one weight, before it is written into the model and after."""

from __future__ import annotations

from dataclasses import dataclass, replace

from regc.compiler.filters import activities
from regc.compiler.passes import Decision
from regc.compiler.records import TRAINED, Recovered, SiteRecord, Speed
from regc.compiler.sites import Site
from regc.compiler.target import Target
from regc.compiler.terms import Float32, Term, relative_error


@dataclass(frozen=True)
class Outcome:
    """A weight, its new term (None: untouched), and the answers that led to it; the rest is as in the record.

    ``offset`` float32 ``[N]`` is to be added to the bias behind it.
    """

    site: Site
    term: Term | None
    decisions: tuple[Decision, ...]
    error: float | None = None
    output_error: float | None = None
    unseen: str = ""
    recovery: str = ""
    speed: Speed | None = None
    offset: Float32 | None = None

    @property
    def name(self) -> str:
        """The weight's."""
        return self.site.info.name

    def nbytes(self, target: Target) -> int:
        """Bytes of the weight, as it will be stored."""
        return self.site.nbytes if self.term is None else target.nbytes_at(self.term, self.site.info)

    def refused(self, reason: str) -> Outcome:
        """The weight left as it came."""
        return Outcome(self.site, None, (Decision(self.name, "", "", "", None, reason),))

    def recovered(self, term: Term | None, recovered: Recovered) -> Outcome:
        """With the term that recovery left, if it trained this one, and without an offset if it trained biases."""
        offset = None if recovered.worth else self.offset
        if term is None or term is self.term:
            trained = self.name in recovered.dense and recovered.worth
            words = TRAINED if trained else recovered.left.get(self.name, "")
            return replace(self, recovery=words, offset=offset)
        error = relative_error(term, self.site.load().values)
        return replace(self, term=term, error=error, output_error=None, recovery=TRAINED, offset=offset)

    def record(self, emitted: str, target: Target) -> SiteRecord:
        """What is told of the weight, once it is ``emitted``."""
        before = str(self.site.info.dtype)
        return SiteRecord(
            info=self.site.info,
            before=before,
            after=before if self.term is None else self.term.label,
            nbytes_before=self.site.nbytes,
            nbytes_after=self.nbytes(target),
            error=self.error,
            output_error=self.output_error,
            unseen=self.unseen,
            activities=() if self.term is None else tuple(activities(self.term)),
            recovery=self.recovery,
            speed=self.speed,
            emitted=emitted,
            decisions=self.decisions,
            aliases=self.site.aliases,
        )
