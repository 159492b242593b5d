"""The training loop: AdamW, warm-up and cosine over the budget, the best state by the held-out samples.

Products stay in float32. PyTorch 2.13 multiplies 800x384 by 1536x384 at 160 GFLOP/s in float32, at 155 in float16 and
at 84 in bfloat16, on one thread of an Emerald Rapids, which has instructions for both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from regc.compiler.recovery import checkpoint
from regc.compiler.recovery.batches import Batch, Batches, Part
from regc.compiler.recovery.beside import Beside
from regc.compiler.recovery.options import Recover
from regc.compiler.recovery.trainable import Trainable

WARM_UP = 0.05
LOOKS = 16
"""How often the held-out samples are looked at."""
PATIENCE = 5
"""Looks, each worse than the one before, after which training ends. Rounding makes the first steps worse than the fit
that they begin at, so the best one is no measure."""
BLENDS = (0.5, 0.75)
"""Shares of the best state in the averages with the start that are tried."""
_SAVE_EVERY = 30.0

Told = Callable[[float, str], None]
"""Hears of the share of the budget that is spent, and of the loss in words."""


@dataclass
class Curve:
    """``losses`` of the held-out samples, from the start on, and how it ended."""

    losses: list[float] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    ended: str = ""


def judge(loss: Callable[[Batch], Tensor], batches: Batches) -> float:
    """The mean loss of the held-out samples."""
    with torch.no_grad():
        found = [(float(loss(batch)), batches.samples(batch)) for batch in batches.judging()]
    return sum(value * count for value, count in found) / sum(count for _, count in found)


class Training:
    """Trains ``student`` so that ``loss`` of a batch gets small; steps go by ``lesson``, which may ask for more.

    Repeatable for a number of steps on one machine, with one number of threads.
    """

    def __init__(
        self,
        student: nn.Module,
        groups: Iterator[dict[str, object]],
        loss: Callable[[Batch], Tensor],
        batches: Batches,
        options: Recover,
        *,
        lesson: Callable[[Batch], Tensor],
    ) -> None:
        self.student, self.loss, self.batches, self.options = student, loss, batches, options
        alone = options.chain > 0 or options.moving  # both change the student while it runs
        self.beside = Beside(lesson, list(student.parameters()), 1 if alone else torch.get_num_threads())
        self.weights = [module for module in student.modules() if isinstance(module, Trainable)]
        self.optimizer = torch.optim.AdamW(list(groups), betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.curve = Curve()
        self._seconds = 60 * options.minutes if options.minutes is not None else math.inf
        self._spent = 0.0

    def run(self, tell: Told) -> Curve:
        """Train, and leave the best state in the student."""
        begun = time.monotonic()
        first = self.state()
        self._resume()
        if self.curve.steps:
            self._stepped(self._done())
        best, least, looked = first, judge(self.loss, self.batches), 0.0
        self.curve.losses.append(least)
        rose, saved, settled = 0, begun, self._settled(0.0)
        steps = self.batches.steps(np.random.default_rng(self.options.seed), self.curve.steps, self.beside.count)
        before = self._spent
        while (done := self._done()) < 1 and rose < PATIENCE:
            self._step(next(steps), done)
            self._spent = before + time.monotonic() - begun
            done = self._done()
            self._stepped(done)
            if done - looked >= 1 / LOOKS or done >= 1:
                looked, found = done, judge(self.loss, self.batches)
                self.curve.losses.append(found)
                if self._settled(done) and (found < least or not settled):
                    best, least, settled = self.state(), found, True
                rose = rose + 1 if settled and found > self.curve.losses[-2] else 0
            if self.options.checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY:
                self._save()
                saved = time.monotonic()
            tell(min(1.0, done), f"loss {self.curve.losses[-1]:.4f}, at first {self.curve.losses[0]:.4f}")
        self.beside.close()
        self.curve.ended = "early, for it got no better" if rose >= PATIENCE else "as planned"
        self._blend(first, best, least)
        self.curve.seconds = before + time.monotonic() - begun
        return self.curve

    def state(self) -> list[Tensor]:
        """A copy of all parameters."""
        return [parameter.detach().clone() for parameter in self.student.parameters()]

    def _stepped(self, done: float) -> None:
        """Tell the weights how far the training is."""
        for weight in self.weights:
            weight.stepped(min(1.0, done), self.options.pace * _factor(min(1.0, done)))

    def _settled(self, done: float) -> bool:
        """Whether all weights have their final sizes, so that a state may be the best one."""
        return all(weight.settled(done) for weight in self.weights)

    def _done(self) -> float:
        steps = self.curve.steps / self.options.steps if self.options.steps is not None else 0.0
        return max(steps, self._spent / self._seconds)

    def _step(self, parts: Sequence[Part], done: float) -> None:
        factor = _factor(done)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        self.beside.backward(parts)
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.curve.steps += 1

    def _load(self, state: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, values in zip(self.student.parameters(), state, strict=True):
                parameter.copy_(values)

    def _blend(self, first: Sequence[Tensor], best: Sequence[Tensor], least: float) -> None:
        """Weights between start and best, where those score better (WiSE-FT)."""
        chosen = list(best)
        for share in BLENDS:
            blend = [torch.lerp(a, b, share) for a, b in zip(first, best, strict=True)]
            self._load(blend)
            found = judge(self.loss, self.batches)
            if found < least:
                chosen, least = blend, found
                self.curve.ended += f", {share:.0%} of the way from the start"
        self._load(chosen)
        self.curve.losses.append(least)

    def _save(self) -> None:
        assert self.options.checkpoint is not None
        state = {f"{i}": p for i, p in enumerate(self.student.parameters())}
        for index, parameter in enumerate(self.student.parameters()):
            state |= {f"{index}.{key}": value for key, value in self.optimizer.state[parameter].items()}
        numbers: dict[str, float | str] = {"steps": float(self.curve.steps), "spent": self._spent, "key": self._key()}
        checkpoint.write(self.options.checkpoint, state, numbers)

    def _key(self) -> str:
        """What tells whether a checkpoint belongs to this training."""
        return " ".join(str(tuple(parameter.shape)) for parameter in self.student.parameters())

    def _resume(self) -> None:
        found = checkpoint.read(self.options.checkpoint) if self.options.checkpoint is not None else None
        if found is None:
            return
        state, numbers = found
        if numbers.get("key") != self._key():
            return
        parameters = list(self.student.parameters())
        self._load([state[f"{index}"] for index in range(len(parameters))])
        for index, parameter in enumerate(parameters):
            prefix = f"{index}."
            self.optimizer.state[parameter] = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        self.curve.steps, self._spent = int(numbers["steps"]), float(numbers["spent"])


def _factor(done: float) -> float:
    """What rates are multiplied by at a share of the training."""
    return min(1.0, (done + 1e-3) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
