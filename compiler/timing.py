"""How fast products with terms are on this machine, beside the product with the weight that they stand for.

For reports, and for passes that are asked to go by it (``pays=measured``): without that, what is emitted is the same on
every machine. Times are of ONNX Runtime on one thread, of one product after the other, so that a weight comes from the
cache where it fits into it.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from regc.compiler.filters import activities
from regc.compiler.lower import Lowering
from regc.compiler.model import from_proto
from regc.compiler.records import Speed
from regc.compiler.sites import Scopes, find_sites
from regc.compiler.statistics import Statistics
from regc.compiler.target import Target
from regc.compiler.terms import Dense, Float32, Term
from regc.runtime_ops import ops

OPSET = 17
ROUNDS = 7
ROUND = 1e-3
"""Seconds that a model runs in a round, at least one call: 15 ms in all for two models of small weights."""
MOST_ROWS = 128
"""Of a product: with more, times grow in step."""
MOST_BYTES = 1 << 28
"""Of a float32 weight, which is in memory a few times while it is timed."""


def seconds(models: Sequence[onnx.ModelProto], feeds: Sequence[Float32]) -> list[float]:
    """The seconds that a run of each model of one input ``x`` takes, by turns, each run with the next of the feeds.

    ``feeds`` are float32 ``[rows, K]``, at least one. Medians of rounds: what else the machine does hits all models
    alike.

    Raises:
        OperatorLibraryError: our library is missing or cannot be loaded.
        Exception: whatever ONNX Runtime raises of a model that it does not load or run.
    """
    runs = [_runner(model, feeds) for model in models]
    calls = [_calls(run) for run in runs]
    rounds = [[_timed(run, count) for run, count in zip(runs, calls, strict=True)] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def product(weight: Dense, rows: int, term: Term | None = None, target: Target | None = None) -> onnx.ModelProto:
    """A model of the product of ``x`` float32 ``[rows, K]`` with a weight ``[N, K]``, or with the term in its place."""
    outputs, inputs = weight.shape
    stored = numpy_helper.from_array(np.ascontiguousarray(weight.values.T), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, inputs])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, outputs])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "product", [x], [y], [stored])
    imports = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=ops.MIN_IR_VERSION)
    if term is None or target is None:
        return proto
    model = from_proto(proto)
    scopes = Scopes(model.graph)
    lowering = Lowering(model, scopes, target)
    lowering.lower(find_sites(model, scopes)[0], term)
    model.add_functions(ops.functions(lowering.operands.operators, OPSET, target.operators(OPSET)))
    return model.to_proto()


class Stopwatch:
    """Tells how fast products are whose terms skip inputs, timed once for those of one shape, kind and share used."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._known: dict[tuple[object, ...], float | None] = {}

    def speed(self, weight: Dense, term: Term, rows: int | None, inputs: Statistics | None) -> Speed | None:
        """The speed of a product of so many rows, or of as many as ``inputs`` have on average, where that is None.

        None where no inputs are skipped, or it is not known what rows are like.
        """
        if inputs is None or inputs.sample is None or not activities(term):
            return None
        rows = inputs.product_rows(rows)
        if rows is None:
            return None
        return Speed(_predicted(term, rows), self._speedup(weight, term, rows, inputs.sample))

    def _speedup(self, weight: Dense, term: Term, rows: int, sample: Float32) -> float | None:
        """The time of a product with the weight by that with the term, for rows of a sample float32 ``[S, K]``.

        None where it cannot be timed: without our library, for what runs on a GPU, or where the weight is too large.
        """
        if weight.values.nbytes > MOST_BYTES or self.target.name == "cuda" or not len(sample):
            return None
        share = round(20 * term.work / max(1, weight.work))
        key = (weight.shape, rows, share, *(part.matmuls for part in term.operated()))
        if key not in self._known:
            self._known[key] = self._measured(weight, term, min(rows, MOST_ROWS), sample)
        return self._known[key]

    def _measured(self, weight: Dense, term: Term, rows: int, sample: Float32) -> float | None:
        models = [product(weight, rows), product(weight, rows, term, self.target)]
        try:
            before, after = seconds(models, _batches(sample, rows))
        except Exception:  # ONNX Runtime or our library may be missing, and its exceptions share no base class
            return None
        return before / after


def _predicted(term: Term, rows: int) -> float | None:
    """By what is known of the operator, where it is one."""
    parts = list(term.operated())
    if len(parts) != 1 or not parts[0].matmuls:
        return None
    return ops.OPERATORS[parts[0].matmuls[0]].region.speed(rows, parts[0].work / math.prod(parts[0].shape))


def _batches(sample: Float32, rows: int) -> list[Float32]:
    """A sample as products of so many rows, repeated where there are fewer."""
    repeats = -(-rows // len(sample))
    whole = np.concatenate([sample] * repeats) if repeats > 1 else sample
    return [np.ascontiguousarray(whole[start : start + rows]) for start in range(0, len(whole) - rows + 1, rows)]


def _runner(model: onnx.ModelProto, feeds: Sequence[Float32]) -> Callable[[], None]:
    import onnxruntime  # noqa: PLC0415 - slow to import

    from regc import runtime_ops  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    runtime_ops.register(options)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    turns: Iterator[dict[str, Any]] = itertools.cycle([{"x": feed} for feed in feeds])

    def run() -> None:
        session.run(None, next(turns))

    return run


def _calls(run: Callable[[], None]) -> int:
    run()
    return max(1, round(ROUND / max(_timed(run, 1), 1e-7)))


def _timed(run: Callable[[], None], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls
