"""How the pass manager hears of what flows into the weights of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from regc.compiler.model import Model
from regc.compiler.sites import Site
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Float32, Term

MEMORY = 2 << 30
"""Bytes that statistics may take at a time, by default."""
Wanted = Sequence[tuple[Site, frozenset[Need]]]
"""Weights in the order in which they are compressed, and what passes need of each."""


class Inflows(Protocol):
    """What flows into the weights of one model, asked for one after the other."""

    def of(self, site: Site) -> Statistics | str:
        """The statistics, or why there are none, in words; no words where none were wanted."""

    def put(self, site: Site, term: Term, offset: Float32 | None = None) -> None:
        """Hear what became of a weight, and what is now added behind, float32 ``[N]``; those after it may then see its
        outputs as they are now.
        """

    def original(self) -> AbstractContextManager[Original]:
        """What is known before any weight is changed, to look through all of them first."""


class Original(Protocol):
    """What is known of the weights of a model that is as it came."""

    def of(self, site: Site) -> Statistics | str:
        """The statistics, or why there are none, in words; no words where none were wanted."""

    def effect(self, site: Site, matrix: Float32) -> float | None:
        """``||y' - y|| / ||y||`` over outputs y of the model when this weight alone has another matrix ``[N, K]``; None
        where that is not known.
        """


Calibrate = Callable[[Model, Wanted], Inflows]
"""Called once, before the first weight is changed."""


@dataclass(frozen=True)
class Known:
    """Statistics that are there already, by the names of weights."""

    statistics: Mapping[str, Statistics]

    def of(self, site: Site) -> Statistics | str:  # noqa: D102
        return self.statistics.get(site.info.name) or ""

    def put(self, site: Site, term: Term, offset: Float32 | None = None) -> None:
        """They stay as they are."""

    def original(self) -> AbstractContextManager[Original]:  # noqa: D102
        return nullcontext(self)

    def effect(self, site: Site, matrix: Float32) -> float | None:  # noqa: D102
        return None


@dataclass(frozen=True)
class Nothing:
    """No calibration: nothing is known, and nobody has asked for it."""

    def of(self, site: Site) -> Statistics | str:  # noqa: D102
        return ""

    def put(self, site: Site, term: Term, offset: Float32 | None = None) -> None:
        """Nothing to do."""

    def original(self) -> AbstractContextManager[Original]:  # noqa: D102
        return nullcontext(self)

    def effect(self, site: Site, matrix: Float32) -> float | None:  # noqa: D102
        return None


@dataclass(frozen=True)
class Fitting:
    """What flows into the weights of a model from which units were removed, of statistics that may be older."""

    inflows: Inflows

    def of(self, site: Site) -> Statistics | str:
        """The statistics, unless they are of inputs that are gone."""
        return _fitting(site, self.inflows.of(site))

    def put(self, site: Site, term: Term, offset: Float32 | None = None) -> None:  # noqa: D102
        self.inflows.put(site, term, offset)

    @contextmanager
    def original(self) -> Iterator[Original]:  # noqa: D102
        with self.inflows.original() as original:
            yield _FittingOriginal(original)


@dataclass(frozen=True)
class _FittingOriginal:
    inner: Original

    def of(self, site: Site) -> Statistics | str:
        return _fitting(site, self.inner.of(site))

    def effect(self, site: Site, matrix: Float32) -> float | None:
        return self.inner.effect(site, matrix)


def _fitting(site: Site, found: Statistics | str) -> Statistics | str:
    if isinstance(found, str) or len(found.mean) == site.info.shape[1]:
        return found
    return "units were removed since its inputs were measured; calibrate by the inputs themselves"
