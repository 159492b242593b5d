"""The attributes of a Conv, all written out as our convolutions need them: their bodies cannot ask which are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regc.compiler.sites.layout import Shape

Window = dict[str, list[int]]


def window(attributes: Mapping[str, Any], kernel: Shape, sizes: Sequence[object] | None) -> Window | None:
    """``kernel_shape``, ``strides``, ``pads`` and ``dilations`` of a Conv with such a kernel.

    ``sizes`` are the spatial sizes of its input; None, or anything but a number, where they are not known. Then there
    is no answer when ``auto_pad`` asks for them.
    """
    ones = [1] * len(kernel)
    strides = list(attributes.get("strides") or ones)
    dilations = list(attributes.get("dilations") or ones)
    extents = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    mode = attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(strides, extents, sizes, upper=mode == "SAME_UPPER")
    else:
        given = None if mode == "VALID" else attributes.get("pads")
        pads = list(given or [0, 0] * len(kernel))
    if pads is None or min(pads) < 0:
        return None
    return {"kernel_shape": list(kernel), "strides": strides, "pads": pads, "dilations": dilations}


def _same(strides: list[int], extents: list[int], sizes: Sequence[object] | None, *, upper: bool) -> list[int] | None:
    """Pads with which an output has ``ceil(size / stride)`` places; the odd one at the end or at the beginning."""
    totals = []
    for axis, (stride, extent) in enumerate(zip(strides, extents, strict=True)):
        size = sizes[axis] if sizes is not None else None
        if stride == 1:
            totals.append(extent - 1)
        elif isinstance(size, int):
            totals.append(max((-(-size // stride) - 1) * stride + extent - size, 0))
        else:
            return None
    less, more = [total // 2 for total in totals], [-(-total // 2) for total in totals]
    return [*less, *more] if upper else [*more, *less]
