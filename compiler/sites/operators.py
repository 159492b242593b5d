"""Which inputs of which operators are weights, and how each lies as a matrix ``[N, K]`` of outputs and inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from regc.compiler.sites.layout import Shape


@dataclass(frozen=True)
class Role:
    """How one input of a node serves as a weight.

    The matrix is the tensor with its axes reordered by ``perm``, the first ``rows`` of them joined to N.
    ``multiplied`` tells that a matrix-product operator of ours can replace the node, ``splittable`` that two nodes
    can compute a product of factors, ``gathered`` that the node looks up rows.
    """

    index: int
    perm: Shape
    rows: int = 1
    multiplied: bool = False
    splittable: bool = False
    gathered: bool = False


_Rule = Callable[[gs.Node, int, Shape], Role | None]


def role_of(node: gs.Node, index: int, shape: Shape) -> Role | None:
    """The role of input ``index`` of a node, a constant of this shape; None when it is no weight that regc knows."""
    rule = _RULES.get((node.domain or "", node.op))
    return rule(node, index, shape) if rule is not None and len(shape) >= 2 else None


def takes_weight(node: gs.Node, index: int) -> bool:
    """Whether input ``index`` of a node is a weight, whatever the rank of its tensor."""
    return any(role_of(node, index, (1,) * rank) is not None for rank in (2, 3, 4, 5))


def _identity(shape: Shape) -> Shape:
    return tuple(range(len(shape)))


def _swapped(shape: Shape) -> Shape:
    *batch, row, column = range(len(shape))
    return (*batch, column, row)


def _matmul(node: gs.Node, index: int, shape: Shape) -> Role | None:
    if len(node.inputs) != 2:
        return None
    perm = _swapped(shape) if index == 1 else _identity(shape)
    if len(shape) > 2:
        return Role(index, perm, rows=len(shape) - 1)
    other = node.inputs[1 - index]
    known = index == 1 or (other.shape is not None and len(other.shape) > 0)
    return Role(index, perm, multiplied=known, splittable=known)


def _gemm(node: gs.Node, index: int, shape: Shape) -> Role | None:
    if index > 1:
        return None
    turned = bool(node.attrs.get("transB" if index == 1 else "transA", 0))
    perm = (0, 1) if turned == (index == 1) else (1, 0)
    return Role(index, perm, multiplied=index == 1, splittable=index == 1)


def _conv(node: gs.Node, index: int, shape: Shape) -> Role | None:
    if index != 1:
        return None
    return Role(index, _identity(shape), splittable=node.attrs.get("group", 1) == 1)


def _conv_transpose(node: gs.Node, index: int, shape: Shape) -> Role | None:
    outputs = tuple(range(1, len(shape)))
    return Role(index, (*outputs, 0), rows=len(outputs)) if index == 1 else None


def _gather(node: gs.Node, index: int, shape: Shape) -> Role | None:
    axis = node.attrs.get("axis", 0) % len(shape)
    perm = (axis, *(a for a in range(len(shape)) if a != axis))
    return Role(index, perm, gathered=axis == 0 and len(shape) == 2) if index == 0 else None


def _recurrent(node: gs.Node, index: int, shape: Shape) -> Role | None:
    return Role(index, _identity(shape), rows=2) if index in (1, 2) and len(shape) == 3 else None


def _plain(*indices: int) -> _Rule:
    return lambda node, index, shape: Role(index, _identity(shape)) if index in indices else None


def _input_major(index_of_weight: int) -> _Rule:
    return lambda node, index, shape: (
        Role(index, _swapped(shape), rows=len(shape) - 1) if index == index_of_weight else None
    )


def _fused_matmul(node: gs.Node, index: int, shape: Shape) -> Role | None:
    turned = bool(node.attrs.get("transB" if index == 1 else "transA", 0))
    perm = _identity(shape) if turned == (index == 1) else _swapped(shape)
    return Role(index, perm, rows=len(shape) - 1)


_RULES: dict[tuple[str, str], _Rule] = {
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "Gather"): _gather,
    ("", "LSTM"): _recurrent,
    ("", "GRU"): _recurrent,
    ("", "RNN"): _recurrent,
    ("", "Einsum"): _plain(0, 1),
    ("com.microsoft", "Attention"): _input_major(1),
    ("com.microsoft", "PackedAttention"): _input_major(1),
    ("com.microsoft", "LongformerAttention"): _input_major(1),
    ("com.microsoft", "EmbedLayerNormalization"): _plain(2, 3, 4),
    ("com.microsoft", "FusedConv"): _plain(1),
    ("com.microsoft", "FusedGemm"): _fused_matmul,
    ("com.microsoft", "FusedMatMul"): _fused_matmul,
}
