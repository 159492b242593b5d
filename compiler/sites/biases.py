"""What is added behind a product: a constant for every row, to which more can be added at no cost."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.model import Model, load_values
from regc.compiler.sites.chains import STANDARD, constant_of
from regc.compiler.terms import Float32

if TYPE_CHECKING:
    from regc.compiler.sites.find import Reader

_BIASED = frozenset({"Gemm", "Conv"})
"""Operators with a bias as their third input."""


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
    if node.op in _BIASED:
        bias = _third(node)
        known = bias is None or is_bias(constant_of(bias), outputs, 1)
        plain = node.op == "Conv" or (reader.role.index == 1 and node.attrs.get("alpha", 1.0) == 1.0)
        return known and plain and reader.role.splittable
    if node.op != "MatMul" or reader.role.index != 1:
        return False
    product = node.outputs[0]
    add = only_add(product, reader.graph, kept)
    rank = max(1, len(node.inputs[0].shape or ()))
    return add is not None and is_bias(constant_of(other_than(product, add)), outputs, rank)


def add_offset(reader: Reader, offset: Float32, model: Model) -> gs.Tensor | None:
    """Let the constant behind a reader's node, which :func:`takes_offset`, have an offset ``[N]`` more.

    Returns the tensor that was added before, which may have no reader any more.
    """
    node, product = reader.node, reader.node.outputs[0]
    if node.op in _BIASED:
        old, factor = _third(node), np.float32(node.attrs.get("beta", 1.0))
    else:
        node, factor = product.outputs[0], np.float32(1)
        old = other_than(product, node)
    known = constant_of(old) if old is not None and factor else None
    if known is None:
        bias, name = offset.astype(reader.dtype), f"{product.name}.bias"
        node.attrs |= {"beta": 1.0} if node.op == "Gemm" else {}
    else:
        bias, name = (load_values(known).astype(np.float32) + offset / factor).astype(known.dtype), known.name
    constant = model.add_constant(model.fresh_name(name), bias)
    place = next((index for index, tensor in enumerate(node.inputs) if tensor is old), 2)
    if place == len(node.inputs):
        node.inputs.append(constant)
    else:
        node.inputs[place] = constant
    return old


def _third(node: gs.Node) -> gs.Tensor | None:
    """The bias of a Gemm or a Conv, if there is any."""
    return node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
