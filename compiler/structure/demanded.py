"""Sizes beyond those that shape inference proves: what they must be if a run of the model succeeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import zip_longest

import onnx_graphsurgeon as gs

from regc.compiler.sites.chains import STANDARD, trace
from regc.compiler.structure.ones import Dims, sizes

_BROADCAST = frozenset({"Add", "Sub", "Mul", "Div", "Where", "Pow", "Max", "Min", "Sum"})


def refined(graphs: Iterable[gs.Graph], dims: dict[str, Dims]) -> dict[str, Dims]:
    """Shapes by name, with more sizes: targets say what they give, inputs of products have as many columns as the
    weight has rows, and what is cut from a table to the length of a text and multiplied with it is as long as that.
    """
    nodes = [node for graph in graphs for node in graph.nodes if node.domain in STANDARD]
    same = _aliases(nodes, dims)
    found = {name: tuple(same.get(size, size) for size in shape) for name, shape in dims.items()}
    for node in nodes:
        if node.op in ("Reshape", "Expand") and (given := _given(node, found)) is not None:
            found[node.outputs[0].name] = given
        if node.op == "MatMul":
            chain, columns = trace(node.inputs[1]), found.get(node.inputs[0].name)
            if chain is not None and len(chain.layout.shape) == 2 and columns and isinstance(columns[-1], str):
                found[node.inputs[0].name] = (*columns[:-1], chain.layout.shape[0])
    return found


def _aliases(nodes: Iterable[gs.Node], dims: Mapping[str, Dims]) -> dict[int | str, int | str]:
    """Names of sizes that are the same as another one: of a sum or product with what is no longer than the rest."""
    same: dict[int | str, int | str] = {}
    most: dict[int | str, int | str] = {}
    for node in nodes:
        if node.op == "Slice":
            most.update(_cut(node, dims))
        shapes = [dims.get(tensor.name) for tensor in node.inputs if trace(tensor) is None]
        result = dims.get(node.outputs[0].name) if node.outputs else None
        if node.op not in _BROADCAST or result is None or len(shapes) < len(node.inputs):
            continue
        for size, *given in zip_longest(*(reversed(shape or ()) for shape in (result, *shapes)), fillvalue=1):
            wide = {same.get(each, each) for each in given} - {1}
            longest = [each for each in wide if all(most.get(other) == each for other in wide - {each})]
            if isinstance(size, str) and None not in shapes and len(longest) == 1 and longest[0] != size:
                same[size] = longest[0]
    return same


def _cut(node: gs.Node, dims: Mapping[str, Dims]) -> dict[int | str, int | str]:
    """Names of the sizes of what a Slice takes from its beginning, with that which they do not exceed."""
    result, bounds = dims.get(node.outputs[0].name), [sizes(tensor, dims) for tensor in node.inputs[1:]]
    if result is None or len(bounds) < 3 or None in bounds:
        return {}
    starts, ends, axes, *steps = (list(bound or ()) for bound in bounds)
    plain = all(step == 1 for some in steps for step in some) and all(start == 0 for start in starts)
    pairs = ((result[axis], end) for axis, end in zip(axes, ends, strict=True) if isinstance(axis, int))
    return {size: end for size, end in pairs if plain and isinstance(size, str) and isinstance(end, str)}


def _given(node: gs.Node, dims: Mapping[str, Dims]) -> Dims | None:
    """The shape that a Reshape or an Expand gives, as far as its target tells; None where that is nothing."""
    source, result = (dims.get(tensor.name) for tensor in (node.inputs[0], node.outputs[0]))
    target = sizes(node.inputs[1], dims) if len(node.inputs) > 1 else None
    if source is None or result is None or target is None or len(target) != len(result):
        return None
    if node.op == "Reshape":
        return tuple(
            old if isinstance(old, int) or new is None or new == 0 else _rest(source, target, old) if new == -1 else new
            for old, new in zip(result, target, strict=True)
        )
    padded = (1,) * (len(result) - len(source)) + source
    return tuple(
        new if new is not None and new != 1 and (isinstance(new, int) or was in (1, new)) else old
        for old, new, was in zip(result, target, padded, strict=True)
    )


def _rest(source: Dims, target: list[int | str | None], unknown: int | str) -> int | str:
    """What -1 in a target stands for."""
    left = list(source)
    for size in target:
        if isinstance(size, str) and size in left:
            left.remove(size)
        elif not isinstance(size, int) or size == 0:
            return unknown
    others = math.prod(size for size in target if isinstance(size, int) and size > 0)
    if any(isinstance(size, str) for size in left):
        return unknown
    whole = math.prod(int(size) for size in left)
    return whole // others if others and whole % others == 0 else unknown
