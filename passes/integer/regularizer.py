"""Training weights for few levels of equal distance, which the pass ``int`` then stores as they are.

    model = levels(model, bits=4)                 # weights are rounded from here on; before, or later in training
    ...                                           # train on loss + shape_loss(model)
    torch.onnx.export(fold(model), ...)           # then: regc compile model.onnx --passes "int{bits=4}"

Two ideas bring weights to where such levels are. EQ-Net's weight distribution regularizer (WDR) adds to the loss the
mean over layers of ``skewness^2 + (kurtosis - 1.8)^2``: 1.8 is the kurtosis of the uniform law, whose values use all
levels alike. The paper weighs both terms by 1, its code by 1 and 0.015 without the first convolution, which are the
defaults here; leave that layer out by ``exclude``.

The weight compander replaces a weight by an odd bounded function of latent ones, which keeps it from growing and
drives it away from zero, and of which nothing is left at export. The paper's function was not to be had: ours is
``w = a arctan(v / b)``, with ``a`` and ``b`` trained for each weight; it begins as the weight was, with the slope
``a / b`` at zero, above 1. It goes first where both are wanted: ``levels(compand(model))``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from regc.compiler.errors import UsageError
from regc.passes import training
from regc.passes.integer.rewrite import DEFAULT_BLOCK, Int

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

Model = TypeVar("Model", bound=nn.Module)

KURTOSIS = 1.8
"""Of a uniform law."""
_ROOM = 1.25
"""How far a companded weight's bound lies above its largest value at first."""
_TINY = torch.finfo(torch.float32).tiny


def shape_loss(
    model: nn.Module,
    *,
    skewness: float = 1.0,
    kurtosis: float = 0.015,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> Tensor:
    """WDR: how far weights of linear and convolutional layers are from a uniform law, a scalar with gradient.

    ``include`` and ``exclude`` are globs on the names of layers. Latent weights are meant where they are rounded.

    Raises:
        UsageError: a glob matches no layer.
    """
    terms = []
    for layer in training.layers(model, include, exclude).values():
        values = _latent(layer).flatten()
        centred = values - values.mean()
        variance = centred.square().mean().clamp(min=_TINY)
        skew, tails = centred.pow(3).mean() / variance**1.5, centred.pow(4).mean() / variance**2
        terms.append(skewness * skew.square() + kurtosis * (tails - KURTOSIS).square())
    return torch.stack(terms).mean()


def _latent(layer: training.Layer) -> Tensor:
    """The weight before it is rounded to levels, but companded."""
    if not parametrize.is_parametrized(layer, "weight"):
        return layer.weight
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    chain = layer.parametrizations["weight"]
    assert isinstance(chain, parametrize.ParametrizationList)
    value: Tensor = chain.original
    for step in chain:
        value = value if isinstance(step, Levels) else step(value)
    return value


class Levels(nn.Module):
    """A weight in training, rounded to signed integers times a scale for each block of a row's inputs.

    The value of largest magnitude of a block has the level ``-2**(bits - 1)``, so that the pass, which begins with the
    same scale, finds these levels again. The gradient goes through.
    """

    def __init__(self, bits: int, block: int) -> None:
        super().__init__()
        self.lowest, self.block = -(1 << (bits - 1)), block

    def forward(self, weight: Tensor) -> Tensor:
        """The values of the levels, in the shape of the weight."""
        matrix = training.matrix(weight.detach())
        rows, columns = matrix.shape
        blocks = functional.pad(matrix, (0, -columns % self.block)).view(rows, -1, self.block)
        extreme = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
        scale = torch.where(extreme.abs() < _TINY * -self.lowest, 1.0, extreme / self.lowest)
        coded = torch.round(blocks / scale).clamp_(self.lowest, -self.lowest - 1) * scale
        return training.straight(weight, coded.view(rows, -1)[:, :columns].reshape_as(weight))


class Compander(nn.Module):
    """``a arctan(v / b)`` of latent weights v; it begins so that ``weight`` stays what it is.

    Trained are the logarithms of a and b, which stay positive so, and move in proportion.
    """

    def __init__(self, weight: Tensor, slope: float) -> None:
        super().__init__()
        bound = float(weight.detach().abs().max()) * _ROOM * 2 / math.pi or 1.0
        self.log_a = nn.Parameter(torch.tensor(math.log(bound), device=weight.device))
        self.log_b = nn.Parameter(torch.tensor(math.log(bound / slope), device=weight.device))

    def forward(self, latent: Tensor) -> Tensor:
        """The weight."""
        return self.log_a.exp() * torch.atan(latent * torch.exp(-self.log_b))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The latent weights of a weight."""
        return torch.tan(weight * torch.exp(-self.log_a.detach())) * self.log_b.detach().exp()


def levels(
    model: Model,
    *,
    bits: int = 8,
    block: int | None = None,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> Model:
    """Train weights of a model's linear and convolutional layers as integers times scales; changes the model itself.

    ``bits`` and ``block`` are those of the pass ``int``.

    Raises:
        UsageError: numbers that the pass does not take, a glob that matches no layer, or a layer that has levels.
    """
    Int(bits=bits, block=block)
    for name, layer in training.layers(model, include, exclude).items():
        if any(layer is found for found, _, _ in training.parametrized(model, Levels)):
            raise UsageError(f"the weight of layer {name} is rounded to levels already")
        parametrize.register_parametrization(layer, "weight", Levels(bits, block or DEFAULT_BLOCK[bits]))
    return model


def compand(model: Model, *, slope: float = 2.0, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> Model:
    """Train companded weights in a model's linear and convolutional layers, before its optimizer is made.

    It changes the model itself, but not what it computes.

    Raises:
        UsageError: a slope that is not above 1, a glob that matches no layer, or a weight that is parametrized.
    """
    if not slope > 1:
        raise UsageError(f"a compander's slope at zero must be above 1, got {slope}")
    for name, layer in training.layers(model, include, exclude).items():
        weight = training.own_weight(layer, name)
        parametrize.register_parametrization(layer, "weight", Compander(weight, slope))
    return model


def fold(model: Model) -> Model:
    """Make companded or rounded weights the weights of the model, for good.

    Raises:
        UsageError: no layer is in training as such.
    """
    training.fold(model, Compander, Levels)
    return model
