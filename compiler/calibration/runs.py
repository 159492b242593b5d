"""Runs of a model over all feeds, as it is now and as it came, that go on from where the last one stopped.

In sequential mode every run differs from the last in a few weights. What comes before them in the model stays as it is:
the tensors at a cut behind it are kept, as memory allows, and the next run begins there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from regc.compiler.calibration.probe import Probe
from regc.compiler.calibration.taps import Tap
from regc.compiler.errors import RegcError
from regc.compiler.feeds.inputs import Feed, Input, inputs_of
from regc.compiler.feeds.sources import Feeds
from regc.compiler.model.storage import Array
from regc.compiler.verify.running import OK, Runner, first_line, library_status, run


class NotLoadedError(Exception):
    """ONNX Runtime does not load the model that gives tensors out."""


class Ran(NamedTuple):
    """What came of one feed: the tensors of all taps as they are now, and as they were before (none: not asked for)."""

    feed: Feed
    now: dict[Tap, Array]
    before: dict[Tap, Array]


@dataclass
class Stop:
    """Where a run stopped: for each feed, tensors at a cut by name, as they are now and as they were before."""

    feeds: list[Feed] = field(default_factory=list)
    now: list[Feed] = field(default_factory=list)
    before: list[Feed] = field(default_factory=list)
    nbytes: int = 0

    def add(self, feed: Feed, now: Feed, before: Feed) -> None:
        """Keep what came of one more feed."""
        self.feeds.append(feed)
        self.now.append(now)
        self.before.append(before)
        self.nbytes += sum(array.nbytes for arrays in (feed, now, before) for array in arrays.values())

    @property
    def types(self) -> dict[str, np.dtype[Any]]:
        """The types of the tensors, by name."""
        return {name: array.dtype for name, array in self.now[0].items()}


@dataclass
class Runs:
    """Runs of two probes over feeds; ``before`` is of the model as it came, None where nobody asks for that."""

    now: Probe
    before: Probe | None
    feeds: Feeds
    threads: int | None
    stop: Stop | None = None

    def over(self, taps: Sequence[Tap], cut: Sequence[str], room: int, *, paired: bool) -> Iterator[Ran]:
        """Run all feeds. The tensors at ``cut``, by name, are kept for the next run if that takes ``room`` bytes at
        most, together with what was kept before. ``paired`` asks for the model as it came, too.

        Raises:
            NotLoadedError: ONNX Runtime does not load a model.
            RegcError: it fails on a feed.
        """
        with ExitStack() as stack:
            sessions, asked = self._opened(taps, cut, stack, paired)
            new = Stop() if cut and asked is not None else None
            for count, (feed, now, before) in enumerate(self._begin(sessions[0])):
                try:
                    given, kept = _run(sessions[0], feed | now, taps, asked or [])
                    earlier, old = _run(sessions[1], feed | before, taps, asked or []) if paired else ({}, kept)
                except Exception as error:
                    raise RegcError(
                        f"the model cannot be run on feed {count} of {self.feeds.words} ({first_line(error)})"
                    ) from error
                if new is not None:
                    new.add(feed, *({name: both[name] for name in cut} for both in (now | kept, before | old)))
                    new = new if new.nbytes + (self.stop.nbytes if self.stop else 0) <= room else None
                yield Ran(feed, given, earlier)
        self.stop = new if new is not None and new.feeds else self.stop

    def count(self) -> int | None:
        """How many feeds there are, where a run has told."""
        return len(self.stop.feeds) if self.stop is not None else None

    def _begin(self, session: Any) -> Iterator[tuple[Feed, Feed, Feed]]:
        """Each feed with what is given at the last cut."""
        if self.stop is None:
            return ((feed, {}, {}) for feed in self.feeds.of(inputs_of(session)))
        return zip(self.stop.feeds, self.stop.now, self.stop.before, strict=True)

    def _opened(
        self, taps: Sequence[Tap], cut: Sequence[str], stack: ExitStack, paired: bool
    ) -> tuple[list[Any], list[str] | None]:
        """Sessions of one or both models, and the tensors that they give out for the next cut, None for no cut."""
        given = self.stop.types if self.stop is not None else {}
        asked = [name for name in cut if name not in given]
        probes = [self.now, *([self.before] if self.before is not None and paired else [])]
        try:
            sessions = [self._open(probe.written(taps, asked, given), stack) for probe in probes]
        except NotLoadedError:
            if not asked and not given:
                raise
            self.stop = None  # a cut is for speed only
            return [self._open(probe.written(taps), stack) for probe in probes], None
        kinds = [Input(output.name, output.type, ()) for output in sessions[0].get_outputs()[len(taps) :]]
        if all(kind.dtype is not None for kind in kinds):
            return sessions, asked
        return [self._open(probe.written(taps, (), given), stack) for probe in probes], None

    def _open(self, written: Any, stack: ExitStack) -> Any:
        path = stack.enter_context(written)
        try:
            return Runner(threads=self.threads).open(path, library_status() == OK)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise NotLoadedError(first_line(error)) from error


def _run(session: Any, feed: Feed, taps: Sequence[Tap], asked: Sequence[str]) -> tuple[dict[Tap, Array], Feed]:
    values = run(session, feed)
    return dict(zip(taps, values, strict=False)), dict(zip(asked, values[len(taps) :], strict=True))
