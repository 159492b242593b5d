"""Tensors as the rows that a weight is multiplied with, in the order in which the weight has its inputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regc.compiler.errors import UsageError
from regc.compiler.feeds.inputs import Feed
from regc.compiler.sites.layout import Shape
from regc.compiler.suggest import nearest
from regc.compiler.terms import Float32

CHUNK = 64 << 20
"""Bytes of the patches of a convolution that are in memory at a time."""
Mask = npt.NDArray[np.bool_]


class Rows(ABC):
    """A way to read a tensor as rows ``[count, K]``. Equal ways read equal tensors alike."""

    @abstractmethod
    def of(self, tensor: npt.NDArray[Any], mask: Mask | None = None) -> Iterator[Float32]:
        """The rows, float32 and in blocks, without those that the mask leaves out.

        ``mask`` is of the leading axes of the tensor, or of the first where it joins them in one; a tensor that it does
        not fit keeps all rows. False leaves out.
        """

    def fits(self, tensor: npt.NDArray[Any], mask: Mask) -> bool:
        """Whether the mask is of this tensor."""
        return False


@dataclass(frozen=True)
class Along(Rows):
    """The values along one axis are a row. Axis -2 of a vector is its only one."""

    axis: int

    def of(self, tensor: npt.NDArray[Any], mask: Mask | None = None) -> Iterator[Float32]:  # noqa: D102
        rows = self._moved(tensor)
        if mask is not None and self.fits(tensor, mask):
            rows = rows[mask if rows.shape[: mask.ndim] == mask.shape else mask.reshape(-1)]
        yield np.ascontiguousarray(rows.reshape(-1, rows.shape[-1]), np.float32)

    def fits(self, tensor: npt.NDArray[Any], mask: Mask) -> bool:  # noqa: D102
        rows = self._moved(tensor)
        leading = rows.ndim > mask.ndim and rows.shape[: mask.ndim] == mask.shape
        return leading or (rows.ndim == 2 and len(rows) == mask.size)

    def _moved(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.moveaxis(tensor, self.axis if tensor.ndim > 1 else -1, -1)


@dataclass(frozen=True)
class Patches(Rows):
    """The patches that a convolution multiplies its kernel with: K is channels of one group times kernel.

    With groups each patch is cut in as many rows, and the rows of all groups are taken together: the Gram matrix is
    the mean over the groups, though each output sees only its own. ``pads`` are begins, then ends, for each axis.
    Padding masks are for tensors ``[batch, sequence, ...]``, which a convolution does not read.
    """

    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape
    auto_pad: str = "NOTSET"
    groups: int = 1

    def of(self, tensor: npt.NDArray[Any], mask: Mask | None = None) -> Iterator[Float32]:  # noqa: D102
        padded = np.pad(tensor.astype(np.float32, copy=False), [(0, 0), (0, 0), *self._padding(tensor.shape[2:])])
        spans = [(size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations, strict=True)]
        axes = tuple(range(2, tensor.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=axes)
        every = (slice(None), slice(None))
        windows = windows[(*every, *(slice(None, None, s) for s in (*self.strides, *self.dilations)))]
        batch, channels, *rest = windows.shape
        inside = channels // self.groups
        places, width = math.prod(rest[: len(axes)]), inside * math.prod(self.kernel)
        moved = windows.reshape(batch, self.groups, inside, *rest) if self.groups > 1 else windows[:, None]
        order = (0, 1, *range(3, 3 + len(axes)), 2, *range(3 + len(axes), 3 + 2 * len(axes)))
        step = max(1, CHUNK // max(1, self.groups * places * width * 4))
        for start in range(0, batch, step):
            yield moved[start : start + step].transpose(order).reshape(-1, width)

    def _padding(self, sizes: Shape) -> list[tuple[int, int]]:
        if self.auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
            pads = self.pads if self.auto_pad == "NOTSET" else (0,) * len(self.pads)
            return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))
        found = []
        for size, kernel, stride, dilation in zip(sizes, self.kernel, self.strides, self.dilations, strict=True):
            total = max(0, (math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
            less, more = total // 2, total - total // 2
            found.append((less, more) if self.auto_pad == "SAME_UPPER" else (more, less))
        return found


def mask_of(feed: Feed, name: str | None) -> Mask | None:
    """The input of a feed that is the mask, of this name. Raises UsageError when there is none, or none that can be."""
    check_mask(name, {key: array.dtype for key, array in feed.items()})
    if name is None:
        return None
    mask: Mask = feed[name] != 0
    return mask


def check_mask(name: str | None, inputs: Mapping[str, np.dtype[Any] | None]) -> None:
    """Raise UsageError when an input of this name, among the types of all by name, is none or cannot be a mask."""
    if name is None:
        return
    if name not in inputs:
        raise UsageError(
            f"--mask {name}: is no input of the model; it takes {', '.join(inputs)}{nearest(name, inputs)}"
        )
    dtype = inputs[name]
    if dtype is not None and dtype.kind not in "biu":
        raise UsageError(f"--mask {name}: is {dtype}; a mask is integers or booleans, 0 for padding")
