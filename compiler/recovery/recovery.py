"""From the terms that the passes left to better ones: the original teaches the compressed model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regc.compiler.errors import RegcError
from regc.compiler.feeds.inputs import Feed
from regc.compiler.model import Model
from regc.compiler.records import Progress, Recovered
from regc.compiler.recovery.batches import Batch, Batches, Inputs, Mix, splits
from regc.compiler.recovery.features import Features, find_features
from regc.compiler.recovery.losses import Distance
from regc.compiler.recovery.network import UNCHANGED, Changes, Network, NodeError, feeds_of
from regc.compiler.recovery.options import Recover
from regc.compiler.recovery.student import Starts, Student, frozen, parameter_groups, trainable
from regc.compiler.recovery.tokens import Tokens
from regc.compiler.recovery.train import Training
from regc.compiler.sites import Site
from regc.compiler.terms import Term

if TYPE_CHECKING:
    from regc.compiler.recovery.trainable import Trainable

LEAST_GAIN = 0.01
"""Share of the loss that training must take off to be worth it."""


def recover(
    model: Model,
    terms: Mapping[str, Term],
    sites: Mapping[str, Site],
    *,
    starts: Starts,
    feeds: Iterable[Feed],
    options: Recover,
    mask: str | None = None,
    threads: int | None = None,
    callback: Callable[[Progress], None] = lambda progress: None,
) -> tuple[dict[str, Term], Recovered]:
    """Better terms for the weights ``sites``, by name, and what was done.

    ``model`` is as it came; its biases and scales of channels are written into it at the very end, when the held-out
    samples say that training was worth it. Otherwise the terms stay as they are.

    Raises:
        RegcError: nothing of the model can be run or trained.
    """
    with _threads(threads):
        recovery = _Recovery(model=model, terms=terms, sites=sites, feeds=list(feeds), options=options, mask=mask)
        return recovery.run(starts, callback)


class _Recovery:
    def __init__(
        self,
        *,
        model: Model,
        terms: Mapping[str, Term],
        sites: Mapping[str, Site],
        feeds: list[Feed],
        options: Recover,
        mask: str | None,
    ) -> None:
        if not feeds:
            raise RegcError("recovery needs calibration inputs, and there are none; give some by --calibration")
        self.model, self.terms, self.sites, self.options, self.mask = model, terms, sites, options, mask
        self.features, self.teacher = self._runnable(feeds)
        split = bool(self.features.all) and splits(self._teach, feeds)
        self.batches = Batches.of(
            feeds,
            self._teach,
            split=split,
            batch=options.batch,
            share=options.held_out,
            seed=options.seed,
            mix=_mixing(model, options),
        )
        names = tuple(tensor.name for tensor in self.features.outputs)
        self.distance = Distance(len(self.features.hidden), names, options.outputs)

    def run(self, starts: Starts, callback: Callable[[Progress], None]) -> tuple[dict[str, Term], Recovered]:
        training, left = self._trainables(starts)
        if not training:
            reasons = "; ".join(dict.fromkeys(left.values()))
            raise RegcError(f"no compressed weight can be trained: {reasons}; leave out --recover")
        rest = {name: term for name, term in self.terms.items() if name not in training}
        student = Student(self.model, training, self.sites)
        fixed = frozen(rest, self.sites)
        changes = Changes({**fixed.constants, **student.changes.constants}, student.changes.products)
        loss = self._loss(changes)
        groups = parameter_groups(student, self.options.rate)
        trainer = Training(student, groups, loss, self.batches, self.options)
        before = trainer.judge()
        curve = trainer.run(lambda done, words: callback(Progress("recover", round(1000 * done), 1000, words)))
        after = curve.losses[-1]
        worth = after < (1 - LEAST_GAIN) * before
        done = Recovered(
            before, after, curve.steps, curve.seconds, curve.ended, len(training), left, worth, tuple(curve.losses)
        )
        if not worth:
            return dict(self.terms), done
        student.write_small(self.model)
        return {**self.terms, **student.terms()}, done

    def _trainables(self, starts: Starts) -> tuple[dict[str, Trainable], dict[str, str]]:
        """The terms in training by name, and why the others are not."""
        found: dict[str, Trainable] = {}
        left: dict[str, str] = {}
        for name, term in self.terms.items():
            reason = self.features.unreached.get(name)
            made = trainable(term, starts) if reason is None else None
            if made is not None:
                found[name] = made
            else:
                left[name] = reason or f"{term.label} has no form that can be trained"
        return found, left

    def _loss(self, changes: Changes) -> Callable[[Batch], Tensor]:
        student = self._network(changes, self.features)

        def loss(batch: Batch) -> Tensor:
            mask = batch.inputs[self.mask].to(torch.float32) if self.mask is not None else None
            return self.distance(student.run(batch.inputs), batch.targets, mask)

        return loss

    def _teach(self, inputs: Inputs) -> list[Tensor]:
        with torch.no_grad():
            return self.teacher.run(inputs)

    def _runnable(self, feeds: Sequence[Feed]) -> tuple[Features, Network]:
        """What can be run of the model: nodes are left out until the rest runs."""
        broken: dict[int, str] = {}
        used = [self.sites[name] for name in self.terms]
        while True:
            features = find_features(self.model.graph, used, broken)
            try:
                network = self._network(UNCHANGED, features)
                with torch.no_grad():
                    network.run(feeds_of(feeds[0]))
            except NodeError as error:
                broken[error.node] = str(error)
            else:
                return features, network

    def _network(self, changes: Changes, features: Features) -> Network:
        return Network(self.model.graph, self.model.opset, features.all, changes)


def _mixing(model: Model, options: Recover) -> Mix | None:
    """What replaces words of inputs that have some; None where there are none."""
    tokens = Tokens.of(model.graph)
    if not tokens.rows or not options.mix:
        return None
    return lambda inputs, rng: tokens.mixed(inputs, options.mix, rng)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
