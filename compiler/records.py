"""What is told of a compilation while it runs and after: progress, and the record of every weight."""

from __future__ import annotations

from dataclasses import dataclass

from regc.compiler.filters import Activity
from regc.compiler.passes import Decision, SiteInfo


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is: ``done`` of ``total`` (bytes or items) of a stage, now at ``item``."""

    stage: str
    done: int
    total: int
    item: str


TRAINED = "trained"
"""What :attr:`SiteRecord.recovery` says of a weight that recovery has trained."""


@dataclass(frozen=True)
class Recovered:
    """What training changed: the loss of held-out samples as the passes left the model, and after.

    ``weights`` were trained, ``left`` says why others were not, by name; ``dense`` names those that trained in the form
    in which they came. ``worth`` tells that the result was taken. ``curve`` has the losses on the way, ``ended`` how it
    came to an end, in words.
    """

    before: float
    after: float
    steps: int
    seconds: float
    ended: str
    weights: int
    left: dict[str, str]
    worth: bool
    curve: tuple[float, ...]
    dense: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Such as ``loss 0.412 -> 0.201 on held-out samples; 36 weights, 380 steps in 180 s, as planned``."""
        loss = f"loss {self.before:.4g} -> {self.after:.4g} on held-out samples"
        kept = "" if self.worth else ": no better, so the weights stay as the passes left them"
        return f"{loss}{kept}; {self.weights} weights, {self.steps} steps in {self.seconds:.0f} s, {self.ended}"


@dataclass(frozen=True)
class Speed:
    """How many times as fast a product with a term is as that with the weight as it came, of as many rows as the
    calibration inputs have: by what is known of its operator, and as it was measured on this machine, one thread. None
    for what is not known.
    """

    predicted: float | None
    measured: float | None


@dataclass(frozen=True)
class SiteRecord:
    """One weight of a model and what became of it.

    ``before`` and ``after`` are labels of terms, equal when nothing was done; bytes count all stored copies.
    ``error`` is ``||W - W'|| / ||W||`` of the whole weight, None when it is untouched. ``output_error`` is
    ``||X W'^T - X W^T|| / ||X W^T||`` over the calibration rows X, None when their Gram matrix is not known.
    ``emitted`` tells by what it is computed now, ``unseen`` why nothing is known of what flows into it, though a pass
    would have made use of it. ``activities`` tell how many of their inputs calibration rows use, for each part of the
    weight that skips some, and ``speed`` how much faster that makes it, None where none does. ``recovery`` is
    ``trained``, or why not, empty when nobody asked.
    """

    info: SiteInfo
    before: str
    after: str
    nbytes_before: int
    nbytes_after: int
    error: float | None
    emitted: str
    decisions: tuple[Decision, ...]
    aliases: tuple[str, ...] = ()
    output_error: float | None = None
    unseen: str = ""
    activities: tuple[Activity, ...] = ()
    recovery: str = ""
    speed: Speed | None = None

    @property
    def changed(self) -> bool:
        """Whether any pass took the weight."""
        return self.error is not None

    @property
    def reason(self) -> str:
        """Why nothing was done: ``low-rank, ternary: reason; rf8: another``. Empty when something was."""
        if self.changed:
            return ""
        passes: dict[str, list[str]] = {}
        for decision in self.decisions:
            passes.setdefault(decision.reason or "", []).append(decision.pass_name)
        names = {reason: ", ".join(dict.fromkeys(filter(None, by))) for reason, by in passes.items()}
        words = [f"{by}: {reason}" if by else reason for reason, by in names.items() if reason]
        return "; ".join([*words, *(["recovery trained it"] if self.recovery == TRAINED else [])])


@dataclass(frozen=True)
class GateRecord:
    """A gate of a model and how it varied over the calibration inputs.

    ``op`` is the operator that computes it. It has ``values`` for one sample and place, of which ``fixed`` never
    varied; ``low`` and ``high`` are the least and the most of any, ``variance`` is the mean of theirs: the less, the
    safer it is to settle it. None for what is not known. ``nodes`` and ``nbytes`` are what went when it became a
    constant, ``reason`` says why it did not.
    """

    name: str
    op: str
    values: int | None = None
    low: float | None = None
    high: float | None = None
    variance: float | None = None
    fixed: int = 0
    nodes: int = 0
    nbytes: int = 0
    reason: str | None = None

    @property
    def changed(self) -> bool:
        """Whether it became a constant."""
        return self.reason is None


@dataclass(frozen=True)
class UnitsRecord:
    """Units of a graph and how many of them stayed.

    Bytes are of all weights that they are in. ``output_error`` is ``||y' - y|| / ||y||`` of what their consumers
    compute over the calibration rows, the largest of several, None when that is not known. ``reason`` says why none
    was removed, if so.
    """

    name: str
    kind: str
    pass_name: str
    units: int
    kept: int
    nbytes_before: int
    nbytes_after: int
    output_error: float | None = None
    reason: str | None = None

    @property
    def changed(self) -> bool:
        """Whether units were removed."""
        return self.kept < self.units
