"""Training networks in which units are dead in the end, so that ``neuron-mask{keep=1}`` removes them without a loss.

    model = gate(model, include=["*.fc1"])        # before the optimizer; layers whose units nothing but weights read
    ...                                           # train on loss + penalty(model, target=0.5)
    torch.onnx.export(fold(model), ...)           # then: regc compile model.onnx --passes "neuron-mask{keep=1}"

Each unit gets a gate that is open or closed for an input, ``1[s(x) > 1/2]``, with the gradient of ``s`` (consensus
sub-networks, arXiv 2302.10798). With ``g`` the share of a batch for which it is open, ``mean g (1 - g)`` over all gates
draws gates to the same answer for all inputs, and ``(mean w g - (1 - target))^2`` to a share of the work, ``w`` being
that of a unit by the mean of all. The paper's formulas were not to be had: these are ours, and so are the scores, by a
layer of ``hidden`` ReLU units on the layer's inputs (the mean over an image), and the weights of both terms. In
evaluation, and in the model that is folded, open is what was open for more than half of the inputs of late, always.

For networks with batch normalization there is another way, which needs no gates: :func:`polarization` of their scales,
added to the loss, parts them into a group near zero and one that is not (the neuron-level polarization regularizer of
2020, ``t sum |a| - sum |a - mean a|``), and :func:`cut` zeroes those below the widest gap between them. (Without it,
``neuron-mask{score=gap}`` removes the lower ones of each layer, and makes up for them.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from regc.compiler.errors import UsageError
from regc.passes import training

# isort: split
import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

_NAME = "regc_gate"
_RECENT = 0.05
"""What a batch counts in the share for which a gate was open."""


class Gate(nn.Module):
    """Open or closed, for each unit of a layer: a hook behind it that multiplies its outputs by 1 or 0.

    ``share`` is the part of the last batch for which each gate was open, ``[units]``, with gradient; ``work`` the
    multiplications that a unit takes for a sample.
    """

    open: Tensor

    def __init__(self, layer: training.Layer, hidden: int) -> None:
        super().__init__()
        units = layer.weight.shape[0]
        inputs = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        self.image = not isinstance(layer, nn.Linear)
        last = nn.Linear(hidden, units)
        nn.init.normal_(last.weight, std=0.1)
        nn.init.uniform_(last.bias, 0.5, 1.5)  # all open, some with less conviction
        self.scores = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), last).to(layer.weight.device)
        self.register_buffer("open", torch.ones(units, device=layer.weight.device))
        self.share, self.work = self.open, 0.0

    def __getstate__(self) -> dict[str, Any]:
        """For copies and files, which cannot hold a gradient's history."""
        return self.__dict__ | {"share": self.share.detach()}

    def forward(self, layer: training.Layer, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
        """The layer's outputs, those of closed units zero."""
        x = args[0]
        if not self.training:
            return y * self._like(self.open > 0.5, y).to(y.dtype)
        score = torch.sigmoid(self.scores(x.flatten(2).mean(2) if self.image else x))
        gates = training.straight(score, (score > 0.5).to(score.dtype))
        self.share = gates.reshape(-1, gates.shape[-1]).mean(0)
        self.open.lerp_(self.share.detach(), _RECENT)
        self.work = y[0].numel() / self.open.numel() * layer.weight[0].numel()
        return y * self._like(gates, y)

    def _like(self, gates: Tensor, y: Tensor) -> Tensor:
        return gates.reshape(*gates.shape, *(1,) * (y.dim() - 2)) if self.image else gates


def gate(model: Model, *, hidden: int = 8, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> Model:
    """Put gates behind the linear and convolutional layers that the globs name; changes the model itself.

    Raises:
        UsageError: a glob matches no layer, or a layer has gates already.
    """
    for name, layer in training.layers(model, include, exclude).items():
        if hasattr(layer, _NAME):
            raise UsageError(f"layer {name} has gates already")
        found = Gate(layer, hidden)
        layer.add_module(_NAME, found)
        layer.register_forward_hook(found)
    return model


def penalty(model: nn.Module, target: float, *, polar: float = 1.0, work: float = 10.0) -> Tensor:
    """What is added to the loss of the batch that just went through the model, a scalar.

    ``target`` is the share of the gated layers' multiplications that is to go. ``polar`` and ``work`` weigh the terms.

    Raises:
        UsageError: the target is not between 0 and 1, or no layer has gates.
    """
    if not 0 < target < 1:
        raise UsageError(f"the share of the work that goes must be above 0 and below 1, got {target}")
    gates = _gates(model)
    shares = torch.cat([found.share for found in gates])
    costs = torch.cat([torch.full_like(found.share, found.work) for found in gates])
    used = (costs * shares).sum() / costs.sum().clamp(min=1)
    polarized = (shares * (1 - shares)).mean()
    return polar * polarized + work * (used - (1 - target)).square()


def fold(model: Model) -> Model:
    """Take the gates out: weights and biases of closed units are zero from here on.

    Raises:
        UsageError: no layer has gates, or the weight of one is parametrized.
    """
    _gates(model)
    for name, layer in training.layers(model).items():
        found = getattr(layer, _NAME, None)
        if isinstance(found, Gate):
            _close(layer, training.own_weight(layer, name), found)
    return model


def _close(layer: training.Layer, weight: nn.Parameter, found: Gate) -> None:
    closed = found.open <= 0.5
    with torch.no_grad():
        weight[closed] = 0
        if layer.bias is not None:
            layer.bias[closed] = 0
    for key, hook in list(layer._forward_hooks.items()):
        if hook is found:
            del layer._forward_hooks[key]
    delattr(layer, _NAME)


def _gates(model: nn.Module) -> list[Gate]:
    found = [module for module in model.modules() if isinstance(module, Gate)]
    if not found:
        raise UsageError("no layer of the model has gates")
    return found


def polarization(model: nn.Module, t: float = 1.2) -> Tensor:
    """``t sum |a| - sum |a - mean a|`` over the scales of all batch normalizations, as a mean over them, a scalar.

    The paper's sum is divided by the number of scales. Its greatest slope parts scales in two; ``t`` above 1 draws more
    of them to zero.

    Raises:
        UsageError: the model has no batch normalization with scales.
    """
    scales = torch.cat([norm.weight for norm in _norms(model)])
    return t * scales.abs().mean() - (scales - scales.mean()).abs().mean()


def cut(model: nn.Module) -> int:
    """Zero the scales below the widest gap between neighbours, with their shifts; how many these are.

    A gap is measured by the ratio of the magnitudes beside it. Shifts go as well, for behind zero padding a constant is
    none.

    Raises:
        UsageError: the model has no batch normalization with scales.
    """
    norms = _norms(model)
    magnitudes = np.sort(torch.cat([norm.weight.detach().abs() for norm in norms]).double().cpu().numpy())
    logs = np.log(np.maximum(magnitudes, np.finfo(np.float32).tiny))
    threshold = magnitudes[int(np.argmax(np.diff(logs))) + 1] if len(logs) > 1 else 0.0
    removed = 0
    with torch.no_grad():
        for norm in norms:
            small = norm.weight.abs() < threshold
            norm.weight[small] = 0
            norm.bias[small] = 0
            removed += int(small.sum())
    return removed


def _norms(model: nn.Module) -> list[Any]:
    found = [module for module in model.modules() if isinstance(module, BatchNorm) and module.affine]
    if not found:
        raise UsageError("the model has no batch normalization with scales")
    return found
