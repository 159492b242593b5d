"""Operators that look elements up, or put them in place, by index."""

from __future__ import annotations

import torch
from torch import Tensor

from regc.compiler.recovery.operators.call import Call, Given, Operator, UnsupportedError, integers


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Indices as int64, counted from the front."""
    wide = indices.to(torch.int64)
    return torch.where(wide < 0, wide + size, wide)


def _gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    axis = call.get("axis", 0) % x.dim()
    if indices.dim() == 0:
        return x.select(axis, int(indices))  # a view, and its gradient is no scatter
    chosen = _wrapped(indices, x.shape[axis])
    rows = x.index_select(axis, chosen.reshape(-1))
    return rows.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    axis = call.get("axis", 0)
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


def _coordinates(x: Tensor, indices: Tensor, first: int = 0) -> tuple[Tensor, ...]:
    parts = indices.unbind(-1)
    return tuple(_wrapped(part, x.shape[first + axis]) for axis, part in enumerate(parts))


def _gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    batch = call.get("batch_dims", 0)
    if not batch:
        return x[_coordinates(x, indices)]
    lead = x.shape[:batch]
    grids = torch.meshgrid(*(torch.arange(size) for size in lead), indexing="ij")
    ones = (1,) * (indices.dim() - 1 - batch)
    return x[tuple(grid.reshape(*lead, *ones) for grid in grids) + _coordinates(x, indices, batch)]


_REDUCTIONS = {"mul": "prod", "min": "amin", "max": "amax", "add": "sum"}


def _scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis, reduction = call.get("axis", 0), call.get("reduction", "none")
    chosen = _wrapped(indices, x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, chosen, updates)
    return x.scatter_reduce(axis, chosen, updates, _REDUCTIONS[reduction])


def _scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    reduction = call.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise UnsupportedError(f"ScatterND with reduction {reduction}")
    return x.index_put(_coordinates(x, indices), updates, accumulate=reduction == "add")


def _one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    count, axis = integers(depth)[0], call.get("axis", -1)
    wide = indices.to(torch.int64)
    hot = _wrapped(wide, count).unsqueeze(-1) == torch.arange(count)
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


def _non_zero(call: Call, x: Tensor) -> Tensor:
    return torch.nonzero(x).transpose(0, 1)


def _top_k(call: Call, x: Tensor, k: Given = None) -> tuple[Tensor, Tensor]:
    count = integers(k)[0] if k is not None else call["k"]
    axis, largest = call.get("axis", -1), bool(call.get("largest", 1))
    values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


def _arg(call: Call, x: Tensor, *, largest: bool) -> Tensor:
    axis = call.get("axis", 0) % x.dim()
    best = x.amax(axis, keepdim=True) if largest else x.amin(axis, keepdim=True)
    hits = (x == best).to(torch.int64)
    last = bool(call.get("select_last_index", 0))
    order = torch.arange(x.shape[axis]).reshape(-1, *(1,) * (x.dim() - 1 - axis))
    found = (hits * (order + 1 if last else x.shape[axis] - order)).amax(axis, keepdim=True)
    place = found - 1 if last else x.shape[axis] - found
    return place if call.get("keepdims", 1) else place.squeeze(axis)


OPERATORS: dict[str, Operator] = {
    "ArgMax": lambda call, x: _arg(call, x, largest=True),
    "ArgMin": lambda call, x: _arg(call, x, largest=False),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _non_zero,
    "OneHot": _one_hot,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "TopK": _top_k,
}
