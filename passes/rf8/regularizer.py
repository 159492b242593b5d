"""Training RF8 weights: the rate of a generalized Gaussian (BackSlash, arXiv 2504.16968), then rounding.

    initialize(model, shape=0.8)                  # a new model, if wanted
    rate = BackSlash(optimizer, model)            # some epochs with it
    ...
    rate.remove()
    rf8(model)                                    # some more epochs, in which weights are rounded
    ...
    torch.onnx.export(fold(model), ...)           # then: regc compile model.onnx --passes rf8

For N weights the rate is ``R = 1/N sum (|w| + eps) ** nu``, what a coder of a generalized Gaussian of shape nu takes
for them but for a factor; the authors minimize the loss plus ``strength * R``, by a step of ``strength`` times its
gradient after each batch. nu is that of all weights together, by their moments (:mod:`regc.compiler.distribution`),
between 0.1 and 3 as in the authors' table; ``strength`` 2000 and ``eps`` 1 are those of their published file, where N
is that of a language model. What counts is ``strength / N``, how far a small weight moves in a step.

Ours: such a step ends at zero and does not go beyond it, so that weights become zero for good; only weights of linear
and convolutional layers are counted and moved, not biases and norms; and a row has a power of two as its scale while
weights are rounded, which the authors' RF8 does not need, since its exponents are not bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from regc.compiler.distribution import scale_of, shape_of
from regc.compiler.errors import UsageError
from regc.passes import training
from regc.passes.rf8.fit import AUTHORS, NEAREST, Float32, octave_scales
from regc.runtime_ops import encoder
from regc.runtime_ops.formats import rf8 as members

# isort: split
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Rounding = Literal["nearest", "authors"]
Model = TypeVar("Model", bound=nn.Module)

STRENGTH, EPSILON = 2e3, 1.0
"""The authors'."""
LEAST_SHAPE, LARGEST_SHAPE = 0.1, 3.0
_THRESHOLDS = {"nearest": NEAREST, "authors": AUTHORS}


def initialize(
    model: Model,
    shape: float = 1.0,
    *,
    slope: float = 0.0,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> Model:
    """Draw weights from a generalized Gaussian of ``shape``, with PyTorch's generator; biases become zero.

    Its variance is ``2 / (1 + slope ** 2)`` by the first axis of the weight, as in the authors' code; ``slope`` is that
    of the activation below zero, 0 for ReLU and 1 for none or a sigmoid.

    Raises:
        UsageError: a shape that is not above 0, or a glob that matches no layer.
    """
    if not shape > 0:
        raise UsageError(f"the shape of a generalized Gaussian must be above 0, got {shape}")
    for name, layer in training.layers(model, include, exclude).items():
        weight = training.own_weight(layer, name)
        deviation = math.sqrt(2 / (1 + slope**2) / len(weight))
        drawn = torch.distributions.Gamma(1 / shape, 1.0).sample(weight.shape) ** (1 / shape)
        signs = torch.randint(0, 2, weight.shape) * 2 - 1
        with torch.no_grad():
            weight.copy_(drawn * signs * scale_of(shape, deviation))
            if layer.bias is not None:
                layer.bias.zero_()
    return model


def rate(weights: Sequence[Tensor], shape: float, epsilon: float = EPSILON) -> Tensor:
    """The mean of ``(|w| + epsilon) ** shape`` over all weights, a scalar with gradient."""
    total = torch.stack([((weight.abs() + epsilon) ** shape).sum() for weight in weights]).sum()
    return total / sum(weight.numel() for weight in weights)


def estimated(weights: Sequence[Tensor]) -> float:
    """The shape nu of all weights together, between 0.1 and 3."""
    sizes = torch.stack([weight.detach().abs().double().sum() for weight in weights]).sum()
    squares = torch.stack([weight.detach().double().square().sum() for weight in weights]).sum()
    ratio = float(squares * sum(weight.numel() for weight in weights) / sizes.square().clamp(min=1e-300))
    return min(max(shape_of(ratio), LEAST_SHAPE), LARGEST_SHAPE)


class BackSlash:
    """Lowers the rate of a model's weights after each step of an optimizer, until it is removed.

    ``shape`` is nu, estimated anew in every step where it is None. ``include`` and ``exclude`` are globs on the names
    of layers.

    Raises:
        UsageError: a strength or epsilon that is not above 0, or a glob that matches no layer.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        *,
        strength: float = STRENGTH,
        epsilon: float = EPSILON,
        shape: float | None = None,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        if not (strength > 0 and epsilon > 0):
            raise UsageError(f"strength and epsilon must be above 0, got {strength} and {epsilon}")
        self.strength, self.epsilon, self.shape = strength, epsilon, shape
        found = training.layers(model, include, exclude)
        self.weights = [training.own_weight(layer, name) for name, layer in found.items()]
        self._handle = optimizer.register_step_post_hook(self._after)

    def remove(self) -> None:
        """Let the optimizer go."""
        self._handle.remove()

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, settings: Any) -> None:
        shape = estimated(self.weights) if self.shape is None else self.shape
        pace = self.strength * shape / sum(weight.numel() for weight in self.weights)
        with torch.no_grad():
            for weight in self.weights:
                sizes = weight.abs()
                left = sizes - pace * (sizes + self.epsilon) ** (shape - 1)
                weight.copy_(left.clamp_(min=0) * weight.sign())


class Members(nn.Module):
    """A weight in training, rounded to RF8 with a power of two as the scale of each row; its gradient goes through.

    Rounded on the CPU, wherever the weight is.
    """

    def __init__(self, rounding: Rounding = "nearest") -> None:
        super().__init__()
        if rounding not in _THRESHOLDS:
            raise UsageError(f"rounding must be nearest or authors, got {rounding!r}")
        self.thresholds = _THRESHOLDS[rounding]

    def forward(self, weight: Tensor) -> Tensor:
        """The values of RF8, in the shape of the weight."""
        values: Float32 = np.ascontiguousarray(training.matrix(weight).detach().float().cpu().numpy())
        scale: Float32 = octave_scales(values, self.thresholds)[:, None]
        codes = encoder.codes_of(np.divide(values, scale), self.thresholds)
        coded = torch.from_numpy(members.VALUES[codes] * scale)
        return training.straight(weight, coded.to(weight).view_as(weight))


def rf8(
    model: Model, *, rounding: Rounding = "nearest", include: Sequence[str] = ("*",), exclude: Sequence[str] = ()
) -> Model:
    """Train the weights of a model's linear and convolutional layers as RF8; changes the model itself.

    The parameters stay the same ones, so that an optimizer that has them goes on. ``rounding`` is to the nearest value,
    or by the authors' rule.

    Raises:
        UsageError: an option is none of those, a glob matches no layer, or a weight is parametrized.
    """
    for name, layer in training.layers(model, include, exclude).items():
        training.own_weight(layer, name)
        parametrize.register_parametrization(layer, "weight", Members(rounding))
    return model


def fold(model: Model) -> Model:
    """Make RF8 weights the weights of the model, for good.

    Raises:
        UsageError: no layer is in training as such.
    """
    training.fold(model, Members)
    return model
