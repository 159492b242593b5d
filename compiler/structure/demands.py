"""Numbers that a target demands: written in it, or joined and computed from what is known.

Exporters write the shape that a Reshape or an Expand is to give as constants, or as constants joined with sizes of the
inputs, and replace -1 in it by a Where. The number of units in it is lowered where it is written.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import constant_of
from regc.compiler.structure.ones import entries
from regc.compiler.structure.walk import RefusedError, Walk

_SAME = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Identity", "Cast"})
_BLIND = frozenset({"Shape", "Equal"})
"""Readers of a target that see how long it is, or whether a number is -1, which no number of units is."""


def demand(walk: Walk, node: gs.Node, index: int, position: int, inner: int) -> None:
    """The number at ``position`` in an input of a node has ``inner`` for each unit.

    Raises:
        RefusedError: it is not written anywhere.
    """
    tensor = node.inputs[index]
    if constant_of(tensor) is not None:
        walk.target(node, position, inner, index)
        return
    walk.demanded.setdefault(id(tensor), (tensor, set()))[1].add(id(node))
    source = tensor.inputs[0] if tensor.inputs else None
    if source is not None and source.op in _SAME:
        demand(walk, source, 0, position, inner)
    elif source is not None and source.op == "Concat":
        demand(walk, source, *_part(walk, source, position), inner)
    elif source is not None and source.op == "Where":
        demand(walk, source, _branch(walk, source, position), position, inner)
    else:
        raise RefusedError(f"{describe(node)} has a target that is computed from their number")


def check(walk: Walk) -> None:
    """Whether numbers that are joined are read only where they were demanded.

    Raises:
        RefusedError: something else reads them.
    """
    for tensor, readers in walk.demanded.values():
        for reader in tensor.outputs:
            if id(reader) not in readers and reader.op not in _BLIND:
                raise RefusedError(f"{describe(reader)} reads their number, too")


def _part(walk: Walk, node: gs.Node, position: int) -> tuple[int, int]:
    """Which input of a Concat has the number, and where."""
    for place, tensor in enumerate(node.inputs):
        numbers = entries(tensor, walk.dims)
        if numbers is None:
            break
        if position < len(numbers):
            return place, position
        position -= len(numbers)
    raise RefusedError(f"{describe(node)} has a target that is computed from their number")


def _branch(walk: Walk, node: gs.Node, position: int) -> int:
    """Which input of a Where gives the number."""
    wanted = entries(node.inputs[0], walk.dims)
    which = None if wanted is None or position >= len(wanted) else wanted[position]
    if which is None:
        raise RefusedError(f"{describe(node)} has a target that is computed from their number")
    return 1 if which else 2
