"""Dimensions that are 1 whatever the inputs: a mask is one for all heads, though shape inference does not see that.

Exporters expand a mask to a shape that they compute entry by entry: the sizes of its inputs, and -1 for what stays as
it is. The entries that do not depend on inputs are followed here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence

import onnx_graphsurgeon as gs

from regc.compiler.model import load_values
from regc.compiler.sites.chains import STANDARD, constant_of

Dims = tuple[int | str, ...]
Entries = list[int | None]
Sizes = list[int | str | None]
_ALIKE = frozenset({"Where", "And", "Or", "Not", "Add", "Sub", "Mul", "Cast", "Identity", "Equal", "Neg"})
_ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": lambda a, b: int(a / b) if b else 0,
    "Equal": lambda a, b: int(a == b),
}
_SAME = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Identity", "Cast"})
"""Operators that keep the entries of what has one axis at most before and after."""
_DEEPEST = 64
_LONGEST = 64


def is_one(tensor: gs.Tensor, axis: int, dims: Mapping[str, Dims], depth: int = 0) -> bool:
    """Whether the size along an axis, counted from the end, is 1 or missing, as far as can be told."""
    constant = constant_of(tensor)
    shape = dims.get(tensor.name) if constant is None else tuple(constant.shape)
    if shape is not None and (len(shape) < -axis or isinstance(shape[axis], int)):
        return len(shape) < -axis or shape[axis] == 1
    node = tensor.inputs[0] if tensor.inputs else None
    if node is None or node.domain not in STANDARD or depth > _DEEPEST:
        return False
    if node.op in _ALIKE:
        return all(is_one(given, axis, dims, depth + 1) for given in node.inputs)
    if node.op != "Expand" or not is_one(node.inputs[0], axis, dims, depth + 1):
        return False
    target = entries(node.inputs[1], dims)
    return target is not None and (len(target) < -axis or target[axis] == 1)


def entries(tensor: gs.Tensor, dims: Mapping[str, Dims]) -> Entries | None:
    """The integers in a tensor of one axis at most, None for those that depend on inputs; None for other tensors.

    A number without axes is a list of one.
    """
    found = sizes(tensor, dims)
    return None if found is None else [entry if isinstance(entry, int) else None for entry in found]


def sizes(tensor: gs.Tensor, dims: Mapping[str, Dims], depth: int = 0) -> Sizes | None:
    """As :func:`entries`, with the names of sizes that the model leaves open."""
    constant = constant_of(tensor)
    if constant is not None:
        small = len(constant.shape) < 2 and constant.values.size <= _LONGEST
        return [int(value) for value in load_values(constant).reshape(-1)] if small else None
    shape, node = dims.get(tensor.name), tensor.inputs[0] if tensor.inputs else None
    if shape is None or len(shape) > 1 or not all(isinstance(size, int) and size <= _LONGEST for size in shape):
        return None
    length = int(shape[0]) if shape else 1
    if node is not None and node.domain in STANDARD and depth < _DEEPEST:
        found = _computed(node, [sizes(given, dims, depth + 1) for given in node.inputs], dims)
        if found is not None and len(found) == length:
            return found
    return [None] * length


def _computed(node: gs.Node, given: Sequence[Sizes | None], dims: Mapping[str, Dims]) -> Sizes | None:
    """What a node makes of such entries; None where that is not followed."""
    if node.op == "Shape" and not node.attrs:
        shape = dims.get(node.inputs[0].name)
        return None if shape is None else list(shape)
    if node.op == "Size":
        shape = dims.get(node.inputs[0].name)
        known_sizes = [size for size in shape or () if isinstance(size, int)]
        return [math.prod(known_sizes)] if shape is not None and len(known_sizes) == len(shape) else None
    if node.op in _SAME:
        return given[0]
    known = [part for part in given if part is not None]
    rule = _RULES.get(node.op)
    return rule(node, known) if rule is not None and len(known) == len(given) else None


def _concat(node: gs.Node, parts: Sequence[Sizes]) -> Sizes:
    return [entry for part in parts for entry in part]


def _gather(node: gs.Node, parts: Sequence[Sizes]) -> Sizes:
    data, places = parts
    return [data[at] if isinstance(at, int) and -len(data) <= at < len(data) else None for at in places]


def _constant_of_shape(node: gs.Node, parts: Sequence[Sizes]) -> Sizes | None:
    value, length = node.attrs.get("value"), parts[0][0] if len(parts[0]) == 1 else None
    if not isinstance(length, int):
        return None
    return [0 if value is None else int(load_values(value).reshape(-1)[0])] * length


def _where(node: gs.Node, parts: Sequence[Sizes]) -> Sizes:
    """Where it is not known which of two it is, they may still be the same."""
    return [(a if a == b else None) if wanted is None else a if wanted else b for wanted, a, b in _aligned(parts)]


def _arithmetic(node: gs.Node, parts: Sequence[Sizes]) -> Sizes:
    return [_number(node.op, a, b) for a, b in _aligned(parts)]


def _number(op: str, a: int | str | None, b: int | str | None) -> int | None:
    if isinstance(a, int) and isinstance(b, int):
        return _ARITHMETIC[op](a, b)
    negative = any(isinstance(number, int) and number < 0 for number in (a, b))
    return 0 if op == "Equal" and negative and a is not None and b is not None else None  # sizes are not negative


def _not(node: gs.Node, parts: Sequence[Sizes]) -> Sizes:
    return [int(not entry) if isinstance(entry, int) else None for entry in parts[0]]


_RULES: Mapping[str, Callable[[gs.Node, Sequence[Sizes]], Sizes | None]] = {
    "Concat": _concat,
    "Gather": _gather,
    "ConstantOfShape": _constant_of_shape,
    "Where": _where,
    "Not": _not,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
}


def _aligned(parts: Sequence[Sizes]) -> list[tuple[int | str | None, ...]]:
    """Sizes side by side, single ones repeated."""
    length = max(map(len, parts))
    return list(zip(*(part if len(part) == length else part * length for part in parts), strict=True))
