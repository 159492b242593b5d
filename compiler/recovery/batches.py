"""Calibration feeds as batches: samples of one shape are shuffled together where the model treats each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from regc.compiler.recovery.network import feeds_of

Inputs = dict[str, Tensor]
Mix = Callable[[Inputs, np.random.Generator], Inputs]
"""Makes other samples of some, in the same order."""
Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Piece = tuple[int, Indices]
"""The number of a group, and some of its samples."""
MEMORY = 1 << 30
"""Bytes that the teacher's tensors may take; with more they are computed anew for each batch."""
STEPS_AN_EPOCH = 8
"""Feeds that are no batches make at least so many steps, if they can."""


@dataclass(frozen=True)
class Batch:
    """What a model is fed, and what the teacher makes of it."""

    inputs: Inputs
    targets: list[Tensor]


@dataclass(frozen=True)
class Part:
    """A batch that is made when it is taken, by any thread, and its ``share`` of the samples of a step."""

    take: Callable[[], Batch]
    share: float


@dataclass(frozen=True)
class Batches:
    """Samples in groups of equal shape. A group that cannot be split counts as one sample.

    ``teacher`` runs the original; what it gives for all groups is kept in ``targets``, if there is room. ``mix`` makes
    other inputs to train on.
    """

    groups: tuple[Inputs, ...]
    train: tuple[Indices, ...]
    held_out: tuple[Indices, ...]
    split: bool
    batch: int
    teacher: Callable[[Inputs], list[Tensor]]
    targets: tuple[list[Tensor], ...] | None = None
    mix: Mix | None = None

    @classmethod
    def of(
        cls,
        feeds: Sequence[Mapping[str, Array]],
        held_out: Sequence[Mapping[str, Array]],
        teacher: Callable[[Inputs], list[Tensor]],
        *,
        split: bool,
        batch: int,
        mix: Mix | None = None,
    ) -> Batches:
        """Feeds to train on and those that are held out, as batches of at most ``batch`` samples.

        With none held out those to train on judge.
        """
        parts = [tuple(_grouped(part) if split else map(feeds_of, part)) for part in (feeds, held_out)]
        sizes = [[len(next(iter(group.values()))) if split else 1 for group in part] for part in parts]
        train, held = (tuple(np.arange(size) for size in part) for part in sizes)
        none = np.arange(0)
        batches = cls(
            (*parts[0], *parts[1]),
            (*train, *(none for _ in held)),
            (*(none for _ in train), *held) if held else train,
            split,
            batch,
            teacher,
            mix=mix,
        )
        return replace(batches, targets=batches._taught())

    def steps(self, rng: np.random.Generator, begin: int = 0, parts: int = 1) -> Iterator[list[Part]]:
        """What to train on, without end; a step may take several batches, or one in several ``parts``. The first
        ``begin`` steps are passed over.
        """
        for number, pieces in enumerate(self._pieces(rng)):
            mixed = [self.mix(self._inputs(*piece), rng) if self.mix is not None else None for piece in pieces]
            if number >= begin:
                cut = parts if len(pieces) < parts else 1
                share = 1 / len(pieces)
                yield [
                    p for piece, other in zip(pieces, mixed, strict=True) for p in self._cut(piece, other, cut, share)
                ]

    def _cut(self, piece: Piece, mixed: Inputs | None, parts: int, share: float) -> Iterator[Part]:
        """A batch with a share of a step, in at most so many parts; with ``mixed`` inputs in the place of its own."""
        group, chosen = piece
        places = _cut(np.arange(len(chosen)), -(-len(chosen) // parts)) if self.split else [np.arange(len(chosen))]
        for some in places:
            other = None if mixed is None else _rows(mixed, some) if self.split else mixed
            yield Part(partial(self._taken, group, chosen[some], other), share * len(some) / len(chosen))

    def _pieces(self, rng: np.random.Generator) -> Iterator[list[Piece]]:
        """What a step takes, without end."""
        count = sum(map(len, self.train))
        together = 1 if self.split else max(1, min(self.batch, count // STEPS_AN_EPOCH))
        while True:
            pieces = [
                (group, chosen)
                for group, indices in enumerate(self.train)
                for chosen in _cut(rng.permutation(indices), self.batch)
            ]
            order = rng.permutation(len(pieces))
            for start in range(0, len(order), together):
                yield [pieces[index] for index in order[start : start + together]]

    def judging(self) -> Iterator[Batch]:
        """The held-out samples, and once more as training mixes them.

        Passes and training both go by words that the calibration inputs have: those they lack are judged, too.
        """
        for group, chosen in self._kept:
            yield self._taken(group, chosen)
        yield from self._mixed

    @property
    def _kept(self) -> list[Piece]:
        return [(group, chosen) for group, kept in enumerate(self.held_out) for chosen in _cut(kept, 2 * self.batch)]

    @cached_property
    def _mixed(self) -> list[Batch]:
        rng = np.random.default_rng(0)
        return [
            self._taken(*piece, self.mix(self._inputs(*piece), rng)) for piece in self._kept if self.mix is not None
        ]

    def samples(self, batch: Batch) -> int:
        """How many samples a batch has."""
        return len(next(iter(batch.inputs.values()))) if self.split else 1

    def _inputs(self, group: int, chosen: Indices) -> Inputs:
        inputs = self.groups[group]
        return _rows(inputs, chosen) if self.split else inputs

    def _taken(self, group: int, chosen: Indices, mixed: Inputs | None = None) -> Batch:
        """A batch; with ``mixed`` inputs in the place of its own the teacher is asked about those that differ."""
        inputs = self._inputs(group, chosen)
        if self.targets is None:
            return Batch(mixed or inputs, self.teacher(mixed or inputs))
        known = [target[torch.from_numpy(chosen)] if self.split else target for target in self.targets[group]]
        if mixed is None:
            return Batch(inputs, known)
        if not self.split:
            return Batch(mixed, self.teacher(mixed))
        other = torch.stack([(mixed[name] != values).flatten(1).any(1) for name, values in inputs.items()]).any(0)
        if other.any():
            for target, found in zip(known, self.teacher({k: v[other] for k, v in mixed.items()}), strict=True):
                target[other] = found
        return Batch(mixed, known)

    def _taught(self) -> tuple[list[Tensor], ...] | None:
        """What the teacher gives for each group; None when it would take more than :data:`MEMORY`."""
        found, nbytes = [], 0
        for group, inputs in enumerate(self.groups):
            count = len(next(iter(inputs.values()))) if self.split else 1
            parts = [self._taken(group, chosen).targets for chosen in _cut(np.arange(count), 2 * self.batch)]
            found.append([torch.cat(tensors) for tensors in zip(*parts, strict=True)] if self.split else parts[0])
            nbytes += sum(target.nbytes for target in found[-1])
            if nbytes > MEMORY:
                return None
        return tuple(found)


def _rows(inputs: Inputs, chosen: Indices) -> Inputs:
    return {name: values[torch.from_numpy(chosen)] for name, values in inputs.items()}


def _cut(indices: Indices, size: int) -> list[Indices]:
    return np.array_split(indices, -(-len(indices) // size)) if len(indices) else []


def _grouped(feeds: Iterable[Mapping[str, Array]]) -> Iterator[Inputs]:
    alike: dict[tuple[tuple[int, ...], ...], list[Mapping[str, Array]]] = {}
    for feed in feeds:
        alike.setdefault(tuple(array.shape[1:] for array in feed.values()), []).append(feed)
    for group in alike.values():
        yield feeds_of({name: np.concatenate([feed[name] for feed in group]) for name in group[0]})


def splits(run: Callable[[Inputs], Sequence[Tensor]], feeds: Sequence[Mapping[str, Array]]) -> bool:
    """Whether the first axis of all inputs counts samples that do not see each other.

    It is tried: half of a feed must give half of its outputs.
    """
    sizes = {array.shape[0] if array.ndim else 0 for feed in feeds for array in feed.values()}
    if any(len({a.shape[0] if a.ndim else 0 for a in feed.values()}) > 1 for feed in feeds) or max(sizes) < 2:
        return False
    feed = feeds_of(max(feeds, key=lambda feed: len(next(iter(feed.values())))))
    count = len(next(iter(feed.values())))
    half = (count + 1) // 2
    try:
        whole, part = run(feed), run({name: values[:half] for name, values in feed.items()})
    except RuntimeError:
        return False
    return all(
        w.dim() > 0 and len(w) == count and len(p) == half and torch.allclose(w[:half], p, rtol=1e-3, atol=1e-3)
        for w, p in zip(whole, part, strict=True)
    )
