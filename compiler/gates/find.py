"""Gates of a model: tensors that scale, open or choose between others, by what the model has learned.

- what a Mul has for a factor when a Sigmoid, a HardSigmoid, or a comparison, a rounding or a clipping has computed it;
  not so in an activation, which gates a tensor by itself,
- what a Where chooses by,
- what a BatchNormalization gives whose scales are all near zero: they have closed a branch.

What no weight has a part in is a mask that belongs to the inputs, and no gate; nor is what guards against values that
are not numbers, or that are exactly one: that calibration inputs never need it says nothing of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.shapes import dimensions
from regc.compiler.model import Model
from regc.compiler.sites import Site
from regc.compiler.sites.chains import STANDARD, numpy_type, trace
from regc.compiler.structure import Place

Dims = tuple[int | str, ...]
_BINARY = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor", "Not"})
_FACTORS = frozenset({"Sigmoid", "HardSigmoid", "Round", "Ceil", "Floor", "Clip", "Sign", "Cast", "Where"})
CLOSED = 1e-3
"""Scale up to which a BatchNormalization may be closed: what it normalizes is mostly below 10."""
_NEAR = 4
"""Nodes between a tensor and its gate up to which the tensor gates itself: Mul(x, Clip(Add(x, 3)) / 6)."""


@dataclass(frozen=True, eq=False)
class Gate:
    """A gate: ``tensor`` has its values, one for each place along ``axis`` (counted from the front)."""

    tensor: gs.Tensor
    op: str
    axis: int
    dims: Dims

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type."""
        return np.dtype(np.bool_) if self.op == "Where" else _dtype(self.tensor)

    @property
    def values(self) -> int | None:
        """How many values it has for one sample and place; None where that is not known."""
        size = self.dims[self.axis]
        return size if isinstance(size, int) else None


def find_gates(model: Model, sites: list[Site]) -> list[Gate]:
    """The gates of the main graph, in the order of the nodes that compute them."""
    dims, learned = dimensions(model), _learned(model.graph, sites)
    return [
        Gate(tensor, op, _axis(op, dims[tensor.name]), dims[tensor.name])
        for node in model.graph.nodes
        if node.domain in STANDARD and node.outputs
        for tensor, op in _gates(node)
        if dims.get(tensor.name) and id(tensor) in learned and trace(tensor) is None
    ]


def _learned(graph: gs.Graph, sites: list[Site]) -> set[int]:
    """The identities of tensors that weights have a part in; the shape of one is no part."""
    weighing = {id(reader.node) for site in sites for reader in site.readers}
    found: set[int] = set()
    for node in graph.nodes:
        if node.op in ("Shape", "Size"):
            continue
        if id(node) in weighing or any(id(tensor) in found for tensor in node.inputs):
            found |= {id(tensor) for tensor in node.outputs}
    return found


def _gates(node: gs.Node) -> Iterator[tuple[gs.Tensor, str]]:
    tensor = node.outputs[0]
    if node.op == "BatchNormalization":
        chain = trace(node.inputs[1])
        if chain is not None and np.abs(Place(node, 1, 0).values()).max(initial=0) <= CLOSED:
            yield tensor, node.op
    elif any(reader.op == "Where" and reader.inputs[0] is tensor for reader in tensor.outputs):
        if not _guards(node):
            yield tensor, "Where"
    elif node.op in _FACTORS and _scales(node):
        yield tensor, node.op


def _guards(node: gs.Node) -> bool:
    """Whether a condition asks for values that are to be handled in another way, where others open and close."""
    while node.op in ("Not", "Cast", "And", "Or") and node.inputs[0].inputs:
        node = node.inputs[0].inputs[0]
    return node.op in ("IsNaN", "IsInf", "Equal")


def _scales(node: gs.Node) -> bool:
    """Whether the output of a node scales another tensor than what it is itself computed from."""
    tensor = node.outputs[0]
    near = set(_near(node, _NEAR))
    for reader in tensor.outputs:
        for other in reader.inputs if reader.op == "Mul" else ():
            after = other.inputs and id(tensor) in set(_near(other.inputs[0], _NEAR))
            if other is not tensor and id(other) not in near and not after and trace(other) is None:
                return node.op != "Cast" or _binary(node)
    return False


def _binary(cast: gs.Node) -> bool:
    producer = cast.inputs[0].inputs[0] if cast.inputs[0].inputs else None
    return producer is not None and producer.op in _BINARY


def _near(node: gs.Node, steps: int) -> Iterator[int]:
    for tensor in node.inputs:
        yield id(tensor)
        if steps and tensor.inputs:
            yield from _near(tensor.inputs[0], steps - 1)


def _dtype(tensor: gs.Tensor) -> np.dtype[Any]:
    """The type of a tensor: what is said of it, or that of what it is computed from."""
    node = tensor.inputs[0] if tensor.inputs else None
    if tensor.dtype is not None:
        return numpy_type(tensor.dtype)
    if node is None or node.op == "Cast":
        return np.dtype(np.float32) if node is None else numpy_type(node.attrs["to"])
    weights = (chain.dtype for t in node.inputs if (chain := trace(t)) is not None and chain.dtype.kind in "fV")
    return next(weights, None) or _dtype(node.inputs[0])


def _axis(op: str, dims: Dims) -> int:
    """The axis of the channels: the second of images and of what was pooled from them, otherwise the last."""
    channels = op == "BatchNormalization" or len(dims) > 3 or (len(dims) == 3 and dims[-1] == 1)
    return 1 if channels and len(dims) > 1 else len(dims) - 1


def covers(dims: Mapping[str, Dims], other: gs.Tensor, result: gs.Tensor) -> bool:
    """Whether a tensor alone gives a result its shape."""
    known = dims.get(other.name)
    return known is not None and known == dims.get(result.name)
