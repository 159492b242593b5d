"""Bias correction (arXiv 1906.04721, 4.2): what weights lose of the mean of their outputs goes into the bias behind.

That is ``W mean' - W' mean``, a constant for each output, for the mean input and what it was before anything was
compressed. Where something is added behind every product anyway it becomes part of that. Nowhere else: a node that adds
it would cost time, and it is little, as passes fit to second moments that are not centred, and keep the mean as they
keep any direction of much energy.
"""

from __future__ import annotations

from regc.compiler.passes import SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Float32, Term

LOSSLESS = 1e-6
"""Errors of a weight up to this are rounding: nothing has to be made up for."""


def lost_bias(
    term: Term, weight: Dense, site: SiteInfo, inputs: Statistics | None, error: float | None
) -> Float32 | None:
    """What to add to the bias behind a weight, float32 ``[N]``; None where there is none, or nothing is lost.

    ``error`` is that of the weight. A term that does something to its inputs first has an offset of its own.
    """
    if inputs is None or not site.biased or not term.linear or error is None or error <= LOSSLESS:
        return None
    return inputs.lost_mean(term.dense(), weight.values)
