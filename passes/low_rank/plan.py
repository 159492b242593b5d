"""Ranks for all weights of a model under one budget.

What a direction is worth follows from two things. Within a weight it is the squared error that leaving it out costs,
output by output relative to their energy. Between weights it is what the model's own outputs show: each weight in turn
gets half the rank that the ratio asks for, and the change of the outputs says how much its error counts.
Ranks of MiniLM, shared out with half of the calibration sentences; cosine of the sentence vectors of the other half to
the original's at ratio 1.5 / 2: one ratio for all weights 0.926 / 0.890, by error relative to all outputs of a weight
0.926 / 0.866, output by output 0.938 / 0.908, with the effects of weights 0.973 / 0.946.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from regc.compiler.passes import Surveyed
from regc.passes.budget import Point, share_out
from regc.passes.low_rank.fit import exact_rank, factors, rank_for_ratio, spectrum
from regc.passes.low_rank.spatial import Spatial

STEP = 16
"""Ranks are multiples of it where they can be: our kernels compute outputs in tiles of 16, and pad the rank to that."""
WHOLE = 0
"""The choice to leave a weight as it is."""


@dataclass(frozen=True)
class Curve:
    """What a weight may become. ``points`` have errors by the weight's own outputs, which ``worth`` turns into those
    of the model; None where nothing is known of that.
    """

    points: Sequence[Point]
    worth: float | None
    values: int
    itemsize: int


def curve(survey: Surveyed, ratio: float, pays: Callable[[int], bool], spatial: Spatial | None = None) -> Curve:
    """The ranks that a weight may have, those that pay, and the weight itself.

    Errors are those of the split into channels, also where there is a ``spatial`` one; of that only kernels count that
    are separable, by the rank of the former that takes as much work.
    """
    shape, itemsize = survey.weight.shape, survey.weight.dtype.itemsize
    gram = survey.inputs.gram if survey.inputs is not None else None
    found = spectrum(survey.weight.values, gram)
    size = sum(shape) * itemsize
    exact = exact_rank(survey.weight.values, found)
    separable = None if spatial is None else spatial.exact_rank(survey.weight.values)
    if spatial is not None and separable is not None:
        alike = spatial.other(separable)
        exact = alike if exact is None else min(alike, exact)
    if exact is not None and pays(exact):
        return Curve([Point(exact * size, 0.0, exact)], None, shape[0] * shape[1], itemsize)
    left = np.maximum(np.append(np.cumsum(found.relative[::-1])[::-1], 0.0), 0.0)
    points = [Point(rank * size, float(left[rank]), rank) for rank in _ranks(shape, ratio) if pays(rank)]
    points.append(Point(survey.weight.nbytes, 0.0, WHOLE))
    probed = max(1, rank_for_ratio(shape, 2 * ratio))
    first, second = factors(survey.weight.values, found, probed)
    effect = survey.effect(first @ second)
    worth = effect**2 / float(left[probed]) if effect is not None and left[probed] > 0 else None
    return Curve(points, worth, shape[0] * shape[1], itemsize)


def ranks(curves: dict[str, Curve], ratio: float) -> dict[str, int]:
    """The rank of each weight, :data:`WHOLE` for those that stay, so that all values are ``ratio`` times fewer."""
    known = [curve.worth for curve in curves.values() if curve.worth]
    typical = float(np.exp(np.mean(np.log(known)))) if known else 1.0
    weighed = {
        name: [
            point._replace(error=point.error * (typical if curve.worth is None else curve.worth))
            for point in curve.points
        ]
        for name, curve in curves.items()
    }
    budget = int(sum(curve.values * curve.itemsize for curve in curves.values()) / ratio)
    return {name: point.choice for name, point in share_out(weighed, budget).items()}


def _ranks(shape: tuple[int, int], ratio: float) -> Iterable[int]:
    """Multiples of :data:`STEP`, or of 4 or 1 where the ratio leaves no room for that."""
    usual = rank_for_ratio(shape, ratio)
    step = next(step for step in (STEP, 4, 1) if usual >= step or step == 1)
    return range(step, min(*shape, rank_for_ratio(shape, 1.0)) + 1, step)
