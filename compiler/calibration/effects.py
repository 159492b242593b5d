"""How much single weights matter: what a model gives out when one of them alone has other values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.calibration.probe import Probe
from regc.compiler.calibration.rows import Along, Rows, mask_of
from regc.compiler.calibration.taps import Tap
from regc.compiler.feeds.inputs import Feed, inputs_of
from regc.compiler.feeds.sources import Feeds
from regc.compiler.model import Model
from regc.compiler.sites import Site
from regc.compiler.sites.chains import FLOATS, numpy_type
from regc.compiler.terms import Float32
from regc.compiler.verify.running import NO_WEIGHTS, OK, Runner, library_status, run

SAMPLES = 64
"""Samples, the first axis of inputs, that a model is run on for each weight.

Ranks of MiniLM at ratios 1.5 and 2 shared out by effects on 64 and on 189 sentences: cosine of the sentence vectors of
250 others to the original's 0.972 and 0.944 both times.
"""
_ROWS: Rows = Along(-1)

Outputs = list[list[Float32]]
"""The outputs that are floats for each feed, as rows without those that are masked."""


@dataclass
class Effects:
    """What single weights matter to the outputs of a model, which must be as it came. ``probe`` is of this model.

    ``stack`` holds the model's file, which is written when the first effect is asked for, and once for all.
    """

    model: Model
    probe: Probe
    feeds: Feeds
    mask: str | None
    threads: int | None
    stack: ExitStack

    def of(self, site: Site, matrix: Float32) -> float | None:
        """``||y' - y|| / ||y||``, the root of its mean square over outputs y, when a weight has this matrix ``[N, K]``.

        None where it is bfloat16 or no initializer of the main graph, and where the model has no outputs of floats or
        ONNX Runtime does not run it so.
        """
        weights = _replaced(self.model, site, matrix)
        if weights is None or self._before is None:
            return None
        try:
            after = self._run(weights)
        except Exception:  # ONNX Runtime's exceptions share no base class of their own
            return None
        outputs = zip(zip(*after, strict=True), zip(*self._before, strict=True), strict=True)
        changes = [_change(new, old) for new, old in outputs]
        return float(np.sqrt(np.mean(changes)))

    @cached_property
    def _path(self) -> Path:
        floats = [t for t in self.model.graph.outputs if t.dtype is not None and numpy_type(t.dtype).name in FLOATS]
        taps = [Tap.of(self.model.graph, tensor, _ROWS) for tensor in floats]
        return self.stack.enter_context(self.probe.written(taps))

    @cached_property
    def _before(self) -> Outputs | None:
        try:
            outputs = self._run(NO_WEIGHTS)
        except Exception:  # ONNX Runtime's exceptions share no base class of their own
            return None
        return outputs if outputs and all(outputs) else None

    def _run(self, weights: Mapping[str, Any]) -> Outputs:
        session = Runner(threads=self.threads, optimized=False).open(self._path, library_status() == OK, weights)
        return [
            [np.concatenate(list(_ROWS.of(np.atleast_1d(y), mask_of(feed, self.mask)))) for y in run(session, feed)]
            for feed in self._few(session)
        ]

    def _few(self, session: Any) -> Iterator[Feed]:
        """About :data:`SAMPLES` samples, from all over the feeds where their number is known."""
        inputs = inputs_of(session)
        first = next(self.feeds.of(inputs), None)
        if first is None:
            return iter(())
        batch = max((len(array) for array in first.values() if array.ndim), default=1)
        count = -(-SAMPLES // max(1, batch))
        known = self.feeds.count(inputs) if self.feeds.limit is None else None  # a limit may be more than there is
        total = known or count
        spread = {int((index + 0.5) * total / count) for index in range(count)} if total > count else set(range(count))
        return (feed for index, feed in enumerate(islice(self.feeds.of(inputs), total)) if index in spread)


def _replaced(model: Model, site: Site, matrix: Float32) -> dict[str, Any] | None:
    """The values of all stored copies of a weight for ONNX Runtime; None when one is no initializer of its own."""
    import onnxruntime  # noqa: PLC0415 - slow to import

    weights = {}
    for holder in site.holders:
        tensor = holder.tensor
        dtype = numpy_type(holder.constant.dtype)
        if not isinstance(tensor, gs.Constant) or holder.graph is not model.graph or dtype.name == "bfloat16":
            return None
        moved: Any = matrix
        for move in holder.layout.inverse():
            moved = move.apply(moved)
        values = np.ascontiguousarray(moved.astype(dtype))
        weights[tensor.name] = onnxruntime.OrtValue.ortvalue_from_numpy(values)
    return weights


def _change(new: tuple[Float32, ...], old: tuple[Float32, ...]) -> float:
    """``||y' - y||^2 / ||y||^2`` of one output over all feeds."""
    lost = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in zip(new, old, strict=True))
    whole = sum(float(np.square(b, dtype=np.float64).sum()) for b in old)
    return lost / whole if whole > 0 else lost
