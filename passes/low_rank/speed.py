"""Whether two products with thin factors take less time than the one that they replace.

Time follows the multiply-adds, and the second node costs about as much as 32 thousand of them. Measured in ONNX Runtime
1.32 (Emerald Rapids, one thread, float32): time of two products by that of one, and the share of the multiply-adds:

    1536x384, 1 row / 32 rows   0.30 / 0.43 at 0.42, 0.61 / 0.72 at 0.73, 0.77 / 0.88 at 0.89
    768x768                     0.28 / 0.41 at 0.42, 0.59 / 0.73 at 0.75, 0.85 / 0.92 at 0.92
    2048x2048                   0.45 / 0.36 at 0.41, 0.77 / 0.64 at 0.75, 0.91 / 0.80 at 0.91
    384x384                     0.70 / 0.48 at 0.42, 0.99 / 0.80 at 0.75, 1.05 / 0.89 at 0.92
    64x256, 32 rows             1.03 at 0.39, 0.88 at 0.62, 1.00 at 0.78, 1.20 at 0.94

So nothing has to be timed while a model is compiled, which gives the same model on every machine. Where another machine
counts, :mod:`regc.passes.low_rank.measured` times it (``pays=measured``).
"""

from __future__ import annotations

from regc.passes.low_rank.measured import measured_share
from regc.runtime_ops import ops

NODE = 1 << 15
"""Multiply-adds that a node costs before it has computed anything."""
ROWS = 32
"""Rows of a product where the model does not say how many."""
LEAST = 0.9
"""Times above this share of one product's are not less: they differ more from machine to machine."""


def time_share(
    shape: tuple[int, int], rank: int, rows: int | None, beside: float = 0.0, *, measured: bool = False
) -> float:
    """The time of two products of this rank by that of one with the whole weight ``(N, K)``.

    That is roughly so, by a formula; for ``measured`` what this machine takes, of weights that it can time. ``beside``
    is the time of a third product, 0 where there is none.
    """
    found = measured_share(shape, rank, rows or ROWS) if measured else None
    if found is not None:
        return beside + found
    nodes = 2 if beside else 1
    return beside + (rank * sum(shape) + nodes * NODE / max(1, rows or ROWS)) / max(1, shape[0] * shape[1])


def beside_share(operator: str, rows: int | None, share: float = 1.0) -> float:
    """The time of a product of an operator that uses this share of a weight, by that of one with the whole weight.

    Added to another product, the sum is part of it. Where the operator's time is not known it is taken for the share.
    """
    speed = ops.OPERATORS[operator].region.speed(rows or ROWS, share)
    return share if speed is None else 1 / speed
