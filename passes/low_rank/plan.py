"""Ranks for all weights of a model under one budget.

What a direction is worth follows from two things. Within a weight it is the squared error that leaving it out costs,
output by output relative to their energy, for a convolution in either of its splits. Between weights it is what the
model's own outputs show: each weight in turn gets half the rank that the ratio asks for, and the change of the outputs
says how much its error counts.
Ranks of MiniLM, shared out with half of the calibration sentences; cosine of the sentence vectors of the other half to
the original's at ratio 1.5 / 2: one ratio for all weights 0.926 / 0.890, by error relative to all outputs of a weight
0.926 / 0.866, output by output 0.938 / 0.908, with the effects of weights 0.973 / 0.946. Top-1 of a ResNet-20 on
CIFAR-10 at ratio 1.5, 81.0 % as it was: one ratio for all weights 78.3 %, shared out 79.2 %, where all are split into
channels 74.9 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from regc.compiler.passes import Surveyed
from regc.passes.budget import Point, share_out
from regc.passes.low_rank.fit import Float32, Float64, Spectrum, exact_rank, factors, rank_for_ratio, spectrum
from regc.passes.low_rank.rounding import STEPS
from regc.passes.low_rank.spatial import Spatial


class Form(NamedTuple):
    """A rank, in one of the splits of a convolution; no split for weights that have but one."""

    rank: int
    split: Literal["channels", "spatial"] | None = None


class Cost(NamedTuple):
    """What a form takes and loses: its values, and the error by the weight's own outputs."""

    values: int
    error: float


WHOLE = Form(0)
"""The weight as it is."""


@dataclass(frozen=True)
class Curve:
    """What a weight of so many ``values`` may become. ``worth`` turns its errors into those of the model; None where
    nothing is known of that.
    """

    costs: Mapping[Form, Cost]
    worth: float | None
    values: int
    itemsize: int

    def points(self, worth: float) -> list[Point]:
        """Its forms, by their position, in bytes and errors of the model."""
        return [
            Point(cost.values * self.itemsize, cost.error * worth, position)
            for position, cost in enumerate(self.costs.values())
        ]


def curve(
    survey: Surveyed, ratio: float, pays: Callable[[int], bool], spatial: Spatial | None = None, *, both: bool = True
) -> Curve:
    """The ranks that a weight may have, those that pay, and the weight itself.

    ``pays`` is asked for ranks of the split into channels; those of a ``spatial`` one count as the rank of the former
    that takes as much work. ``both`` tells that the former may be taken where there is a spatial one.
    """
    weight, shape, itemsize = survey.weight.values, survey.weight.shape, survey.weight.dtype.itemsize
    gram = survey.inputs.gram if survey.inputs is not None else None
    found = spectrum(weight, gram)
    values = shape[0] * shape[1]
    exact = _exact(weight, found, pays, spatial)
    if exact:
        return Curve(exact, None, values, itemsize)
    left = found.left_out
    costs = {}
    if spatial is not None:
        lost = spatial.left_out(weight, gram)
        usual = spatial.rank(rank_for_ratio(shape, ratio))
        along = (rank for rank in steps(usual, spatial.most) if pays(spatial.other(rank)))
        costs = {Form(rank, "spatial"): Cost(rank * spatial.values, float(lost[rank])) for rank in along}
    if spatial is None or both:
        split: Literal["channels"] | None = None if spatial is None else "channels"
        through = (rank for rank in steps(rank_for_ratio(shape, ratio), rank_for_ratio(shape, 1.0)) if pays(rank))
        costs |= {Form(rank, split): Cost(rank * sum(shape), float(left[rank])) for rank in through}
    costs[WHOLE] = Cost(values, 0.0)
    return Curve(costs, _worth(survey, found, left, max(1, rank_for_ratio(shape, 2 * ratio))), values, itemsize)


def ranks(curves: Mapping[str, Curve], ratio: float) -> dict[str, Form]:
    """The form of each weight, :data:`WHOLE` for those that stay, so that all values are ``ratio`` times fewer."""
    typical = typical_worth(curves.values()) or 1.0
    weighed = {name: curve.points(typical if curve.worth is None else curve.worth) for name, curve in curves.items()}
    budget = int(sum(curve.values * curve.itemsize for curve in curves.values()) / ratio)
    return {name: list(curves[name].costs)[point.choice] for name, point in share_out(weighed, budget).items()}


def typical_worth(curves: Iterable[Curve]) -> float | None:
    """The geometric mean of what errors of weights are worth; None where nothing is known of any."""
    known = [curve.worth for curve in curves if curve.worth]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def _exact(weight: Float32, found: Spectrum, pays: Callable[[int], bool], spatial: Spatial | None) -> dict[Form, Cost]:
    """The form without loss that takes the least work, if there is one that pays."""
    rank = exact_rank(weight, found)
    along = None if spatial is None else spatial.exact_rank(weight)
    if spatial is not None and along is not None and (rank is None or spatial.other(along) < rank):
        return {Form(along, "spatial"): Cost(along * spatial.values, 0.0)} if pays(spatial.other(along)) else {}
    if rank is None or not pays(rank):
        return {}
    return {Form(rank, None if spatial is None else "channels"): Cost(rank * sum(weight.shape), 0.0)}


def _worth(survey: Surveyed, found: Spectrum, left: Float64, probed: int) -> float | None:
    """The squared change of the model's outputs for each unit of error, as one rank shows it."""
    first, second = factors(survey.weight.values, found, probed)
    effect = survey.effect(first @ second)
    return effect**2 / float(left[probed]) if effect is not None and left[probed] > 0 else None


def steps(usual: int, most: int) -> Iterable[int]:
    """Multiples of 16, or of 4 or 1 where the ``usual`` rank leaves no room for that."""
    step = next(step for step in (*STEPS, 1) if usual >= step or step == 1)
    return range(step, most + 1, step)
