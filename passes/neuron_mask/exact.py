"""Units that go without changing any output.

Those that nothing reads, those of which there are two, and those that never vary: over the calibration rows, or by the
weights alone (see :mod:`regc.compiler.structure.certain`). What a unit always is becomes part of the biases behind it.
Where a convolution pads it cannot, for at the borders it sees zeros in place of the unit: there one such unit stays
and carries the others, which are multiples of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regc.compiler.passes import Consumer, Kept, Refusal, Units
from regc.compiler.statistics import Statistics
from regc.passes.neuron_mask.removal import STILL, norms

Float64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Constants:
    """What a consumer reads of units that do not vary, float64 ``[units, inner]``; ``bordered`` are those that it sees
    with zeros beside them, ``known`` those that do not vary at all or so, bool ``[units]``.
    """

    values: Float64
    known: Flags
    bordered: Flags


def exact(units: Units) -> Kept | Refusal:
    """Leave out what changes no output."""
    keep = np.ones(units.units, np.bool_)
    weights = [consumer.weight.copy() for consumer in units.consumers]
    columns = [weight.reshape(len(weight), units.units, -1) for weight in weights]
    offsets = [np.zeros(len(weight), np.float32) for weight in weights]
    found = [constants(consumer, units.units) for consumer in units.consumers]
    known, carrier = _known(units, found), _carriers(found)
    for unit in map(int, np.flatnonzero(known)):
        if carrier[unit] == unit:
            continue
        keep[unit] = False
        for part, constant, offset in zip(columns, found, offsets, strict=True):
            first = carrier[unit]
            if first >= 0 and constant.bordered[unit]:
                part[:, first] += part[:, unit] * (constant.values[unit] / constant.values[first]).astype(np.float32)
            else:
                offset[:] += (part[:, unit] @ np.nan_to_num(constant.values[unit])).astype(np.float32)
            part[:, unit] = 0
    for unit, first in enumerate(map(int, units.alike)):
        if first != unit and keep[unit] and keep[first]:
            keep[unit] = False
            for part in columns:
                part[:, first] += part[:, unit]
                part[:, unit] = 0
    if keep.all():
        return Refusal("every unit differs from all others, varies and is read")
    if not keep.any():
        keep[0] = True
    return Kept(np.flatnonzero(keep), tuple(weights), tuple(o if o.any() else None for o in offsets))


def constants(consumer: Consumer, units: int) -> Constants:
    """What a consumer reads of units that do not vary, by the model's weights or over the calibration rows."""
    sure = _by_weights(consumer, units)
    if consumer.inputs is None:
        return sure
    seen = _by_rows(consumer, consumer.inputs, units)
    return Constants(
        np.where(sure.known[:, None], sure.values, seen.values),
        sure.known | seen.known,
        np.where(sure.known, sure.bordered, seen.bordered),
    )


def _by_weights(consumer: Consumer, units: int) -> Constants:
    if consumer.certain is None:
        nothing = np.zeros(units, np.bool_)
        return Constants(np.full((units, consumer.weight.shape[1] // units), np.nan), nothing, nothing)
    values = consumer.certain.reshape(units, -1)
    known = np.asarray(~np.isnan(values).any(1))
    return Constants(values, known, np.asarray(known & consumer.padded & (values != 0).any(1)))


def _by_rows(consumer: Consumer, inputs: Statistics, units: int) -> Constants:
    shape = (units, -1)
    mean, moment = inputs.mean.reshape(shape), inputs.second_moment.reshape(shape)
    fixed = moment - np.square(mean) <= STILL * moment
    everywhere = np.asarray(fixed.all(1))
    value = np.take_along_axis(mean, fixed.argmax(1)[:, None], 1)
    # Zero or the value, nothing else: x (x - value) is zero on average, and below zero for all between.
    two = np.abs(moment - value * mean) <= STILL**0.5 * np.square(value)
    within = inputs.peak.reshape(shape) <= np.abs(value) * 1.000001
    bordered = np.asarray(consumer.padded & fixed.any(1) & ~everywhere & (two & within).all(1))
    return Constants(np.where(everywhere[:, None], mean, value), everywhere | bordered, bordered)


def _known(units: Units, found: list[Constants]) -> Flags:
    """Which units change nothing, or always the same."""
    unread = np.all([norms(consumer.weight, None, units.units) == 0 for consumer in units.consumers], 0)
    return np.asarray(unread | np.all([constant.known for constant in found], 0), np.bool_)


def _carriers(found: list[Constants]) -> npt.NDArray[np.intp]:
    """For units that cannot become part of every bias, the first that can carry them; -1 for all others."""
    known = np.all([constant.known for constant in found], 0)
    bordered = np.any([constant.bordered for constant in found], 0) & known
    carrier = np.full(len(known), -1, np.intp)
    alike: dict[bytes, int] = {}
    for unit in map(int, np.flatnonzero(bordered)):
        where = np.array([constant.bordered[unit] for constant in found]).tobytes()
        carrier[unit] = alike.setdefault(where, unit)
    return carrier
