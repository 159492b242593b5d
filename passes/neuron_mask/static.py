"""Units that are removed for good."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from regc.compiler.passes import Consumer, Kept, Refusal, Units
from regc.passes.feedback import towards
from regc.passes.neuron_mask.removal import Read, eliminate, norms, refit, still

Score = Literal["eliminate", "wina", "magnitude"]
MOST_INPUTS = 4096
"""Inputs of a consumer up to which elimination takes seconds: its time grows with their cube."""
UNSEEN = "needs calibration inputs, and what flows into a weight that reads them is not known"


def exact(units: Units) -> Kept | Refusal:
    """Only what changes no output: units that nothing reads, that never varied, or that are there twice."""
    keep = np.ones(units.units, np.bool_)
    weights = [consumer.weight.copy() for consumer in units.consumers]
    offsets = [np.zeros(len(weight), np.float32) for weight in weights]
    fixed = _fixed(units)
    for unit in map(int, np.flatnonzero(fixed)):
        keep[unit] = False
        for consumer, weight, offset in zip(units.consumers, weights, offsets, strict=True):
            span = _span(unit, consumer, units.units)
            if consumer.inputs is not None:
                offset[:] += (weight[:, span] @ consumer.inputs.mean[span]).astype(np.float32)
            weight[:, span] = 0
    for unit, first in enumerate(units.alike):
        if keep[unit] and first != unit and keep[first]:
            keep[unit] = False
            for consumer, weight in zip(units.consumers, weights, strict=True):
                weight[:, _span(int(first), consumer, units.units)] += weight[:, _span(unit, consumer, units.units)]
                weight[:, _span(unit, consumer, units.units)] = 0
    if keep.all():
        return Refusal("every unit differs from all others, varies and is read")
    if not keep.any():
        keep[0] = True
    return Kept(np.flatnonzero(keep), tuple(weights), tuple(o if o.any() else None for o in offsets))


def masked(units: Units, share: float, score: Score | None, compensate: bool) -> Kept | Refusal:
    """The share of the units that matters most, with the weights that read them made up for the others."""
    count = max(1, round(share * units.units))
    if count >= units.units:
        return Refusal(f"{units.units} units are too few to remove any of them")
    reads = _reads(units)
    if reads is None and (score in ("eliminate", "wina")):
        return Refusal(f"score={score} {UNSEEN}")
    small = all(consumer.weight.shape[1] <= MOST_INPUTS for consumer in units.consumers)
    if reads is not None and (score == "eliminate" or (score is None and small)):
        keep = eliminate(reads, units.units, count)
    else:
        keep = np.sort(np.argsort(_prices(units, score), kind="stable")[-count:])
    if reads is None or not compensate:
        cut = [_only(consumer, keep, units.units) for consumer in units.consumers]
        return Kept(keep, tuple(cut), (None,) * len(cut))
    return Kept(keep, tuple(refit(read, units.units, keep) for read in reads), (None,) * len(reads))


def _reads(units: Units) -> list[Read] | None:
    """The consumers with what flows into them; None where that of one is not known."""
    reads = [
        Read(towards(consumer.weight, consumer.inputs.gram, consumer.inputs.cross), consumer.inputs.gram)
        for consumer in units.consumers
        if consumer.inputs is not None and consumer.inputs.gram is not None
    ]
    return reads if len(reads) == len(units.consumers) else None


def _prices(units: Units, score: Score | None) -> npt.NDArray[np.float64]:
    """By what units stay: second moment times outgoing norm, or the norms of what computes and what reads them."""
    known = score != "magnitude" and all(consumer.inputs is not None for consumer in units.consumers)
    prices = np.zeros(units.units)
    for weight, inputs in units.consumers:
        found = norms(weight, inputs.second_moment if known and inputs is not None else None, units.units)
        prices += found / (found.sum() or 1.0)
    return prices if known else prices * np.square(units.scales)


def _fixed(units: Units) -> npt.NDArray[np.bool_]:
    """Which units change nothing, or always the same."""
    unread = np.all([norms(c.weight, None, units.units) == 0 for c in units.consumers], 0)
    inputs = [consumer.inputs for consumer in units.consumers]
    seen = [still(found.mean, found.second_moment, units.units) for found in inputs if found is not None]
    return np.asarray(unread | np.all(seen, 0) if len(seen) == len(inputs) else unread, np.bool_)


def _span(unit: int, consumer: Consumer, units: int) -> slice:
    inner = consumer.weight.shape[1] // units
    return slice(unit * inner, (unit + 1) * inner)


def _only(consumer: Consumer, keep: npt.NDArray[np.intp], units: int) -> npt.NDArray[np.float32]:
    found = np.zeros_like(consumer.weight)
    for unit in keep:
        span = _span(int(unit), consumer, units)
        found[:, span] = consumer.weight[:, span]
    return found
