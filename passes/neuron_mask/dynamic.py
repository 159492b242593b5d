"""When inputs are skipped at run time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regc.compiler.filters import Activity
from regc.compiler.passes import SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from regc.passes.feedback import towards
from regc.passes.neuron_mask.term import Gated, operator
from regc.passes.neuron_mask.thresholds import Float32, compensate, gate_for
from regc.runtime_ops import ops


@dataclass(frozen=True)
class Skipping:
    """How inputs are skipped: the options of the pass that matter to one weight."""

    sparsity: float
    wina: bool
    topk: bool
    centre: bool
    compensate: bool
    forced: bool


FORCE = "force=true skips inputs all the same"


def unfit(site: SiteInfo) -> str | None:
    """Why no input of a weight can be skipped, in words; None when they can."""
    if not site.multiplied:
        return "no product of ours can take the place of its node, so nothing would be skipped"
    if site.gathered or not site.splittable:
        return "not only products read it, and the others need all of its inputs"
    if site.dtype != np.float32:
        return f"gated weights are float32, the weight is {site.dtype}"
    return None


def loses(
    site: SiteInfo, shape: tuple[int, int], share: float, inputs: Statistics | None = None, *, topk: bool = False
) -> str | None:
    """Why skipping would not be faster, in words; None where it is, or where rows of a product are not known.

    ``share`` of the inputs of a row are used, on average.
    """
    rows = site.rows if inputs is None else inputs.product_rows(site.rows)
    found = ops.loses(operator(coded=False, topk=topk), shape, rows, share)
    return None if found is None else f"{found}; {FORCE}"


def gated(weight: Dense, inputs: Statistics, rows: Float32, how: Skipping) -> Gated:
    """The gated term of a weight, by a sample of the rows that flow into it, float32 ``[count, K]``."""
    values = weight.values
    if how.compensate and inputs.gram is not None:
        values = towards(values, inputs.gram, inputs.cross)
    gate = gate_for(values, rows, how.sparsity, wina=how.wina, topk=how.topk, centred=how.centre)
    found = compensate(values, gate, rows, refit=how.compensate)
    activity = Activity.of(gate.used(rows))
    return Gated(Dense(found.weight, weight.dtype), found.offset, gate, activity, how.forced)
