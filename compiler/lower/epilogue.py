"""What follows a product in the graph and can be done by the operator that computes it.

First a constant that is added to every row, the operator's bias; then an activation, or the sum with another tensor
(a residual connection). Read and written by nodes of their own they cost more than in the operator, which has every
output in a register.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.activations import TOLERANCE, activation_of
from regc.compiler.model import load_values
from regc.compiler.sites.biases import is_bias, only_add, other_than
from regc.compiler.sites.chains import constant_of
from regc.compiler.terms import Float32


@dataclass(frozen=True)
class Followers:
    """Nodes behind a product that its operator can do, the last of which gives ``output``.

    ``bias`` is float32 ``[N]`` or ``[1]``, ``ending`` a row of :mod:`regc.runtime_ops.endings` or empty, and
    ``other`` what ``Add`` adds.
    """

    output: gs.Tensor
    nodes: tuple[gs.Node, ...] = ()
    bias: Float32 | None = None
    ending: str = ""
    other: gs.Tensor | None = None


@dataclass(frozen=True)
class Surroundings:
    """Of a product: its graph, the identities of all graph outputs, its N outputs, the rank of its result, and how far
    an activation behind it may be from what it is taken for.

    ``rank`` is at least 1; where it is not known, that is all that counts on.
    """

    graph: gs.Graph
    kept: set[int]
    outputs: int
    rank: int = 1
    tolerance: float = TOLERANCE

    def holds(self, node: gs.Node) -> bool:
        """Whether a node is in the graph itself, not in the body of another of its nodes."""
        return any(other is node for other in self.graph.nodes)


def bias_behind(product: gs.Tensor, here: Surroundings) -> Followers:
    """The constant that is added behind a product, if there is any, and nothing else."""
    found = Followers(product)
    return _bias(found, here) or found


def followers(product: gs.Tensor, here: Surroundings, *, biased: bool = False) -> Followers:
    """What follows a product; ``biased`` tells that the operator has a bias already."""
    found = Followers(product)
    for look in (_bias, _activation, _sum):
        if look is not _bias or not biased:
            found = look(found, here) or found
        if found.ending:
            break
    return found


def _bias(found: Followers, here: Surroundings) -> Followers | None:
    node = only_add(found.output, here.graph, here.kept)
    constant = constant_of(other_than(found.output, node)) if node is not None else None
    if node is None or constant is None or not is_bias(constant, here.outputs, here.rank):
        return None
    values = load_values(constant).astype(np.float32).reshape(-1)
    return Followers(node.outputs[0], (*found.nodes, node), values)


def _activation(found: Followers, here: Surroundings) -> Followers | None:
    activation = activation_of(found.output, here.holds, here.kept, here.tolerance)
    if activation is None:
        return None
    return Followers(activation.output, (*found.nodes, *activation.nodes), found.bias, activation.ending)


def _sum(found: Followers, here: Surroundings) -> Followers | None:
    node = only_add(found.output, here.graph, here.kept)
    if node is None or constant_of(other := other_than(found.output, node)) is not None:
        return None
    return Followers(node.outputs[0], (*found.nodes, node), found.bias, "Add", other)
