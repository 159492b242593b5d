"""The techniques, one room each.

``term.py`` says what a technique is, ``fit.py`` how it is found (arrays to arrays, without ONNX or terms) and
``rewrite.py`` when it is used. Importing this package loads none of the rooms.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from regc.compiler.passes import Pass
    from regc.passes.group_sparse.rewrite import GroupSparse
    from regc.passes.integer.rewrite import Int
    from regc.passes.low_rank.rewrite import LowRank
    from regc.passes.neuron_mask.rewrite import NeuronMask
    from regc.passes.rf8.rewrite import RF8
    from regc.passes.ternary.rewrite import Ternary

__all__ = ["RF8", "GroupSparse", "Int", "LowRank", "NeuronMask", "Ternary", "bad_choice", "no_gain", "row_slices"]

_ROOMS = {
    "GroupSparse": "group_sparse",
    "Int": "integer",
    "LowRank": "low_rank",
    "NeuronMask": "neuron_mask",
    "RF8": "rf8",
    "Ternary": "ternary",
}

BOOKKEEPING = 256
"""Bytes that names, shapes and alignment of the packed tensors of one weight take in a file, roughly."""


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}.rewrite"), name)


def bad_choice(pass_: Pass) -> str | None:
    """Which option of a pass is none of the literals it may be, in words; None when all are."""
    for key, hint in get_type_hints(type(pass_)).items():
        given, kinds = getattr(pass_, key), get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
        if choices and given not in choices and not isinstance(given, tuple(k for k in kinds if isinstance(k, type))):
            return f"{pass_.name}: {key} must be {' or '.join(choices)}, got {given!r}"
    return None


def no_gain(shape: tuple[int, int], itemsize: int, nbytes: int) -> str | None:
    """Why ``nbytes`` in place of a weight of this shape are no gain, in words; None when they are one.

    ``itemsize`` is the bytes of one value of the weight as it came.
    """
    before = shape[0] * shape[1] * itemsize
    if not before:
        return f"{shape[0]}x{shape[1]}: it has no values"
    if nbytes + BOOKKEEPING >= before:
        after = f"{nbytes} bytes and about {BOOKKEEPING} of bookkeeping"
        return f"{shape[0]}x{shape[1]}: too small to gain, {after} in place of {before}"
    return None


def row_slices(shape: tuple[int, int], tile: int, size: int) -> Iterator[slice]:
    """Cut the rows into slices of about ``size`` values; all but the last are multiples of ``tile`` rows."""
    rows, columns = shape
    step = max(1, size // (tile * max(1, columns))) * tile
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
