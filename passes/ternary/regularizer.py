"""Training ternary weights: BitNet b1.58 Reloaded, whose weights our ternary pass stores as they are.

    model = bitnet(model, measure="median")       # before the optimizer, which takes model.parameters()
    ...                                           # train as ever
    torch.onnx.export(fold(model), ...)           # then: regc compile model.onnx --passes ternary

The quantizers are those of ``schneiderkamplab/bitlinear``. A weight is trits times one measure of the whole tensor,
``max(median|W|, 1e-5)`` or the same of the mean, with ``trit = clamp(round_half_even(W / measure), -1, 1)``; the
measure gets no gradient, and the latent weight gets that of its value. What flows into a linear layer is normalized
over its features, without scale or bias, and rounded for each row to 8 bits: ``clamp(round(x * s), -128, 127) / s``
with ``s = 128 / max(max|x|, 1e-5)``.

Different from that code: the bias is added after the product has been scaled, as an exported layer does it, not before;
rows are normalized over the last axis, not over all axes but the first, which is the same for a table of rows; and
convolutions, which it does not have, take the same weights and round whole images, without normalizing them, as our
operator does. What the paper found the best rates and decays to be is not known to us.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

from regc.compiler.errors import UsageError
from regc.passes import training

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

Measure = Literal["mean", "median"]
Activations = Literal["authors", "operator", "float32"]
Model = TypeVar("Model", bound=nn.Module)

LEAST = 1e-5
"""The lower bound of a measure."""
_STEPS: dict[str, int | None] = {"authors": 128, "operator": 127, "float32": None}


class Trits(nn.Module):
    """A weight of any shape in training as trits times one measure of it; gives a tensor of that shape.

    ``share`` is how much of the way from the latent weight to the rounded one is gone, for a slow start; less than 1
    is not ternary yet.

    Raises:
        UsageError: the measure is none of those.
    """

    def __init__(self, measure: Measure = "median") -> None:
        super().__init__()
        if measure not in ("mean", "median"):
            raise UsageError(f"a ternary weight is measured by its mean or median, not {measure!r}")
        self.measure, self.share = measure, 1.0

    def forward(self, weight: Tensor) -> Tensor:
        """Trits times the measure."""
        magnitudes = weight.detach().abs()
        scale = (magnitudes.mean() if self.measure == "mean" else magnitudes.median()).clamp(min=LEAST)
        coded = torch.round(weight.detach() * (1 / scale)).clamp_(-1, 1) * scale
        return training.straight(weight, coded if self.share == 1 else torch.lerp(weight.detach(), coded, self.share))


class Inputs:
    """A hook before a layer: its inputs, normalized over ``features``, and rounded by rows, or by images."""

    def __init__(self, steps: int | None, features: int | None, *, images: bool) -> None:
        self.steps, self.features, self.axes = steps, features, slice(1, None) if images else slice(-1, None)

    def __call__(self, layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The layer's arguments; the first is what flows into it."""
        x = args[0]
        if self.features is not None:
            x = functional.layer_norm(x, (self.features,))
        return (x if self.steps is None else rounded(x, self.steps, tuple(range(x.dim()))[self.axes]), *args[1:])


def rounded(x: Tensor, steps: int = 128, axes: Sequence[int] = (-1,)) -> Tensor:
    """Activations in 8 bits, the largest magnitude over ``axes`` in ``steps`` steps; the gradient goes through."""
    scale = steps / x.detach().abs().amax(tuple(axes), keepdim=True).clamp(min=LEAST)
    return training.straight(x, torch.round(x.detach() * scale).clamp_(-128, 127) / scale)


def bitnet(
    model: Model,
    *,
    measure: Measure = "median",
    activations: Activations = "authors",
    norm: bool = True,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> Model:
    """Train the weights of a model's linear and convolutional layers as ternary ones; changes the model itself.

    ``include`` and ``exclude`` are globs on the names of layers. ``activations="operator"`` rounds as our operators do,
    with 127 steps instead of 128; ``"float32"`` does not round. ``norm`` is for linear layers alone.

    Raises:
        UsageError: an option is none of those, a glob matches no layer, or a layer is ternary already.
    """
    if activations not in _STEPS:
        raise UsageError(f"activations must be {' or '.join(_STEPS)}, got {activations!r}")
    for name, layer in training.layers(model, include, exclude).items():
        if any(layer is found for found, _, _ in training.parametrized(model, Trits)):
            raise UsageError(f"layer {name} has ternary weights already")
        features = layer.in_features if isinstance(layer, nn.Linear) and norm else None
        hook = Inputs(_STEPS[activations], features, images=not isinstance(layer, nn.Linear))
        layer.register_forward_pre_hook(hook)
        parametrize.register_parametrization(layer, "weight", Trits(measure))
    return model


def anneal(model: nn.Module, share: float) -> None:
    """Set how much of the way to the ternary weights is gone, 0 to 1, in all layers."""
    for _, _, trits in training.parametrized(model, Trits):
        trits.share = share


def fold(model: Model) -> Model:
    """Make ternary weights the weights of the model, for good. Activations stay normalized, and are no longer rounded.

    The operators that our pass puts in the place of the layers round activations by themselves.

    Raises:
        UsageError: no layer is in training as a ternary one.
    """
    anneal(model, 1)
    for layer, _, _ in list(training.parametrized(model, Trits)):
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, Inputs):
                hook.steps = None
    training.fold(model, Trits)
    return model
