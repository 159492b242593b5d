"""Convolutions and pooling: the attributes of a window, and what it slides over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from regc.compiler.recovery.operators.call import Call, Given, Operator, UnsupportedError

_CONVOLUTIONS: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: dict[int, Any] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
_MAX_POOLS: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


@dataclass(frozen=True)
class _Window:
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @classmethod
    def of(cls, call: Call, kernel: Sequence[int], image: Sequence[int]) -> _Window:
        rank = len(kernel)
        strides = list(call.get("strides") or [1] * rank)
        dilations = list(call.get("dilations") or [1] * rank)
        auto, pads = call.get("auto_pad", "NOTSET"), list(call.get("pads") or [0] * 2 * rank)
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            missing = [
                max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
                for size, stride, k, dilation in zip(image, strides, kernel, dilations, strict=True)
            ]
            less, more = [m // 2 for m in missing], [m - m // 2 for m in missing]
            pads = less + more if auto == "SAME_UPPER" else more + less
        return cls(list(kernel), strides, dilations, pads[:rank], pads[rank:])

    @property
    def even(self) -> bool:
        return self.before == self.after

    def pad(self, x: Tensor, value: float, more: Sequence[int] | None = None) -> Tensor:
        after = [a + m for a, m in zip(self.after, more or [0] * len(self.after), strict=True)]
        sides = [side for pair in zip(reversed(self.before), reversed(after), strict=True) for side in pair]
        return functional.pad(x, sides, value=value)

    def short(self, image: Sequence[int]) -> list[int]:
        """What must be added behind an image so that the last window that begins inside of it fits in."""
        added = []
        for axis, size in enumerate(image):
            wide = size + self.before[axis] + self.after[axis]
            reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            steps = -(-(wide - reach) // self.strides[axis])
            if steps * self.strides[axis] >= size + self.before[axis]:
                steps -= 1
            added.append(max(0, steps * self.strides[axis] + reach - wide))
        return added


def convolve(call: Call, x: Tensor, weight: Tensor, bias: Given = None) -> Tensor:
    """Conv."""
    window = _Window.of(call, weight.shape[2:], x.shape[2:])
    padding = window.before if window.even else [0] * len(window.before)
    image = x if window.even else window.pad(x, 0.0)
    convolution = _CONVOLUTIONS.get(len(window.kernel))
    if convolution is None:
        raise UnsupportedError(f"Conv over {len(window.kernel)} axes")
    y: Tensor = convolution(image, weight, bias, window.strides, padding, window.dilations, call.get("group", 1))
    return y


def _conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Given = None) -> Tensor:
    rank = weight.dim() - 2
    if rank not in _TRANSPOSED:
        raise UnsupportedError(f"ConvTranspose over {rank} axes")
    strides, dilations = call.get("strides") or [1] * rank, call.get("dilations") or [1] * rank
    extra = list(call.get("output_padding") or [0] * rank)
    whole = _TRANSPOSED[rank](x, weight, bias, strides, 0, extra, call.get("group", 1), dilations)
    for axis, (before, after) in enumerate(_cropped(call, whole.shape[2:], x.shape[2:], strides)):
        if before < 0 or after < 0:
            raise UnsupportedError("ConvTranspose that gives out more than it computes")
        whole = whole.narrow(2 + axis, before, whole.shape[2 + axis] - before - after)
    return whole


def _cropped(call: Call, whole: Sequence[int], image: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """What a transposed convolution takes off at both sides of each axis."""
    rank, auto = len(whole), call.get("auto_pad", "NOTSET")
    wanted = call.get("output_shape")
    if wanted is None and auto not in ("SAME_UPPER", "SAME_LOWER"):
        pads = call.get("pads") or [0] * 2 * rank
        return list(zip(pads[:rank], pads[rank:], strict=True))
    sizes = wanted or [size * stride for size, stride in zip(image, strides, strict=True)]
    over = [size - target for size, target in zip(whole, sizes[-rank:], strict=True)]
    halves = [(total // 2, total - total // 2) for total in over]
    return halves if auto == "SAME_UPPER" else [(more, less) for less, more in halves]


def _pooled(call: Call, x: Tensor, fill: float, pool: Callable[[Tensor, _Window], Tensor]) -> Tensor:
    window = _Window.of(call, call["kernel_shape"], x.shape[2:])
    more = window.short(x.shape[2:]) if call.get("ceil_mode", 0) else None
    return pool(window.pad(x, fill, more), window)


def _max_pool(call: Call, x: Tensor) -> Tensor:
    if call.outputs > 1:
        raise UnsupportedError("MaxPool with indices")
    rank = len(call["kernel_shape"])
    if rank not in _MAX_POOLS or not x.is_floating_point():
        raise UnsupportedError(f"MaxPool over {rank} axes of {x.dtype}")

    def pool(image: Tensor, window: _Window) -> Tensor:
        y: Tensor = _MAX_POOLS[rank](image, window.kernel, window.strides, 0, window.dilations)
        return y

    return _pooled(call, x, float("-inf"), pool)


def _sums(image: Tensor, window: _Window) -> Tensor:
    """Sums over windows, as a convolution of each channel by ones."""
    convolution = _CONVOLUTIONS.get(len(window.kernel))
    if convolution is None:
        raise UnsupportedError(f"AveragePool over {len(window.kernel)} axes")
    flat = image.reshape(-1, 1, *image.shape[2:])
    sums: Tensor = convolution(flat, image.new_ones(1, 1, *window.kernel), None, window.strides, 0, window.dilations)
    return sums.reshape(*image.shape[:2], *sums.shape[2:])


def _average_pool(call: Call, x: Tensor) -> Tensor:
    """Padding counts if asked for, but never what rounding up adds behind it."""
    window = _Window.of(call, call["kernel_shape"], x.shape[2:])
    more = window.short(x.shape[2:]) if call.get("ceil_mode", 0) else [0] * len(window.kernel)
    ones = x.new_ones(1, 1, *x.shape[2:])
    counted = window.pad(ones, 1.0 if call.get("count_include_pad", 0) else 0.0)
    sides = [side for extra in reversed(more) for side in (0, extra)]
    return _sums(window.pad(x, 0.0, more), window) / _sums(functional.pad(counted, sides), window)


def _global(call: Call, x: Tensor, *, largest: bool) -> Tensor:
    axes = tuple(range(2, x.dim()))
    return x.amax(axes, keepdim=True) if largest else x.mean(axes, keepdim=True)


_NEAREST = {"mode": "nearest", "nearest_mode": "round_prefer_floor", "keep_aspect_ratio_policy": "stretch"}
"""The attributes of Resize that are known; PyTorch's exporter writes ``floor``, which is the same for whole factors."""


def _resize(call: Call, x: Tensor, *rest: Given) -> Tensor:
    """By whole numbers to the nearest, as decoders of images do; other ways are not known."""
    given = [tensor for tensor in rest if tensor is not None and tensor.numel()]
    way = {name: call.get(name, default) for name, default in _NEAREST.items()}
    way["nearest_mode"] = way["nearest_mode"].replace("round_prefer_floor", "floor")
    coordinates = call.get("coordinate_transformation_mode", "half_pixel")
    plain = way == {**_NEAREST, "nearest_mode": "floor"} and coordinates in ("half_pixel", "asymmetric")
    scales = call.get("scales") or (given[-1].tolist() if given else [])
    if given and not given[-1].is_floating_point():
        scales = [size / old for size, old in zip(scales, x.shape, strict=False)]
    if not plain or len(scales) != x.dim() or any(scale != int(scale) for scale in scales):
        raise UnsupportedError("Resize by anything but whole numbers to the nearest")
    for axis, factor in enumerate(scales):
        x = x.repeat_interleave(int(factor), axis) if factor != 1 else x
    return x


OPERATORS: dict[str, Operator] = {
    "AveragePool": _average_pool,
    "Conv": convolve,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": lambda call, x: _global(call, x, largest=False),
    "GlobalMaxPool": lambda call, x: _global(call, x, largest=True),
    "MaxPool": _max_pool,
    "Resize": _resize,
    "Upsample": _resize,
}
