"""Following a node's input back to the constant it comes from, through operators that only move or convert elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx.helper
import onnx_graphsurgeon as gs

from regc.compiler.errors import ModelError
from regc.compiler.model import load_values, protos
from regc.compiler.model.protos import describe
from regc.compiler.sites.layout import Layout, Reshape, Shape, Transpose

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
STANDARD = protos.STANDARD | {None}
"""The names of the standard domain, as nodes of GraphSurgeon have them."""
_NUMBERS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
"""Attributes of Constant that are no tensors, and the types of what they give."""


@dataclass(frozen=True)
class Chain:
    """Where a tensor comes from: ``source`` is a constant or the output of a Constant node.

    ``layout`` goes from the source's shape to that of the tensor; ``dtype`` is the tensor's own type, after any Cast.
    """

    source: gs.Tensor
    layout: Layout
    dtype: np.dtype[Any]

    def values(self) -> npt.NDArray[Any]:
        """The values of the tensor, read from the file where they are there still."""
        return np.asarray(self.layout.apply(load_values(constant_of(self.source))).astype(self.dtype))


def numpy_type(dtype: Any) -> np.dtype[Any]:
    """The NumPy type (``ml_dtypes`` for bfloat16) of a GraphSurgeon type, which may be an ONNX enumerator."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(dtype) if isinstance(dtype, int) else dtype)


def constant_of(tensor: gs.Tensor) -> gs.Constant | None:
    """The constant that a tensor is or that a Constant node gives it, as a tensor or as numbers; None for any other."""
    if isinstance(tensor, gs.Constant):
        return tensor
    producer = tensor.inputs[0] if tensor.inputs else None
    for name, value in producer.attrs.items() if producer is not None and producer.op == "Constant" else ():
        if isinstance(value, gs.Constant):
            return value
        if name in _NUMBERS and isinstance(value, (int, float, list)):  # else an attribute of a function
            return gs.Constant(tensor.name, np.array(value, _NUMBERS[name]))
    return None


def trace(tensor: gs.Tensor) -> Chain | None:
    """Follow a tensor back to its constant; None when it is computed from anything else, or converted on the way to a
    type that holds less than it has in the end.

    Raises:
        ModelError: an operator on the way whose attributes or inputs make no sense.
    """
    steps: list[gs.Node] = []
    while (constant := constant_of(tensor)) is None:
        producer = _producer(tensor, _STEPS)
        if producer is None:
            return None
        steps.append(producer)
        tensor = producer.inputs[0]
    chain: Chain | None = Chain(tensor, Layout(tuple(constant.shape)), numpy_type(constant.dtype))
    for node in reversed(steps):
        chain = _step(node, chain) if chain is not None else None
    return chain


def parts(tensor: gs.Tensor) -> list[gs.Tensor]:
    """The constants that a tensor is cut and joined from, by the operators of :func:`trace`, Slice, Split and Concat.

    Exporters reorder the gates of recurrent weights that way. Empty when anything but constants goes in, or when the
    tensor is made of integers on the way.
    """
    found: list[gs.Tensor] = []
    left = [tensor]
    while left:
        tensor = left.pop()
        if constant_of(tensor) is not None:
            found.append(tensor)
            continue
        producer = _producer(tensor, _CUTS)
        if producer is None or makes_integers(producer):
            return []
        left += reversed(producer.inputs if producer.op == "Concat" else producer.inputs[:1])
    return found


def makes_integers(node: gs.Node) -> bool:
    """Whether a node converts to a type that is not floating point: what it gives cannot stand a rounding error."""
    return node.op == "Cast" and numpy_type(node.attrs.get("to", 1)).name not in FLOATS


def _producer(tensor: gs.Tensor, known: Container[str]) -> gs.Node | None:
    """The standard operator that computes a tensor from others, if it is one of those known."""
    node = tensor.inputs[0] if tensor.inputs else None
    return node if node is not None and node.inputs and node.domain in STANDARD and node.op in known else None


def _step(node: gs.Node, chain: Chain) -> Chain | None:
    try:
        return _STEPS[node.op](node, chain)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"{describe(node)}: does not fit its input ({error}); export the model again") from error


def _cast(node: gs.Node, chain: Chain) -> Chain | None:
    dtype = numpy_type(node.attrs["to"])
    narrowed = chain.dtype.itemsize < min(dtype.itemsize, numpy_type(_constant(chain).dtype).itemsize)
    return None if narrowed or dtype.name not in FLOATS else replace(chain, dtype=dtype)


def _constant(chain: Chain) -> gs.Constant:
    constant = constant_of(chain.source)
    assert constant is not None, "a chain begins at a constant"
    return constant


def _transpose(node: gs.Node, chain: Chain) -> Chain | None:
    default = range(len(chain.layout.shape))[::-1]
    return _moved(chain, Transpose(tuple(node.attrs.get("perm", default))))


def _reshape(node: gs.Node, chain: Chain) -> Chain | None:
    sizes = _ints(node, 1, "shape")
    if sizes is None:
        return None
    source = chain.layout.shape
    if not node.attrs.get("allowzero", 0):
        sizes = tuple(source[axis] if size == 0 else size for axis, size in enumerate(sizes))
    return _moved(chain, Reshape(_inferred(source, sizes)))


def _squeeze(node: gs.Node, chain: Chain) -> Chain | None:
    source = chain.layout.shape
    axes = _ints(node, 1, "axes")
    if axes is None and len(node.inputs) > 1:
        return None
    drop = (
        {axis % len(source) for axis in axes} if axes is not None else {a for a, size in enumerate(source) if size == 1}
    )
    return _moved(chain, Reshape(tuple(size for axis, size in enumerate(source) if axis not in drop)))


def _unsqueeze(node: gs.Node, chain: Chain) -> Chain | None:
    axes = _ints(node, 1, "axes")
    if axes is None:
        return None
    rank = len(chain.layout.shape) + len(axes)
    added, sizes = {axis % rank for axis in axes}, iter(chain.layout.shape)
    return _moved(chain, Reshape(tuple(1 if axis in added else next(sizes) for axis in range(rank))))


def _flatten(node: gs.Node, chain: Chain) -> Chain | None:
    axis = node.attrs.get("axis", 1)
    return replace(chain, layout=chain.layout.matrix(axis % len(chain.layout.shape) if axis < 0 else axis))


_STEPS: dict[str, Callable[[gs.Node, Chain], Chain | None]] = {
    "Identity": lambda _, chain: chain,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
}


_CUTS = frozenset({*_STEPS, "Concat", "Slice", "Split"})


def _moved(chain: Chain, move: Transpose | Reshape) -> Chain:
    source = chain.layout.shape
    if isinstance(move, Transpose) and sorted(move.perm) != list(range(len(source))):
        raise ValueError(f"perm {list(move.perm)} for {len(source)} axes")
    if isinstance(move, Reshape) and math.prod(move.target) != math.prod(source):
        raise ValueError(f"{list(source)} into {list(move.target)}")
    return replace(chain, layout=chain.layout.then(move))


def _inferred(source: Shape, sizes: Shape) -> Shape:
    known = math.prod(size for size in sizes if size != -1)
    return tuple(math.prod(source) // max(1, known) if size == -1 else size for size in sizes)


def _ints(node: gs.Node, index: int, attribute: str) -> Shape | None:
    """Integers given as a constant input (newer opsets) or as an attribute (older ones); None when neither is there."""
    if attribute in node.attrs:
        return tuple(node.attrs[attribute])
    constant = constant_of(node.inputs[index]) if len(node.inputs) > index else None
    return tuple(int(value) for value in load_values(constant).reshape(-1)) if constant is not None else None
