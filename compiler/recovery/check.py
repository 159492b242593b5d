"""PyTorch beside ONNX Runtime, node by node: each node gets the inputs that ONNX Runtime computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, helper

from regc.compiler.model import from_proto
from regc.compiler.model.protos import describe
from regc.compiler.recovery.network import Network, NodeError, reads, unsupported
from regc.compiler.recovery.operators.shaping import from_numpy

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Checked:
    """One node: ``error`` is the largest difference by the largest magnitude, infinite for another shape or type.

    ``words`` say why it could not be run, empty when it could.
    """

    node: str
    error: float
    words: str = ""


def check_nodes(proto: ModelProto, feeds: Mapping[str, Array]) -> Iterator[Checked]:
    """Compare every node of the main graph of a model that computes from a feed."""
    model = from_proto(proto)
    names = [t.name for node in model.graph.nodes for t in node.outputs if not t.is_empty()]
    expected = _run(proto, names, feeds) | dict(feeds)
    network = Network(model.graph, model.opset, [])
    for node in model.graph.nodes:
        yield _checked(network, node, expected)


def _checked(network: Network, node: Any, expected: Mapping[str, Array]) -> Checked:
    name = unsupported(node)
    if name is not None:
        return Checked(describe(node), float("inf"), f"{name} is not known")
    values = {id(tensor): from_numpy(expected[tensor.name]) for tensor in reads(node) if tensor.name in expected}
    try:
        with torch.no_grad():
            results = network.outputs_of(node, values)
    except NodeError as error:
        return Checked(describe(node), float("inf"), str(error))
    pairs = [(r, expected[t.name]) for r, t in zip(results, node.outputs, strict=False) if t.name in expected]
    return Checked(describe(node), max((difference(result.numpy(), array) for result, array in pairs), default=0.0))


def difference(found: Array, expected: Array) -> float:
    """The largest difference by the largest magnitude (at least 1); infinite for another shape or type."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if not expected.size:
        return 0.0
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.array_equal(found, expected) else float("inf")
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    wide = np.where(same, 0, np.subtract(found, expected, dtype=np.float64))
    finite = np.abs(np.where(np.isfinite(expected), expected, 0)).max()
    return float(np.nan_to_num(np.abs(wide), nan=np.inf).max() / max(1.0, finite))


def _run(proto: ModelProto, names: list[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All tensors of the main graph, as ONNX Runtime computes them without optimizing."""
    import onnxruntime as ort  # noqa: PLC0415

    copy = ModelProto.FromString(proto.SerializeToString())
    given = {output.name for output in copy.graph.output}
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in given)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(feeds)), strict=True))
    return {name: np.asarray(value) for name, value in found.items() if not isinstance(value, list)}
