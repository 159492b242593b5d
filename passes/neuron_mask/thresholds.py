"""Which inputs of a row matter to the outputs of a weight, and what makes up for those that are skipped.

Skipping input j of a row x leaves out ``x[j] * W[:, j]``, of norm ``|x[j]| * norms[j]``: WINA (arXiv 2505.19427)
skips those below a threshold, a quantile of that product over calibration rows; TEAL (arXiv 2408.14690) takes
``|x[j]|`` alone. The squared error of a row is the sum of the squares of what is left out, but for products between
them, so that for weights with orthogonal columns no other choice of as many inputs is better.

Two things beyond the papers halve the error, at no cost in the product. Both are off in :func:`fit` on request:

- A ``centre``: inputs are replaced by what they mostly are, not by zero: ``x - centre`` is gated, and ``W centre``
  becomes part of the bias. For skipped inputs its best place is their mean, which changes which are skipped: both in
  turn lower the sum of squares until they agree.
- Compensation: what is left out is partly told by what is used. The weight that is multiplied is the one of least
  squared error ``|W z - W' gated(z)|^2`` over the rows, with a ridge that the outputs of held-out rows choose.

Mean error of the outputs of the 36 products of a sentence encoder, 65 % skipped, on rows that nothing was fitted on:
TEAL 0.229, WINA 0.222, with a centre 0.179, and compensation 0.134. Rotating the inputs of each into the basis of its
singular vectors, as WINA does, gives 0.142 alone and 0.125 with a centre, but needs another product: it is no choice.
Behind RMSNorm none is needed, for the stream between layers can be rotated for good once the scales are part of the
weights, but there it did not pay: divergence of a small language model's predictions from the original's at 40 %, on
three texts that nothing was fitted on, 0.149 as it came, 0.220 with the scales in the weights, and then 0.181 in the
principal components of the stream and 0.215 in the singular vectors of the weights that read it.

Both papers leave the first positions of a text dense. Of that model's predictions at 40 % those of the first position
are off by 0.003, of the first four by 0.014, of all others by 0.14; with every input of the first one, or the first
four, multiplied by the weight as it came, the others improve by 1 % (0.1362 to 0.1351, 0.1391 to 0.1375; 64 texts that
it wrote). That would take the weight as it came beside the compensated one, and where products have few enough rows
for skipping to be faster, the rows of a text being written, a product does not know which position its row is of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regc.runtime_ops.formats.gated import input_norms

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

ROUNDS = 6
"""Of centring. Three leave an error 2 % higher, more change nothing."""
_WORTH = 0.98
"""A centre or a compensation is used where it leaves less than this of the error."""
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
_SEEN = 256
"""Combinations of outputs by which the ridge is chosen: a vocabulary of them takes long."""


@dataclass(frozen=True, eq=False)
class Gate:
    """Which inputs of a row are used, of ``z = x - centre`` (None: of x itself).

    Input j is used unless ``|z[j]| * norms[j]`` is below ``threshold``; or, if ``keep`` is given, if this product is
    among the ``keep`` largest of its row, of equal ones the first. ``norms`` and ``centre`` are float32 ``[K]``.
    """

    norms: Float32
    threshold: float
    keep: int | None = None
    centre: Float32 | None = None

    def moved(self, rows: Float32) -> Float32:
        """Rows ``[count, K]`` less the centre."""
        return rows if self.centre is None else rows - self.centre

    def scores(self, rows: Float32) -> Float32:
        """The products that decide, float32 ``[count, K]``."""
        return np.abs(self.moved(rows)) * self.norms

    def used(self, rows: Float32) -> npt.NDArray[np.bool_]:
        """Which inputs of each row are used. What is not a number is above a threshold, and counts as infinity."""
        scores = self.scores(rows)
        if self.keep is None:
            return ~(scores < np.float32(self.threshold))
        scores = np.where(np.isnan(scores), np.float32(np.inf), scores)
        place = scores.shape[-1] - self.keep
        least = np.partition(scores, place, axis=-1)[..., place, None]
        above, equal = scores > least, scores == least
        room = self.keep - above.sum(-1, keepdims=True)
        used: npt.NDArray[np.bool_] = above | (equal & (equal.cumsum(-1) <= room))
        return used

    def enter(self, rows: Float32) -> Float32:
        """What is multiplied in place of rows: z, zero where it is not used."""
        return np.where(self.used(rows), self.moved(rows), np.float32(0))


def gate_for(weight: Float32, rows: Float32, sparsity: float, *, wina: bool, topk: bool, centred: bool) -> Gate:
    """The gate that skips the share ``sparsity`` of the inputs of rows ``[count, K]`` of a weight ``[N, K]``.

    What is exactly zero, or at its centre, is always skipped.
    """
    norms = input_norms(weight) if wina else np.ones(weight.shape[1], np.float32)
    keep = max(1, weight.shape[1] - round(sparsity * weight.shape[1])) if topk else None
    plain = _with_threshold(Gate(norms, 0.0, keep, None), rows, sparsity)
    if not centred:
        return plain
    centre = np.median(rows, axis=0).astype(np.float32)
    gate = _with_threshold(Gate(norms, 0.0, keep, centre), rows, sparsity)
    for _ in range(ROUNDS):
        skipped = ~gate.used(rows)
        away = ((rows - centre) * skipped).sum(0, dtype=np.float64) / np.maximum(skipped.sum(0), 1)
        centre = (centre + away).astype(np.float32)
        gate = _with_threshold(Gate(norms, 0.0, keep, centre), rows, sparsity)
    lengths = input_norms(weight)
    return gate if _left_out(gate, rows, lengths) < _WORTH**2 * _left_out(plain, rows, lengths) else plain


@dataclass(frozen=True)
class Compensated:
    """The weight ``[N, K]`` that is multiplied, and what is added to its outputs: float32 ``[N]``, None for zero."""

    weight: Float32
    offset: Float32 | None


def compensate(weight: Float32, gate: Gate, rows: Float32, *, refit: bool) -> Compensated:
    """The weight and offset for the inputs that a gate lets through, for the least error of the outputs of rows.

    Without ``refit`` the weight stays, and the offset is what the centre adds.
    """
    passed = gate.enter(rows)
    refitted = _refitted(weight, gate.moved(rows) - passed, passed) if refit else None
    if refitted is None:
        return Compensated(weight, None if gate.centre is None else weight @ gate.centre)
    offset = rows.mean(0, dtype=np.float64) @ weight.T - passed.mean(0, dtype=np.float64) @ refitted.T
    return Compensated(refitted, offset.astype(np.float32))


def _refitted(weight: Float32, missed: Float32, passed: Float32) -> Float32 | None:
    """The weight that also tells the outputs of ``missed`` from ``passed``, ``[count, K]`` both; None if it cannot.

    A ridge regression in its dual form, for there are mostly fewer rows than inputs.
    """
    wanted, given = _centred(missed).astype(np.float64) @ weight.T, _centred(passed).astype(np.float64)
    ridge = _best_ridge(given, wanted)
    if ridge is None:
        return None
    overlap = given @ given.T
    overlap[np.diag_indices_from(overlap)] += ridge * max(float(np.trace(overlap)) / given.shape[1], 1e-30)
    added = given.T @ np.linalg.solve(overlap, wanted)
    return np.asarray(weight + added.T, np.float32)


def _best_ridge(given: Float64, wanted: Float64) -> float | None:
    """The ridge that leaves the least of the last quarter of the rows unexplained by the others, None for none."""
    count = len(given) * 3 // 4
    if not 1 <= count < len(given) or not wanted.any() or not given.any():
        return None
    if wanted.shape[1] > _SEEN:
        wanted = wanted @ np.random.default_rng(0).standard_normal((wanted.shape[1], _SEEN))
    values, vectors = np.linalg.eigh(given[:count] @ given[:count].T)
    across = given[count:] @ given[:count].T @ vectors
    along = vectors.T @ wanted[:count]
    unit = float(values.sum()) / given.shape[1]
    lost: dict[float, float] = {
        ridge: float(np.square(wanted[count:] - (across / (values.clip(0) + ridge * unit)) @ along).sum())
        for ridge in _RIDGES
    }
    best = min(lost, key=lost.__getitem__)
    return best if lost[best] < _WORTH**2 * float(np.square(wanted[count:]).sum()) else None


def _with_threshold(gate: Gate, rows: Float32, sparsity: float) -> Gate:
    if gate.keep is not None:
        return gate
    threshold = float(np.float32(np.quantile(gate.scores(rows), sparsity)))
    return Gate(gate.norms, max(threshold, float(np.finfo(np.float32).tiny)), None, gate.centre)


def _left_out(gate: Gate, rows: Float32, lengths: Float32) -> float:
    """The sum of squares of what is skipped."""
    skipped = (gate.moved(rows) - gate.enter(rows)) * lengths
    return float(np.square(skipped, dtype=np.float64).sum())


def _centred(rows: Float32) -> Float32:
    return np.asarray(rows - rows.mean(0, dtype=np.float64).astype(np.float32), np.float32)
