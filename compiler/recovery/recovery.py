"""From the terms that the passes left to better ones: the original teaches the compressed model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from regc.compiler.errors import RegcError, UsageError
from regc.compiler.feeds.apart import Apart
from regc.compiler.feeds.inputs import Feed
from regc.compiler.feeds.mixing import tables_of
from regc.compiler.model import Model
from regc.compiler.records import Progress, Recovered
from regc.compiler.recovery.batches import Batches, Inputs, Mix, splits
from regc.compiler.recovery.beside import running_on
from regc.compiler.recovery.blends import blended
from regc.compiler.recovery.labels import NAME, PILOT, labelled, weight_of
from regc.compiler.recovery.losses import Distance
from regc.compiler.recovery.network import Changes, feeds_of
from regc.compiler.recovery.objective import Objective
from regc.compiler.recovery.options import WORDS_RATE, Recover
from regc.compiler.recovery.student import Starts, Student, frozen, parameter_groups, stored_in, trainable
from regc.compiler.recovery.teaching import network_of, teaching
from regc.compiler.recovery.tokens import Tokens
from regc.compiler.recovery.train import Curve, Training, judge
from regc.compiler.recovery.writing import Writing, logits_of
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
    with running_on(threads):
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
        self.model, self.terms, self.sites, self.mask = model, terms, sites, mask
        self.dense = [sites[name] for name in dense if stored_in(model, sites[name])]
        used = [*(sites[name] for name in terms), *self.dense]
        self.features, self.teacher = teaching(original, model, used, feeds_of(feeds[0]))
        words = options.rate is None and self._predicts_words(feeds_of(feeds[0]))
        self.options = replace(options, rate=WORDS_RATE) if words else options
        split = bool(self.features.all) and splits(self._teach, feeds)
        mix, self.writing = _mixing(model, feeds, options, split=split)
        self.batches = Batches.of(
            apart.others(feeds),
            apart.kept(feeds),
            self._teach,
            split=split,
            batch=options.batch,
            mix=mix,
        )
        names = tuple(tensor.name for tensor in self.features.outputs)
        self.distance = Distance(len(self.features.hidden), names, options.outputs)

    def _predicts_words(self, inputs: Inputs) -> bool:
        """Whether an output has a number for each word that there is, at each word that there is."""
        given = self._teach(inputs)[len(self.features.hidden) :]
        tables = tables_of(self.model.graph)
        return any(logits_of(given, (*inputs[name].shape, rows)) is not None for name, rows in tables.items())

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
        before = judge(self._objective(fixed, self._student({}), labels).loss, self.batches)
        objective, curve = self._trained(fixed, starts, labels, options, callback)
        curve.ended += f", labels count {labels:.0%}" if options.labels is not None else ""
        after = curve.losses[-1]
        worth = after < (1 - LEAST_GAIN) * before
        dense = tuple(site.info.name for site in self.dense)
        count = len(training) + len(dense)
        done = Recovered(
            before, after, curve.steps, curve.seconds, curve.ended, count, left, worth, tuple(curve.losses), dense
        )
        if not worth:
            return dict(self.terms), done
        objective.student.write_plain(self.model)
        return {**self.terms, **objective.student.terms()}, done

    def _trained(
        self, fixed: Changes, starts: Starts, labels: float, options: Recover, callback: Callable[[Progress], None]
    ) -> tuple[Objective, Curve]:
        student = self._student(starts)
        still = options.moving and not student.loosen()
        objective = self._objective(fixed, student, labels)
        groups = parameter_groups(student, options.pace)
        if self.writing is not None:
            self.writing.student = objective.network
        lesson = objective.lesson(options)
        trainer = Training(student, groups, objective.loss, self.batches, options, lesson=lesson)
        curve = trainer.run(lambda done, words: callback(Progress("recover", round(1000 * done), 1000, words)))
        curve.ended += ", nothing moved: no kept group is of float32" if still else ""
        return objective, curve

    def _weight_of_labels(self, fixed: Changes, starts: Starts, callback: Callable[[Progress], None]) -> float:
        """How much labels should count, by the samples that are held out."""
        predicted = []
        for labels in (1.0, 0.0):
            objective, _ = self._trained(fixed, starts, labels, self.options.part(PILOT), callback)
            with torch.no_grad():
                found = [objective.scores(objective.run(batch), batch) for batch in self.batches.judging()]
            predicted.append(torch.cat([scores.softmax(-1) for scores in found]))
        known = torch.cat([batch.inputs[NAME] for batch in self.batches.judging()])
        return weight_of(known, *predicted)

    def _trainables(self, starts: Starts) -> tuple[dict[str, Trainable], dict[str, str]]:
        """The terms in training by name, and why the others are not."""
        found: dict[str, Trainable] = {}
        left: dict[str, str] = {}
        known: dict[Term, Trainable | None] = {}
        for name, term in self.terms.items():
            reason = self.features.unreached.get(name)
            made = trainable(term, starts, known) if reason is None else None
            if made is not None:
                found[name] = made
            else:
                left[name] = reason or f"{term.label} has no form that can be trained"
        return found, left

    def _student(self, starts: Starts) -> Student:
        return Student(self.model, self._trainables(starts)[0], self.sites, self.dense)

    def _objective(self, fixed: Changes, student: Student, labels: float) -> Objective:
        """What is asked of a student; ``labels`` is how much these count, and ``fixed`` what does not train."""
        changes = Changes({**fixed.constants, **student.changes.constants}, student.changes.products)
        network = network_of(self.model, changes, self.features)
        return Objective(student, network, self.distance, len(self.features.outputs), self.mask, labels)

    def _teach(self, inputs: Inputs) -> list[Tensor]:
        with torch.no_grad():
            return self.teacher.run(inputs)


def _mixing(model: Model, feeds: Sequence[Feed], options: Recover, *, split: bool) -> tuple[Mix | None, Writing | None]:
    """What makes other samples of inputs, None where that is not wanted; and what has the student write some."""
    tokens = Tokens.of(model.graph, feeds)
    floats = split and all(array.dtype == np.float32 for feed in feeds for array in feed.values())
    if options.mix and not (tokens.rows or floats):
        raise UsageError(
            "recovery: mix is for inputs of words, or of floats with samples along all first axes; leave it out"
        )
    unasked = MIX if tokens.few and options.labels is None else 0.0
    share = unasked if options.mix is None else options.mix
    writing = Writing.of(tokens.rows, options.on_policy) if options.on_policy else None

    def mix(inputs: Inputs, rng: np.random.Generator) -> Inputs:
        if share:
            inputs = tokens.mixed(inputs, share, rng) if tokens.rows else blended(inputs, share, rng)
        return inputs if writing is None else writing.mixed(inputs, rng)

    return (mix if share or writing is not None else None), writing
