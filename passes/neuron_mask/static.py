"""Units that are removed for good."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from regc.compiler.passes import Consumer, Kept, Refusal, Units
from regc.passes.feedback import towards
from regc.passes.neuron_mask.memorizing import Basis, generality
from regc.passes.neuron_mask.polarized import gap
from regc.passes.neuron_mask.removal import Read, eliminate, norms, refit

Score = Literal["eliminate", "wina", "magnitude", "ipr", "gap"]
MOST_INPUTS = 4096
"""Inputs of a consumer up to which elimination takes seconds: its time grows with their cube."""
UNSEEN = "needs calibration inputs, and what flows into a weight that reads them is not known"


def masked(units: Units, count: int, score: Score | None, basis: Basis, *, compensate: bool) -> Kept | Refusal:
    """So many units, those that matter most, with the weights that read them made up for the others."""
    if count >= units.units:
        return Refusal(f"{units.units} units are too few to remove any of them")
    reads = reads_of(units)
    if reads is None and (score in ("eliminate", "wina")):
        return Refusal(f"score={score} {UNSEEN}")
    if reads is not None and (score == "eliminate" or (score is None and small(units))):
        return without(units, eliminate(reads, units.units, count), reads if compensate else None)
    prices = generality(units, basis) if score == "ipr" else _prices(units, score)
    if prices is None:
        return Refusal(f"score=ipr {UNSEEN}")
    keep = np.sort(np.argsort(prices, kind="stable")[-count:])
    return without(units, keep, reads if compensate else None)


def polarized(units: Units, compensate: bool) -> Kept | Refusal:
    """The units whose BatchNormalization scales are not of the lower of two clusters."""
    if units.factors is None:
        return Refusal("score=gap goes by the scales of a BatchNormalization, and they go through none")
    threshold = gap(units.factors)
    if threshold is None:
        return Refusal("the scales of their BatchNormalization are no two clusters: nothing polarized them")
    reads = reads_of(units)
    if reads is None:
        return Refusal(f"score=gap {UNSEEN}")
    return without(units, np.flatnonzero(units.factors > threshold), reads if compensate else None)


def small(units: Units) -> bool:
    """Whether elimination takes seconds."""
    return all(consumer.weight.shape[1] <= MOST_INPUTS for consumer in units.consumers)


def without(units: Units, keep: npt.NDArray[np.intp], reads: list[Read] | None) -> Kept:
    """The units that stay, their consumers made up for the others where that is asked for."""
    if reads is None:
        cut = [_only(consumer, keep, units.units) for consumer in units.consumers]
        return Kept(keep, tuple(cut), (None,) * len(cut))
    return Kept(keep, tuple(refit(read, units.units, keep) for read in reads), (None,) * len(reads))


def reads_of(units: Units) -> list[Read] | None:
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
    for weight, inputs, *_ in units.consumers:
        found = norms(weight, inputs.second_moment if known and inputs is not None else None, units.units)
        prices += found / (found.sum() or 1.0)
    return prices if known else prices * np.square(units.scales)


def _only(consumer: Consumer, keep: npt.NDArray[np.intp], units: int) -> npt.NDArray[np.float32]:
    """The weight without the columns of all other units."""
    kept = np.repeat(np.isin(np.arange(units), keep), consumer.weight.shape[1] // units)
    return np.where(kept, consumer.weight, np.float32(0))
