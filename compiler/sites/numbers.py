"""What products with a weight are of, as far as the model fixes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from regc.compiler.sites.find import Reader


def strides_of(readers: Sequence[Reader], axes: int) -> tuple[int, ...]:
    """Of convolutions, the most of any along each of so many axes."""
    known = [reader.node.attrs.get("strides") or [1] * axes for reader in readers] if axes else []
    return tuple(max(along) for along in zip(*known, strict=False))


def reads_of(readers: Sequence[Reader], main: gs.Graph) -> str:
    """The name of the tensor x, where all that reads a weight is ``x @ W.T`` of one x in the main graph; else empty."""
    plain = all(
        reader.graph is main
        and reader.role.multiplied
        and reader.role.index == 1
        and not reader.node.attrs.get("transA", 0)
        for reader in readers
    )
    names = {reader.node.inputs[0].name for reader in readers}
    return names.pop() if plain and len(names) == 1 else ""


def rows_of(products: Sequence[Reader]) -> int | None:
    """The most rows of x in one of several products; None where the model does not fix those of each."""
    rows = [_product_rows(reader) for reader in products]
    return max((count for count in rows if count is not None), default=None) if None not in rows else None


def _product_rows(reader: Reader) -> int | None:
    node = reader.node
    known = [tensor.shape for tensor in (node.outputs[0], node.inputs[0]) if tensor.shape is not None]
    if not known or reader.role.index != 1 or node.attrs.get("transA", 0):
        return None
    return math.prod(known[0][:-1]) if all(isinstance(size, int) for size in known[0][:-1]) else None
