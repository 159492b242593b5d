"""Bias correction (arXiv 1906.04721, 4.2): what weights lose of the mean of their outputs goes into the bias behind.

That is ``W mean' - W' mean``, a constant for each output, for the mean input and what it was before anything was
compressed. Where something is added behind every product anyway it becomes part of that. Nowhere else: a node that adds
it would cost time, and it is little, as passes fit to second moments that are not centred, and keep the mean as they
keep any direction of much energy.

It is worth the while where layer after layer leaves something out. Of a sentence encoder the share of the mean in what
is lost is up to a third with half of the ranks or blocks, and where weights are coded 0.001 to 0.005: left as it is.
"""

from __future__ import annotations

from regc.compiler.passes import SiteInfo
from regc.compiler.statistics import Statistics, energy
from regc.compiler.terms import Dense, Float32, Term

LOSSLESS = 1e-6
"""Errors of a weight up to this are rounding: nothing has to be made up for."""
LEAST = 0.01
"""Share of the mean in the energy of what is lost from which it is made up for."""


def lost_bias(
    term: Term, weight: Dense, site: SiteInfo, inputs: Statistics | None, error: float | None
) -> Float32 | None:
    """What to add to the bias behind a weight, float32 ``[N]``; None where there is none, or it is hardly anything.

    ``error`` is that of the weight. A term that does something to its inputs first has an offset of its own.
    """
    if inputs is None or inputs.gram is None or not site.biased or not term.linear or not error or error <= LOSSLESS:
        return None
    values = term.dense()
    offset = inputs.lost_mean(values, weight.values)
    return offset if float(offset @ offset) > LEAST * energy(values - weight.values, inputs.gram) else None
