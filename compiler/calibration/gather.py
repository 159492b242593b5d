"""Statistics of what flows into the weights of a model, gathered by running it on calibration inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest

import numpy as np

from regc.compiler.calibration.effects import Effects
from regc.compiler.calibration.inlets import Effort, Inlet, Taps
from regc.compiler.calibration.probe import Probe
from regc.compiler.calibration.rows import Mask, mask_of
from regc.compiler.calibration.runs import NotLoadedError, Ran, Runs
from regc.compiler.calibration.stages import Cuts, upstream
from regc.compiler.calibration.tally import Tally
from regc.compiler.calibration.taps import Tap, inflow
from regc.compiler.errors import RegcError, UsageError
from regc.compiler.feeds.sources import Feeds
from regc.compiler.inflows import MEMORY, Original
from regc.compiler.model import Model
from regc.compiler.model.storage import Array
from regc.compiler.records import Progress
from regc.compiler.report import text
from regc.compiler.sites import Site
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Float32, Term


@dataclass(frozen=True)
class Options:
    """How statistics are gathered.

    ``mask`` names an input of integers or booleans, ``[batch, sequence]``: where it is 0, rows do not count. ``memory``
    is how many bytes the statistics may take at a time, with what is kept of a run for the next; where they would take
    more, the inputs are run several times.
    ``sequential`` lets a weight see what comes out of the already compressed part of the model, beside what came before
    anything was compressed; ``seed`` chooses the rows that are kept for quantiles.
    """

    mask: str | None = None
    memory: int = MEMORY
    sequential: bool = False
    seed: int = 0
    threads: int | None = None


@dataclass
class Gathering:
    """The statistics of one model, gathered group by group as they are asked for, in the order of its weights.

    ``wanted`` has what is needed of each weight. The model must be as it came when this is made.

    Raises:
        UsageError: calibration inputs or a mask that do not fit the model.
        RegcError: the model cannot be run on them.
    """

    model: Model
    wanted: Sequence[tuple[Site, frozenset[Need]]]
    feeds: Feeds
    options: Options
    callback: Callable[[Progress], None] = lambda progress: None
    effort: Effort = field(default_factory=Effort)

    def __post_init__(self) -> None:
        sites = [site for site, _ in self.wanted]
        self._probe = Probe(self.model, sites)
        self._before = Probe(self.model, sites) if self.options.sequential else None
        self._changed = False
        depends = upstream(self.model.graph, sites)
        self._cuts = Cuts(self.model.graph, depends)
        self._runs = Runs(self._probe, self._before, self.feeds, self.options.threads)
        self._inlets = [self._inlet(i, site, needs, depends) for i, (site, needs) in enumerate(self.wanted)]
        self._index = {id(inlet.site): index for index, inlet in enumerate(self._inlets)}
        self._found: dict[Taps, Statistics | str] = {}

    def of(self, site: Site) -> Statistics | str:
        """What flows into a weight, or why that is not known; no words where nothing was wanted of it."""
        index = self._index.get(id(site))
        if index is None or not self._inlets[index].needs:
            return ""
        inlet = self._inlets[index]
        if inlet.taps and inlet.taps not in self._found:
            self._found = {}  # let go of the old group before the new one takes its place in memory
            settled = (1 << index) - 1 if self.options.sequential else 0
            self._found = self._gathered(self._group(index), self._cuts.at(settled))
        return self._found[inlet.taps] if inlet.taps else inlet.reason

    def put(self, site: Site, term: Term, offset: Float32 | None = None) -> None:
        """Tell what became of a weight, and what is added behind."""
        if self.options.sequential and id(site) in self._index:
            self._probe.compress(site, term, offset)
            self._changed = True

    @contextmanager
    def original(self) -> Iterator[Original]:
        """What is known as long as no weight is changed, gathered in as few runs as memory allows."""
        seen = replace(self, options=replace(self.options, sequential=False)) if self.options.sequential else self
        with ExitStack() as stack:
            yield _Original(
                seen, Effects(self.model, seen._probe, self.feeds, self.options.mask, self.options.threads, stack)
            )

    def _inlet(self, index: int, site: Site, needs: frozenset[Need], depends: Mapping[int, int]) -> Inlet:
        found = inflow(site)
        taps = frozenset(tap for tap in found.taps if self._probe.sees(tap))
        reasons = list(found.reasons)
        if len(taps) < len(found.taps):
            reasons.append("it is inside a function that the model calls")
        bits = 0
        for tap in taps:
            bits |= depends.get(id(tap.tensor), 0)
        inlet = Inlet(
            site, taps, needs, "; ".join(reasons) or "nothing multiplies it", bits, 1 << index, self.options.sequential
        )
        if "gram" in needs and inlet.nbytes > self.options.memory:
            return replace(inlet, needs=needs - {"gram"} | {"moments"})
        return inlet

    def _group(self, start: int) -> dict[Taps, Inlet]:
        """As many weights, from this one on, as fit into memory and can be seen at the same time."""
        group: dict[Taps, Inlet] = {}
        nbytes = bits = 0
        for inlet in self._inlets[start:]:
            if self.options.sequential and inlet.upstream & bits:
                break
            bits |= inlet.bit
            if not inlet.taps or not inlet.needs:
                continue
            same = group.get(inlet.taps)
            joined = replace(inlet, needs=inlet.needs | same.needs) if same is not None else inlet
            nbytes += joined.nbytes - (same.nbytes if same is not None else 0)
            if nbytes > self.options.memory and group:
                break
            group[inlet.taps] = joined
        self.effort.nbytes = max(self.effort.nbytes, sum(inlet.nbytes for inlet in group.values()))
        return group

    def _gathered(self, group: Mapping[Taps, Inlet], cut: Sequence[str]) -> dict[Taps, Statistics | str]:
        begin = time.perf_counter()
        seed = self.options.seed
        tallies = {t: Tally(inlet.inputs, inlet.needs, seed, paired=self._changed) for t, inlet in group.items()}
        self._room = self.options.memory - sum(inlet.nbytes for inlet in group.values())
        lost = self._run(tallies, cut)
        self.effort.runs += 1
        self.effort.tensors += len(tallies)
        self.effort.rows = max(self.effort.rows, *(tally.count for tally in tallies.values()))
        self.effort.seconds += time.perf_counter() - begin
        return {taps: lost.get(taps) or _result(tally) for taps, tally in tallies.items()}

    def _run(self, tallies: Mapping[Taps, Tally], cut: Sequence[str]) -> dict[Taps, str]:
        """Count all feeds in; the answer says which tensors could not be given out, and why."""
        taps = list(dict.fromkeys(tap for several in tallies for tap in several))
        try:
            self._feed(taps, tallies, cut)
        except NotLoadedError as error:
            outside = [tap for tap in taps if not self._probe.inside(tap)]
            if len(outside) == len(taps):
                raise RegcError(
                    f"{self.model.path or 'the model'}: ONNX Runtime cannot load it to gather statistics ({error})"
                ) from error
            lost = {several for several in tallies if any(self._probe.inside(tap) for tap in several)}
            if outside:
                self._feed(outside, {several: tally for several, tally in tallies.items() if several not in lost}, cut)
            return dict.fromkeys(lost, f"ONNX Runtime does not give it out of its body ({error})")
        return {}

    def _feed(self, taps: Sequence[Tap], tallies: Mapping[Taps, Tally], cut: Sequence[str]) -> None:
        fitted, count = False, 0
        words = text.count(len(taps), "tensor")
        for count, ran in enumerate(self._runs.over(taps, cut, self._room, paired=self._changed), 1):
            self.callback(Progress("calibrate", count, self._runs.count() or 0, words))
            fitted |= self._count(ran, mask_of(ran.feed, self.options.mask), tallies)
        self.effort.feeds = count
        if not count:
            raise UsageError(f"{self.feeds.words}: holds no feed; give at least one")
        if self.options.mask is not None and not fitted:
            raise UsageError(f"--mask {self.options.mask}: no tensor that flows into a weight begins with its axes")

    def _count(self, ran: Ran, mask: Mask | None, tallies: Mapping[Taps, Tally]) -> bool:
        fitted = False
        for several, tally in tallies.items():
            for tap in several & ran.now.keys():
                repeats = self._probe.repeats(tap)
                now, then = (_runs(arrays[tap], repeats) if tap in arrays else [] for arrays in (ran.now, ran.before))
                for tensor, old in zip_longest(now, then[: len(now)]):
                    fitted |= mask is not None and tap.rows.fits(tensor, mask)
                    old_rows = tap.rows.of(old, mask) if old is not None else iter(())
                    for rows in tap.rows.of(tensor, mask):
                        tally.add(rows, next(old_rows, None))
        return fitted


@dataclass(frozen=True)
class _Original:
    """The statistics of the original model, and the effects of its weights."""

    gathering: Gathering
    effects: Effects

    def of(self, site: Site) -> Statistics | str:
        return self.gathering.of(site)

    def effect(self, site: Site, matrix: Float32) -> float | None:
        return self.effects.of(site, matrix)


def _runs(array: Array, repeats: int) -> Sequence[Array]:
    """The tensors of each run of the loops that a tensor is in; none where it was not computed at all."""
    if not array.size:
        return []
    return list(array.reshape(-1, *array.shape[repeats:])) if repeats else [array]


def _result(tally: Tally) -> Statistics | str:
    if not tally.count:
        return "the calibration inputs never reach it"
    found = tally.result()
    return found if np.isfinite(found.second_moment).all() else "calibration rows hold NaN or infinite values"
