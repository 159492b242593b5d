"""Operators that compute element by element."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from regc.compiler.recovery.operators.call import Call, Given, Operator, UnsupportedError, dtype_of

_Binary = Callable[[Tensor, Tensor], Tensor]


def _one(function: Callable[..., Any]) -> Operator:
    return lambda call, x: function(x)


def _two(function: Callable[..., Any]) -> Operator:
    return lambda call, a, b: function(a, b)


def _many(function: _Binary) -> Operator:
    return lambda call, *inputs: functools.reduce(function, inputs)


def _div(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _pow(call: Call, a: Tensor, b: Tensor) -> Tensor:
    if b.numel() == 1 and not b.requires_grad:
        return torch.pow(a, b.item()).to(a.dtype).expand(torch.broadcast_shapes(a.shape, b.shape))
    return torch.pow(a, b.to(a.dtype) if a.is_floating_point() else b).to(a.dtype)


def _mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


def _cast(call: Call, x: Tensor) -> Tensor:
    return x.to(dtype_of(call["to"]))


def _clip(call: Call, x: Tensor, low: Given = None, high: Given = None) -> Tensor:
    least, most = call.get("min"), call.get("max")
    if low is not None or least is not None:
        x = torch.maximum(x, low if low is not None else x.new_tensor(least))
    if high is not None or most is not None:
        x = torch.minimum(x, high if high is not None else x.new_tensor(most))
    return x


def _gelu(call: Call, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=call.get("approximate", "none"))


def _hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    return (x * call.get("alpha", 0.2) + call.get("beta", 0.5)).clamp(0, 1)


def _selu(call: Call, x: Tensor) -> Tensor:
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def _celu(call: Call, x: Tensor) -> Tensor:
    return functional.celu(x, call.get("alpha", 1.0))


def _thresholded(call: Call, x: Tensor) -> Tensor:
    return x * (x > call.get("alpha", 1.0))


def _prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _shrink(call: Call, x: Tensor) -> Tensor:
    bias, edge = call.get("bias", 0.0), call.get("lambd", 0.5)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, torch.zeros_like(x)))


def _is_inf(call: Call, x: Tensor) -> Tensor:
    up, down = call.get("detect_positive", 1), call.get("detect_negative", 1)
    return torch.isinf(x) & ((x > 0) & bool(up) | (x < 0) & bool(down))


def _dropout(call: Call, x: Tensor, ratio: Given = None, training: Given = None) -> Tensor | tuple[Tensor, Tensor]:
    if training is not None and bool(training):
        raise UnsupportedError("Dropout in training mode")
    return x if call.outputs == 1 else (x, torch.ones_like(x, dtype=torch.bool))


def _quick_gelu(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call.get("alpha", 1.702) * x)


def _fast_gelu(call: Call, x: Tensor, bias: Given = None) -> Tensor:
    return functional.gelu(x if bias is None else x + bias, approximate="tanh")


def _mean(call: Call, *inputs: Tensor) -> Tensor:
    return functools.reduce(torch.add, inputs) / len(inputs)


def _where(call: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


_ONE: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_TWO: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}

OPERATORS: dict[str, Operator] = {
    **{name: _one(function) for name, function in _ONE.items()},
    **{name: _two(function) for name, function in _TWO.items()},
    "CastLike": lambda call, x, like: x.to(like.dtype),
    "Cast": _cast,
    "Celu": _celu,
    "Clip": _clip,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": lambda call, x: functional.elu(x, call.get("alpha", 1.0)),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "IsInf": _is_inf,
    "LeakyRelu": lambda call, x: functional.leaky_relu(x, call.get("alpha", 0.01)),
    "Max": _many(torch.maximum),
    "Mean": _mean,
    "Min": _many(torch.minimum),
    "Mod": _mod,
    "PRelu": _prelu,
    "Pow": _pow,
    "Selu": _selu,
    "Shrink": _shrink,
    "Sum": _many(torch.add),
    "Swish": lambda call, x: x * torch.sigmoid(call.get("alpha", 1.0) * x),
    "ThresholdedRelu": _thresholded,
    "Where": _where,
    "com.microsoft::BiasGelu": lambda call, x, bias: functional.gelu(x + bias),
    "com.microsoft::FastGelu": _fast_gelu,
    "com.microsoft::Gelu": lambda call, x: functional.gelu(x),
    "com.microsoft::QuickGelu": _quick_gelu,
}
