"""Operators that move, cut and join elements, and those that compute shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from regc.compiler.recovery.operators.call import Call, Given, Operator, UnsupportedError, integers


def from_numpy(values: Any) -> Tensor:
    """A tensor of its own; bfloat16 of ``ml_dtypes`` goes by way of float32, which holds it."""
    array = np.asarray(values)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(array, np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _reshape(call: Call, x: Tensor, shape: Given = None) -> Tensor:
    sizes = call.ints("shape", shape) or []
    if not call.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape(rows, int(np.prod(x.shape[axis:], dtype=np.int64)))


def _squeeze(call: Call, x: Tensor, axes: Given = None) -> Tensor:
    chosen = call.ints("axes", axes)
    if chosen is None:
        return x.squeeze()
    return x.squeeze(tuple(chosen)) if chosen else x


def _unsqueeze(call: Call, x: Tensor, axes: Given = None) -> Tensor:
    chosen = call.ints("axes", axes) or []
    rank = x.dim() + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def _transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call.get("perm") or tuple(range(x.dim()))[::-1])


def _concat(call: Call, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, call["axis"])


def _split(call: Call, x: Tensor, split: Given = None) -> tuple[Tensor, ...]:
    axis = call.get("axis", 0)
    sizes = call.ints("split", split)
    if sizes is None:
        size = -(-x.shape[axis] // call.get("num_outputs", call.outputs))
        return torch.split(x, size, axis)
    return torch.split(x, sizes, axis)


def _slice(
    call: Call, x: Tensor, starts: Given = None, ends: Given = None, axes: Given = None, steps: Given = None
) -> Tensor:
    begin, end = call.ints("starts", starts) or [], call.ints("ends", ends) or []
    along = call.ints("axes", axes) or list(range(len(begin)))
    strides = integers(steps) if steps is not None else [1] * len(begin)
    for first, last, axis, step in zip(begin, end, along, strides, strict=True):
        chosen = range(x.shape[axis])[first:last:step]
        if step > 0:
            x = x.movedim(axis, 0)[chosen.start : max(chosen.start, chosen.stop) : step].movedim(0, axis)
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


def _expand(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(integers(shape))))


def _tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(integers(repeats))


def _pad(call: Call, x: Tensor, pads: Given = None, value: Given = None, axes: Given = None) -> Tensor:
    given = call.ints("pads", pads) or []
    along = [axis % x.dim() for axis in (integers(axes) if axes is not None else range(x.dim()))]
    count, mode = len(along), call.get("mode", "constant")
    sides = {axis: (given[i], given[i + count]) for i, axis in enumerate(along)}
    if mode == "constant":
        fill = value.item() if value is not None else call.get("value", 0.0)
        flat = [side for axis in reversed(range(x.dim())) for side in sides.get(axis, (0, 0))]
        return functional.pad(x, flat, value=fill)
    for axis, (before, after) in sides.items():
        x = x.index_select(axis, _padded_indices(x.shape[axis], before, after, mode))
    return x


def _padded_indices(size: int, before: int, after: int, mode: str) -> Tensor:
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in modes:
        raise UnsupportedError(f"Pad in mode {mode}")
    low, high = max(0, -before), size - max(0, -after)
    inner = np.arange(size)[low:high]
    padded: Any = np.pad(inner, (max(0, before), max(0, after)), mode=modes[mode])  # type: ignore[call-overload]
    return torch.from_numpy(np.ascontiguousarray(padded))


def _shape(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[call.get("start", 0) : call.get("end")], dtype=torch.int64)


def _constant(call: Call) -> Tensor:
    ((kind, value),) = call.attributes.items()
    if "string" in kind or "sparse" in kind:
        raise UnsupportedError(f"Constant with {kind}")
    if kind == "value":
        return from_numpy(value)
    return torch.tensor(value, dtype=torch.int64 if "int" in kind else torch.float32)


def _constant_of_shape(call: Call, shape: Tensor) -> Tensor:
    value = from_numpy(call.get("value", np.zeros(1, np.float32))).reshape(())
    return value.expand(integers(shape)).clone()


def _range(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _trilu(call: Call, x: Tensor, k: Given = None) -> Tensor:
    diagonal = int(k) if k is not None else 0
    return torch.triu(x, diagonal) if call.get("upper", 1) else torch.tril(x, diagonal)


def _depth_to_space(call: Call, x: Tensor) -> Tensor:
    size, (n, c, h, w) = call["blocksize"], x.shape
    if call.get("mode", "DCR") == "DCR":
        x = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // size**2, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // size**2, h * size, w * size)


def _space_to_depth(call: Call, x: Tensor) -> Tensor:
    if call.get("mode", "DCR") != "DCR":
        raise UnsupportedError("SpaceToDepth in mode CRD")
    size, (n, c, h, w) = call["blocksize"], x.shape
    x = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * size**2, h // size, w // size)


OPERATORS: dict[str, Operator] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda call, x: torch.tensor(x.numel(), dtype=torch.int64),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
