"""From the terms that the passes left to better ones: the original teaches the compressed model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regc.compiler.errors import RegcError
from regc.compiler.feeds.apart import Apart
from regc.compiler.feeds.inputs import Feed
from regc.compiler.model import Model
from regc.compiler.records import Progress, Recovered
from regc.compiler.recovery.batches import Batch, Batches, Inputs, Mix, splits
from regc.compiler.recovery.labels import NAME, PILOT, labelled, scores_at, weight_of, with_labels
from regc.compiler.recovery.losses import Distance
from regc.compiler.recovery.network import Changes, Network, feeds_of
from regc.compiler.recovery.options import Recover
from regc.compiler.recovery.student import Starts, Student, frozen, parameter_groups, stored_in, trainable
from regc.compiler.recovery.teaching import network_of, teaching
from regc.compiler.recovery.tokens import Tokens
from regc.compiler.recovery.train import Curve, Training, judge
from regc.compiler.sites import Site
from regc.compiler.terms import Term

if TYPE_CHECKING:
    from regc.compiler.recovery.trainable import Trainable

LEAST_GAIN = 0.01
"""Share of the loss that training must take off to be worth it."""
MIX = 0.5
"""Share of samples with other words. Of ternary MiniLM, 70 steps on 436 captions, it brings the cosine to the original
from 0.839 to 0.842 on captions of a topic that was held out, from 0.750 to 0.809 where half of their words are any, and
from 0.941 to 0.936 on those it trained on. On sentences of other kinds the cosine rises from 0.705 to 0.726, but
STS-B, which forgives much, falls from 83.4 to 82.3."""


def recover(
    model: Model,
    terms: Mapping[str, Term],
    sites: Mapping[str, Site],
    *,
    starts: Starts,
    feeds: Sequence[Feed],
    apart: Apart,
    options: Recover,
    original: Model | None = None,
    dense: Sequence[str] = (),
    mask: str | None = None,
    threads: int | None = None,
    callback: Callable[[Progress], None] = lambda progress: None,
) -> tuple[dict[str, Term], Recovered]:
    """Better terms for the weights ``sites``, by name, and what was done.

    ``model`` has its weights as they came; its biases and scales of channels are written into it at the very end, when
    the held-out samples say that training was worth it, and with them the weights of ``dense`` sites, which train, too.
    Otherwise the terms stay as they are. ``original`` teaches where units were removed from the model. ``apart`` says
    which samples of the feeds judge.

    Raises:
        RegcError: nothing of the model can be run or trained.
    """
    with _threads(threads):
        recovery = _Recovery(
            model=model,
            original=original or model,
            terms=terms,
            sites=sites,
            dense=dense,
            feeds=feeds,
            apart=apart,
            options=options,
            mask=mask,
        )
        return recovery.run(starts, callback)


class _Recovery:
    def __init__(
        self,
        *,
        model: Model,
        original: Model,
        terms: Mapping[str, Term],
        sites: Mapping[str, Site],
        dense: Sequence[str],
        feeds: Sequence[Feed],
        apart: Apart,
        options: Recover,
        mask: str | None,
    ) -> None:
        if not feeds:
            raise RegcError("recovery needs calibration inputs, and there are none; give some by --calibration")
        if options.labels is not None:
            feeds = labelled(feeds, options.labels)
        self.model, self.terms, self.sites, self.options, self.mask = model, terms, sites, options, mask
        self.dense = [sites[name] for name in dense if stored_in(model, sites[name])]
        used = [*(sites[name] for name in terms), *self.dense]
        self.features, self.teacher = teaching(original, model, used, feeds_of(feeds[0]))
        self.batches = Batches.of(
            apart.others(feeds),
            apart.kept(feeds),
            self._teach,
            split=bool(self.features.all) and splits(self._teach, feeds),
            batch=options.batch,
            mix=_mixing(model, feeds, options.mix if options.labels is None else 0.0),
        )
        names = tuple(tensor.name for tensor in self.features.outputs)
        self.distance = Distance(len(self.features.hidden), names, options.outputs)

    def run(self, starts: Starts, callback: Callable[[Progress], None]) -> tuple[dict[str, Term], Recovered]:
        training, left = self._trainables(starts)
        if not training and not self.dense:
            reasons = "; ".join(dict.fromkeys(left.values()))
            raise RegcError(f"no compressed weight can be trained: {reasons}; leave out --recover")
        fixed = frozen({name: term for name, term in self.terms.items() if name not in training}, self.sites)
        options, labels = self.options, 0.0
        if options.labels is not None:
            labels = self._weight_of_labels(fixed, starts, callback)
            options = replace(options.part(1 - 2 * PILOT), checkpoint=options.checkpoint)
        before = judge(self._loss(fixed, self._student({}), labels), self.batches)
        student, curve = self._trained(fixed, starts, labels, options, callback)
        curve.ended += f", labels count {labels:.0%}" if options.labels is not None else ""
        after = curve.losses[-1]
        worth = after < (1 - LEAST_GAIN) * before
        count = len(training) + len(self.dense)
        done = Recovered(
            before, after, curve.steps, curve.seconds, curve.ended, count, left, worth, tuple(curve.losses)
        )
        if not worth:
            return dict(self.terms), done
        student.write_plain(self.model)
        return {**self.terms, **student.terms()}, done

    def _trained(
        self, fixed: Changes, starts: Starts, labels: float, options: Recover, callback: Callable[[Progress], None]
    ) -> tuple[Student, Curve]:
        student = self._student(starts)
        groups = parameter_groups(student, options.rate)
        trainer = Training(student, groups, self._loss(fixed, student, labels), self.batches, options)
        curve = trainer.run(lambda done, words: callback(Progress("recover", round(1000 * done), 1000, words)))
        return student, curve

    def _weight_of_labels(self, fixed: Changes, starts: Starts, callback: Callable[[Progress], None]) -> float:
        """How much labels should count, by the samples that are held out."""
        predicted = []
        for labels in (1.0, 0.0):
            student, _ = self._trained(fixed, starts, labels, self.options.part(PILOT), callback)
            network = self._network(fixed, student)
            with torch.no_grad():
                found = [self._scores(network.run(batch.inputs), batch) for batch in self.batches.judging()]
            predicted.append(torch.cat([scores.softmax(-1) for scores in found]))
        known = torch.cat([batch.inputs[NAME] for batch in self.batches.judging()])
        return weight_of(known, *predicted)

    def _scores(self, found: Sequence[Tensor], batch: Batch) -> Tensor:
        return found[scores_at(batch.targets, len(self.features.outputs), batch.inputs[NAME])]

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

    def _student(self, starts: Starts) -> Student:
        return Student(self.model, self._trainables(starts)[0], self.sites, self.dense)

    def _network(self, fixed: Changes, student: Student) -> Network:
        """A student, with ``fixed`` in the place of what does not train."""
        changes = Changes({**fixed.constants, **student.changes.constants}, student.changes.products)
        return network_of(self.model, changes, self.features)

    def _loss(self, fixed: Changes, student: Student, labels: float) -> Callable[[Batch], Tensor]:
        """The loss of a student; ``labels`` is how much these count."""
        network = self._network(fixed, student)

        def loss(batch: Batch) -> Tensor:
            mask = batch.inputs[self.mask].to(torch.float32) if self.mask is not None else None
            found = network.run(batch.inputs)
            distance = self.distance(found, batch.targets, mask)
            if labels == 0:
                return distance
            return with_labels(distance, self._scores(found, batch), batch.inputs[NAME], labels)

        return loss

    def _teach(self, inputs: Inputs) -> list[Tensor]:
        with torch.no_grad():
            return self.teacher.run(inputs)


def _mixing(model: Model, feeds: Sequence[Feed], share: float | None) -> Mix | None:
    """What replaces words of inputs that have some; None where that is not wanted."""
    tokens = Tokens.of(model.graph, feeds)
    if share is None:
        share = MIX if tokens.few else 0.0
    if not tokens.rows or not share:
        return None
    return lambda inputs, rng: tokens.mixed(inputs, share, rng)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
