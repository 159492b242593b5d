"""Reductions, softmax and normalizations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from regc.compiler.recovery.operators.call import Call, Given, Operator, Result, UnsupportedError

_Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reduction(reduce: _Reduce) -> Operator:
    def operator(call: Call, x: Tensor, axes: Given = None) -> Tensor:
        chosen = call.ints("axes", axes)
        if not chosen and call.get("noop_with_empty_axes", 0):
            return reduce(x.unsqueeze(0), (0,), False)
        along = tuple(chosen) if chosen else tuple(range(x.dim()))
        return reduce(x, along, bool(call.get("keepdims", 1))) if along else reduce(x.unsqueeze(0), (0,), False)

    return operator


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keep)
    total = x.sum(axes, keep)
    return torch.div(total, x.numel() // max(1, total.numel()), rounding_mode="trunc").to(x.dtype)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = torch.prod(x, axis, keep)
    return x


def _softmax(call: Call, x: Tensor, *, log: bool = False) -> Tensor:
    """Before opset 13 over all axes from ``axis`` on together."""
    function = torch.log_softmax if log else torch.softmax
    if call.opset >= 13:
        return function(x, call.get("axis", -1))
    axis = call.get("axis", 1) % max(1, x.dim())
    return function(x.flatten(axis), -1).reshape(x.shape)


def _hardmax(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", -1)
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


def _cum_sum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    along = int(axis)
    x = x.flip(along) if call.get("reverse", 0) else x
    total = torch.cumsum(x, along).to(x.dtype)
    total = total - x if call.get("exclusive", 0) else total
    return total.flip(along) if call.get("reverse", 0) else total


def _batch_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if call.get("training_mode", 0) or call.outputs > 1:
        raise UnsupportedError("BatchNormalization in training mode")
    return functional.batch_norm(x, mean, variance, scale, bias, eps=call.get("epsilon", 1e-5))


def _instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.group_norm(x, x.shape[1], scale, bias, call.get("epsilon", 1e-5))


def _group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Before opset 21 there is a scale for each group, not for each channel."""
    groups, channels = call["num_groups"], x.shape[1]
    if scale.numel() != channels:
        scale, bias = (t.repeat_interleave(channels // groups) for t in (scale, bias))
    return functional.group_norm(x, groups, scale, bias, call.get("epsilon", 1e-5))


def _layer_norm(call: Call, x: Tensor, scale: Tensor, bias: Given = None) -> Result:
    axis, epsilon = call.get("axis", -1) % x.dim(), call.get("epsilon", 1e-5)
    shape = x.shape[axis:]
    whole = scale.shape == shape and (bias is None or bias.shape == shape)
    y = functional.layer_norm(x, shape, scale if whole else None, bias if whole else None, epsilon)
    if not whole:
        y = y * scale + (bias if bias is not None else 0.0)
    if call.outputs == 1:
        return y
    axes = tuple(range(axis, x.dim()))
    mean = x.mean(axes, keepdim=True)
    return y, mean, torch.rsqrt(x.var(axes, unbiased=False, keepdim=True) + epsilon)


def _rms_norm(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    axes = tuple(range(call.get("axis", -1) % x.dim(), x.dim()))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + call.get("epsilon", 1e-5)) * scale


def _skip_layer_norm(
    call: Call, x: Tensor, skip: Tensor, scale: Tensor, beta: Given = None, bias: Given = None
) -> Result:
    total = x + skip if bias is None else x + skip + bias
    y = functional.layer_norm(total, total.shape[-1:], scale, beta, call.get("epsilon", 1e-12))
    return y if call.outputs == 1 else (y, total.new_empty(0), total.new_empty(0), total)


def _lrn(call: Call, x: Tensor) -> Tensor:
    size, alpha, beta, bias = call["size"], call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
    before = (size - 1) // 2
    squares = functional.pad(x.square().transpose(1, -1), (before, size - 1 - before)).unfold(-1, size, 1).sum(-1)
    return x / (bias + alpha / size * squares.transpose(1, -1)) ** beta


def _lp_norm(call: Call, x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, call.get("p", 2), call.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


OPERATORS: dict[str, Operator] = {
    "BatchNormalization": _batch_norm,
    "CumSum": _cum_sum,
    "GroupNormalization": _group_norm,
    "Hardmax": _hardmax,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": lambda call, x: _softmax(call, x, log=True),
    "LpNormalization": _lp_norm,
    "RMSNormalization": _rms_norm,
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceLogSum": _reduction(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": _reduction(torch.logsumexp),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keep).to(x.dtype)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keep).to(x.dtype)),
    "SimplifiedLayerNormalization": _rms_norm,
    "Softmax": _softmax,
    "com.microsoft::SkipLayerNormalization": _skip_layer_norm,
}
