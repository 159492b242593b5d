"""What is asked of a student: what it is judged by, and what its steps go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regc.compiler.errors import UsageError
from regc.compiler.recovery.batches import Batch
from regc.compiler.recovery.labels import NAME, scores_at, with_labels
from regc.compiler.recovery.lessons import Loss, chained, closeness, unevenness
from regc.compiler.recovery.losses import Distance
from regc.compiler.recovery.network import Network
from regc.compiler.recovery.options import Recover
from regc.compiler.recovery.student import Student


@dataclass(frozen=True, eq=False)
class Objective:
    """That of a ``student``, which ``network`` runs; its last tensors are ``outputs`` of the model.

    ``mask`` names the input that says which places count, ``labels`` is how much these do.
    """

    student: Student
    network: Network
    distance: Distance
    outputs: int
    mask: str | None = None
    labels: float = 0.0

    def run(self, batch: Batch) -> list[Tensor]:
        """The student's tensors for a batch."""
        return self.network.run(batch.inputs)

    def loss(self, batch: Batch) -> Tensor:
        """What it is judged by."""
        return self.between(self.run(batch), batch.targets, batch)

    def between(self, found: Sequence[Tensor], targets: Sequence[Tensor], batch: Batch) -> Tensor:
        """How far tensors for a batch are from others, and from the labels."""
        mask = batch.inputs[self.mask].to(torch.float32) if self.mask is not None else None
        distance = self.distance(found, targets, mask)
        if self.labels == 0:
            return distance
        return with_labels(distance, self.scores(found, batch), batch.inputs[NAME], self.labels)

    def scores(self, found: Sequence[Tensor], batch: Batch) -> Tensor:
        """The tensor with the scores of all classes, of those for a batch with labels."""
        return found[scores_at(batch.targets, self.outputs, batch.inputs[NAME])]

    def lesson(self, options: Recover) -> Loss:
        """What steps go by: the same, unless the options ask for more.

        Raises:
            UsageError: for what they ask nothing in training is there.
        """
        if (options.chain or options.even) and all(w.rounds() is None for w in self.student.trainables()):
            raise UsageError(
                "recovery: chain and even are for ternary and RF8 weights, and none trains; leave them out"
            )
        if options.near and not self.student.names:
            raise UsageError("recovery: near is for compressed weights, and none trains; leave it out")
        base: Loss = self.loss
        if options.chain:
            base = chained(self.student, self.run, self.between, options.chain, options.seed)
        if not (options.near or options.even):
            return base
        originals = self.student.originals() if options.near else {}

        def lesson(batch: Batch) -> Tensor:
            total = base(batch)
            if options.near:
                total = total + options.near * closeness(self.student.by_name(), originals)
            return total + options.even * unevenness(self.student) if options.even else total

        return lesson
