"""What a user asks of recovery: how long, and if need be, how."""

from __future__ import annotations

import importlib.util
import math
import re
import typing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from regc.compiler import spec
from regc.compiler.errors import RegcError, UsageError

Outputs = Literal["auto", "values", "logits"]
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|min|h|steps?)\s*(?:\{(.*)\})?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
RATE = 0.006
WORDS_RATE = 0.018
"""A language model of 260,000 weights in ternary groups of 32, after 250 steps on 225 texts of its own: divergence from
the original 0.756 at a rate of 0.006 and 0.682 at this one on other texts of its own, perplexity 11.3 and 10.9 (of 3.7)
on stories that it has not written."""
_ELSEWHERE = ("minutes", "steps", "seed", "labels", "checkpoint")
"""Options that are no part of a text: the budget is in front, the others are options of the command."""


@dataclass(frozen=True, kw_only=True)
class Recover:
    """Train the compressed weights, with the original model as teacher, on the calibration inputs.

    Weights that no pass took train, too, in the form that they have, unless they are excluded from all passes.

    Give ``minutes`` or ``steps``; only a number of steps gives the same model again. ``rate`` is how far a step moves
    weights, as a share of their root mean square; None: :data:`RATE`, and :data:`WORDS_RATE` where the model predicts
    words. ``batch`` is samples in a step. ``held_out`` is the share of the
    inputs that judges and that neither passes nor training see. ``outputs`` says whether the outputs' ``values`` are to
    be kept, or they are ``logits`` whose softmax is; ``auto`` takes an output named like logits for such. ``mix`` is
    the share of samples in which words are replaced by any others, where inputs are words, or that are blended, shifted
    and mirrored, where inputs are floats; None: half of them where the inputs have few of all the words that the model
    knows, else none. ``labels`` is a ``.npy`` file of the classes of the calibration inputs; how much they count beside
    the teacher is found by two short trainings (:mod:`regc.compiler.recovery.labels`). ``checkpoint`` is a file in
    which the state is kept now and then and from which a run that was interrupted goes on.

    Off by default, for none of them is known to help in a few minutes: ``near`` weighs PELA's closeness of weights to
    the original ones, ``even`` EQ-Net's regularizer of weights that are rounded; ``chain`` is how much the student
    learns from itself at more bits, which learns from the teacher (:mod:`regc.compiler.recovery.lessons`); ``moving``
    lets kept blocks move, by proximal steps from the whole weight; ``on_policy`` is the share of texts that the student
    goes on writing while it learns, where the model is a language model (:mod:`regc.compiler.recovery.writing`).

    Raises:
        UsageError: a number that cannot be meant, or neither or both of minutes and steps.
    """

    minutes: float | None = None
    steps: int | None = None
    rate: float | None = None
    batch: int = 32
    held_out: float = 0.12
    outputs: Outputs = "auto"
    mix: float | None = None
    near: float = 0.0
    even: float = 0.0
    chain: float = 0.0
    moving: bool = False
    on_policy: float = 0.0
    seed: int = 0
    labels: Path | None = None
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise UsageError("recovery takes either minutes or steps, such as minutes=3")
        length = self.minutes if self.minutes is not None else self.steps
        if length is None or not math.isfinite(length) or length <= 0:
            raise UsageError(f"recovery must last more than nothing, got {length}")
        if (
            not 0 <= (self.mix or 0) <= 1
            or not 0 < self.held_out < 1
            or self.batch < 1
            or not (self.rate is None or self.rate > 0)
        ):
            raise UsageError(
                "recovery needs held_out and mix between 0 and 1, a rate above 0 and a batch of at least 1"
            )
        if self.labels is not None and (self.mix or self.on_policy):
            raise UsageError("recovery: labels say nothing of inputs that are changed; leave out mix and on_policy")
        if not (0 <= self.chain <= 1 and 0 <= self.on_policy <= 1 and self.near >= 0 and self.even >= 0):
            raise UsageError("recovery needs chain and on_policy between 0 and 1, and near and even of at least 0")

    @classmethod
    def parse(cls, text: str, *, seed: int = 0, labels: Path | None = None, checkpoint: Path | None = None) -> Recover:
        """From ``3min``, ``90s`` or ``400steps``, with other options in braces: ``3min{mix=0.3,rate=0.01}``.

        Raises:
            UsageError: the text is none of these.
        """
        found = _BUDGET.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"recovery lasts as long as 3min, 90s or 400steps, not {text!r}")
        number, unit = float(found[1]), found[2].lower()
        length = {"steps": int(number)} if unit.startswith("step") else {"minutes": number * _SECONDS[unit] / 60}
        hints = {name: hint for name, hint in typing.get_type_hints(cls).items() if name not in _ELSEWHERE}
        options: dict[str, Any] = spec.parse_options("--recover", found[3] or "", hints)
        return cls(**length, **options, seed=seed, labels=labels, checkpoint=checkpoint)

    @property
    def pace(self) -> float:
        """``rate``, or what it is where nobody has said."""
        return self.rate or RATE

    def part(self, share: float) -> Recover:
        """With a share of the budget, and no checkpoint."""
        steps = None if self.steps is None else max(1, round(self.steps * share))
        minutes = None if self.minutes is None else self.minutes * share
        return replace(self, steps=steps, minutes=minutes, checkpoint=None)


def require_torch() -> None:
    """Raise RegcError with the remedy where PyTorch is missing; it is not imported here."""
    if importlib.util.find_spec("torch") is None:
        raise RegcError('recovery needs PyTorch, which is not installed; run: pip install "regc[recover]"')
