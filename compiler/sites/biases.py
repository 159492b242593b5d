"""What is added behind a product: a constant for every row, to which more can be added at no cost."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import onnx_graphsurgeon as gs

from regc.compiler.sites.chains import STANDARD, constant_of

if TYPE_CHECKING:
    from regc.compiler.sites.find import Reader


def only_add(tensor: gs.Tensor, graph: gs.Graph, kept: Container[int]) -> gs.Node | None:
    """The one node of the graph that reads a tensor, if it is an Add with another tensor.

    ``kept`` has the identities of tensors that are read otherwise, too: outputs of graphs.
    """
    if id(tensor) in kept or len(tensor.outputs) != 1:
        return None
    node = tensor.outputs[0]
    adds = node.op == "Add" and node.domain in STANDARD and len(node.inputs) == 2 and not node.attrs
    return node if adds and any(other is node for other in graph.nodes) else None


def other_than(tensor: gs.Tensor, node: gs.Node) -> gs.Tensor:
    """The other of two inputs of a node."""
    first, second = node.inputs
    return second if first is tensor else first


def is_bias(constant: gs.Constant | None, outputs: int, rank: int) -> bool:
    """Whether a constant is the same for every row of a tensor of N ``outputs`` and at least this rank."""
    if constant is None:
        return False
    leading, last = (1, *constant.shape)[:-1], (1, *constant.shape)[-1]
    return last in (1, outputs) and all(size == 1 for size in leading) and len(leading) <= rank


def takes_offset(reader: Reader, outputs: int, kept: Container[int]) -> bool:
    """Whether an offset ``[N]`` of what the reader's node gives becomes part of a constant that is added anyway, or of
    an input of the node that may as well be there.
    """
    node = reader.node
    if node.op in ("Gemm", "Conv"):
        bias = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
        known = bias is None or is_bias(constant_of(bias), outputs, 1)
        plain = node.op == "Conv" or (reader.role.index == 1 and node.attrs.get("alpha", 1.0) == 1.0)
        return known and plain and reader.role.splittable
    if node.op != "MatMul" or reader.role.index != 1:
        return False
    product = node.outputs[0]
    add = only_add(product, reader.graph, kept)
    rank = max(1, len(node.inputs[0].shape or ()))
    return add is not None and is_bias(constant_of(other_than(product, add)), outputs, rank)
