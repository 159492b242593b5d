"""Which gates are settled, and what is told of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.calibration.rows import Along
from regc.compiler.calibration.spread import Spread
from regc.compiler.calibration.taps import Tap
from regc.compiler.gates.find import Gate, find_gates
from regc.compiler.gates.fold import Array, Folding
from regc.compiler.model import Model
from regc.compiler.model.storage import stored
from regc.compiler.records import GateRecord
from regc.compiler.sites import Scopes, find_sites

Watch = Callable[[Model, Sequence[Tap]], Mapping[Tap, Spread] | str]
"""How far tensors vary over the calibration inputs, or why that cannot be seen, in words."""
UNSEEN = "needs calibration inputs to see whether it varies"


def settle_gates(model: Model, watch: Watch | None, tolerance: float) -> list[GateRecord]:
    """Put constants in the place of gates that vary by no more than ``tolerance`` over the calibration inputs, and take
    out what that makes idle; in place.
    """
    gates = find_gates(model, find_sites(model, Scopes(model.graph)))
    if watch is None or not gates:
        return [_record(gate, None, UNSEEN) for gate in gates]
    taps = {Tap.of(model.graph, gate.tensor, Along(gate.axis)): gate for gate in gates}
    spreads = watch(model, list(taps))
    if isinstance(spreads, str):
        return [_record(gate, None, spreads) for gate in gates]
    records = []
    for tap, gate in taps.items():
        found = spreads.get(tap)
        if found is None:
            records.append(_record(gate, None, "the calibration inputs do not show it in one size"))
        elif not found.width <= tolerance:
            records.append(_record(gate, found, "varies"))
        else:
            records.append(_settled(model, gate, found, tolerance))
    return records


def _settled(model: Model, gate: Gate, spread: Spread, tolerance: float) -> GateRecord:
    """Another gate may have taken it out already; readers that need its shape may keep it."""
    if not _there(model, gate):
        return _record(gate, spread, None)
    nbytes = _nbytes(model)
    nodes = Folding(model).fold(gate.tensor, _constant(gate, spread, tolerance))
    kept = _there(model, gate)
    return replace(
        _record(gate, spread, "never varies, but what reads it needs it whole" if kept and not nodes else None),
        nodes=nodes,
        nbytes=max(0, nbytes - _nbytes(model)),
    )


def _constant(gate: Gate, spread: Spread, tolerance: float) -> Array:
    """The mean, and exactly 0 or 1 where it is that within the tolerance; one value where all are alike."""
    values = spread.mean
    for whole in (0.0, 1.0):
        values = np.where(np.abs(values - whole) <= tolerance, whole, values)
    if gate.values == 1 or (values == values[0]).all():
        values = values[:1]
    shape = [1] * len(gate.dims)
    shape[gate.axis] = len(values)
    return np.asarray(values.reshape(shape)).astype(gate.dtype)


def _there(model: Model, gate: Gate) -> bool:
    return any(gate.tensor is output for node in model.graph.nodes for output in node.outputs)


def _nbytes(model: Model) -> int:
    """Bytes of all constants that nodes of the main graph read."""
    constants = {id(t): t for node in model.graph.nodes for t in node.inputs if isinstance(t, gs.Constant)}
    return sum(stored(constant._values).nbytes for constant in constants.values())


def _record(gate: Gate, spread: Spread | None, reason: str | None) -> GateRecord:
    name = gate.tensor.name
    if spread is None:
        return GateRecord(name, gate.op, reason=reason)
    return GateRecord(
        name=name,
        op=gate.op,
        values=len(spread.mean),
        low=float(spread.low.min()),
        high=float(spread.high.max()),
        variance=float(spread.variance.mean()),
        fixed=int((spread.high == spread.low).sum()),
        reason=reason,
    )
