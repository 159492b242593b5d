"""Whole units as groups: neurons, filters, channels and heads, removed from every node that touches them.

A unit is a group of inputs of all weights that read it, so that the pass's least squares hold for it as they do for a
block. What is left of the model is smaller and made of standard operators.

One budget for all of a model's units follows :mod:`regc.passes.group_sparse.plan`: elimination tells what each number
of units costs the weights that read them, and the model's own outputs what that counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from regc.compiler import cpu
from regc.compiler.passes import Kept, Refusal, Units
from regc.passes.budget import Point, share_out
from regc.passes.group_sparse import proximal
from regc.passes.group_sparse.eliminate import Float64
from regc.passes.group_sparse.envelope import largest
from regc.passes.group_sparse.scores import scores
from regc.passes.neuron_mask.removal import Read, norms, prices, refit
from regc.passes.neuron_mask.static import UNSEEN, Score, masked, reads_of, small, without

Measure = Literal["size", "cost", "count"]
Method = Literal["eliminate", "prox", "energy", "pst"]

_SCORES: Mapping[Method | None, Score | None] = {"eliminate": "eliminate", "energy": "wina", None: None}
_WIDE, _NARROW = 16, 8
_MOST = 97
_SCALE = 1 << 20


@dataclass(frozen=True)
class Removal:
    """Which units go: ``sparsity`` of them, by ``method``, so that multiples of ``multiple`` stay (None: what the
    convolutions of ONNX Runtime on this machine gain by).
    """

    sparsity: float
    method: Method | None
    multiple: int | None

    def refuses(self, units: Units) -> str | None:
        """Why these units are left alone, from their number alone."""
        step = self.step(units.kind)
        if units.units > step:
            return None
        if self.multiple is None and step > 1:
            return (
                f"{units.units} {units.kind}: ONNX Runtime convolves {step} channels at a time on this machine, so "
                "that fewer would take as long; multiple=1 removes some all the same, for size"
            )
        return f"{units.units} {units.kind} are too few to remove any of them and keep a multiple of {step}"

    def step(self, kind: str) -> int:
        """Kept units are a multiple of this."""
        if self.multiple is not None:
            return self.multiple
        return channels_at_a_time() if kind == "filters" else 1

    def choose(self, units: Units) -> Kept | Refusal:
        """The units that stay, and what makes up for the others."""
        if reason := self.refuses(units):
            return Refusal(reason)
        step = self.step(units.kind)
        count = max(1, round((1 - self.sparsity) * units.units / step)) * step
        if count >= units.units:
            return Refusal(f"kept whole: {self.sparsity:.3g} of {units.units} {units.kind} is less than {step} of them")
        if self.method == "pst":
            return without(units, np.flatnonzero(largest(_scored(units), count)), reads_of(units))
        if self.method != "prox":
            return masked(units, count, _SCORES[self.method], "samples", compensate=True)
        reads = reads_of(units)
        if reads is None:
            return Refusal(f"method=prox {UNSEEN}")
        return without(units, np.flatnonzero(largest(_proximal(reads, units.units, count), count)), reads)

    def curve(self, units: Units, measure: Measure) -> list[Point] | None:
        """What becomes of the model's outputs when so many units stay; None where that is not known."""
        reads = reads_of(units) if small(units) else None
        if reads is None or self.refuses(units) is not None:
            return None
        counts = self.counts(units)
        costs = prices(reads, units.units, counts[0])
        order = np.argsort(costs, kind="stable")
        lost = np.concatenate([[0.0], np.cumsum(costs[order][: units.units - counts[0]])])
        middle = min(counts, key=lambda count: abs(count - (1 - self.sparsity) * units.units))
        effect = units.effect([refit(read, units.units, np.sort(order[-middle:])) for read in reads])
        if effect is None or not lost[units.units - middle] > 0:
            return None
        each, worth = _measured(units, measure), effect**2 / lost[units.units - middle]
        points = [Point(round(n * each), float(worth * lost[units.units - n]), n) for n in counts]
        return [*points, Point(round(units.units * each), 0.0, units.units)]

    def counts(self, units: Units) -> list[int]:
        """Numbers of units that may stay, from the fewest on, without all of them."""
        step, least = self.step(units.kind), max(1, round((100 - _MOST) / 100 * units.units))
        if step > 1:
            return list(range(-(-least // step) * step, units.units, step))
        return sorted({max(least, round(share / 20 * units.units)) for share in range(20)} - {units.units})


def shared(removal: Removal, surveyed: Iterator[Units], measure: Measure) -> Mapping[str, float | Refusal]:
    """The sparsity of each set of units, or why it stays whole, under one budget for all."""
    numbers: dict[str, tuple[int, str]] = {}
    curves: dict[str, list[Point]] = {}
    for units in surveyed:
        found = removal.curve(units, measure)
        if found is not None:
            numbers[units.name], curves[units.name] = (units.units, units.kind), found
    budget = round((1 - removal.sparsity) * sum(points[-1].nbytes for points in curves.values()))
    chosen = share_out(curves, budget)
    return {
        name: 1 - point.choice / number if point.choice < number else _whole(removal, kind)
        for name, point in chosen.items()
        for number, kind in [numbers[name]]
    }


def channels_at_a_time() -> int:
    """How many channels ONNX Runtime convolves at a time on this machine: as many as a vector register holds.

    ResNet-20, one thread, AVX-512, a batch of 1 / 16, speed over the original: without 30 % of the filters of each
    layer 0.91 / 0.90, without 30 % of the multiplications in multiples of 16 filters 1.15 / 1.19.
    """
    return _WIDE if "avx512f" in cpu.flags() else _NARROW


def _whole(removal: Removal, kind: str) -> Refusal:
    return Refusal(f"kept whole: for {100 * removal.sparsity:.3g}% of all {kind}, others lose less by it")


def _measured(units: Units, measure: Measure) -> float:
    """What one unit counts in the budget: WGSEF's weight d_g of a group."""
    whole = {"size": units.nbytes, "cost": units.work, "count": units.units * _SCALE}[measure]
    return max(1, whole) / units.units


def _scored(units: Units) -> Float64:
    """The squares of PST's scores of all weights that read each unit; each weight counts by its share of them all."""
    found = np.zeros(units.units)
    for weight, inputs, *_ in units.consumers:
        own = norms(scores(weight, None if inputs is None else inputs.second_moment), None, units.units)
        found += own / (own.sum() or 1.0)
    return found


def _proximal(reads: list[Read], units: int, goal: int) -> Float64:
    """The squared norms of the units after proximal steps; each weight counts by its share of what it computes."""
    grams = [read.damped() for read in reads]
    weights = []
    for read, gram in zip(reads, grams, strict=True):
        wide = read.weight.astype(np.float64)
        weights.append(wide / np.sqrt(float(np.einsum("nk,nk->", wide @ gram, wide)) or 1.0))
    spans = [read.weight.shape[1] // units for read in reads]
    groups = proximal.Grouping(
        lambda points: np.sum([norms(point, None, units) for point in points], 0),
        lambda factors: [np.repeat(factors, span) for span in spans],
    )
    return proximal.descend(weights, grams, groups, goal)
