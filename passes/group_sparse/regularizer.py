"""Training group-sparse weights: proximal steps on WGSEF's envelope (arXiv 2212.12921), after each of an optimizer's.

    envelope = Envelope(optimizer, model, sparsity=0.5, steps=1000)
    ...                                           # train 1000 steps as ever
    envelope.finish()
    torch.onnx.export(model, ...)                 # then: regc compile model.onnx --passes "group-sparse{exact=true}"

After a step of rate ``eta`` all groups of a weight are multiplied by the factors of the proximal operator of
``eta * strength`` times the envelope (:mod:`regc.passes.group_sparse.envelope`), which draws all but k of them to zero.
For SGD this is the proximal gradient method; an adaptive optimizer moves by its own metric first, and then the groups
shrink in the plain one.

Ours, for the paper says nothing about it or we do not know it: weights d of all groups are 1, as in our pass; k is the
same share of every weight, and falls from all groups to its goal on the cubic schedule of PST; and since k is exact
only in the limit, from ``falling`` of the steps on it is made so. The k groups of largest norm stay and train on,
without shrinking, the others are zero.

Blocks are those of the pass ``group-sparse``, which with ``exact=true``, or at the same sparsity and without
calibration inputs, keeps just these. Columns (of a layer: what one of its inputs is multiplied by) that are zero make
units of the layer before unread, and rows (filters) make constant ones; ``neuron-mask{keep=1}`` takes both out of the
graph.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regc.compiler.errors import UsageError
from regc.passes import training
from regc.passes.group_sparse.envelope import largest, prox_factors
from regc.runtime_ops.formats.block_sparse import BLOCKS, TILE

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCKS = re.compile(rf"blocks\({TILE}x(\d+)\)")


@dataclass(frozen=True)
class Groups:
    """A matrix ``[N, K]`` cut into groups of so many outputs by so many inputs, the last ones smaller."""

    outputs: int
    inputs: int

    def norms(self, matrix: Tensor) -> Tensor:
        """The Euclidean norm of each group, float64 ``[rows, columns]`` of groups."""
        missing = (0, -matrix.shape[1] % self.inputs, 0, -matrix.shape[0] % self.outputs)
        padded = functional.pad(matrix.detach().double().square(), missing)
        cut = padded.view(len(padded) // self.outputs, self.outputs, -1, self.inputs)
        return cut.sum((1, 3)).sqrt()

    def spread(self, factors: Tensor, matrix: Tensor) -> Tensor:
        """Factors of groups ``[rows, columns]`` for every value of the matrix."""
        wide = factors.repeat_interleave(self.outputs, 0).repeat_interleave(self.inputs, 1)
        return wide[: matrix.shape[0], : matrix.shape[1]].to(matrix.dtype)


@dataclass(frozen=True, eq=False)
class _Weight:
    parameter: nn.Parameter
    settings: dict[str, Any]
    """The optimizer's, with its rate of today."""
    groups: Groups

    def shrink(self, share: float, strength: float) -> None:
        """The proximal step at a level k of this share of all groups."""
        norms = self._norms()
        step = strength * float(self.settings["lr"])
        self._multiply(prox_factors(norms.reshape(-1), np.ones(norms.size), share * norms.size, step), norms.shape)

    def project(self, kept: float) -> npt.NDArray[np.bool_]:
        """Only the share of the groups that is largest; which it is."""
        norms = self._norms()
        keep = largest(norms.reshape(-1), max(1, round(kept * norms.size))).reshape(norms.shape)
        self.mask(keep)
        return keep

    def mask(self, keep: npt.NDArray[np.bool_]) -> None:
        """Zero for all other groups."""
        self._multiply(keep.astype(np.float64), keep.shape)

    def _norms(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.groups.norms(training.matrix(self.parameter)).cpu().numpy())

    def _multiply(self, factors: npt.NDArray[np.float64], shape: tuple[int, ...]) -> None:
        with torch.no_grad():
            matrix = training.matrix(self.parameter)
            wide = self.groups.spread(torch.from_numpy(factors.reshape(shape)).to(matrix.device), matrix)
            self.parameter.mul_(wide.view_as(self.parameter))


class Envelope:
    """Makes weights group-sparse within the next ``steps`` steps of an optimizer, and keeps them so.

    ``groups`` are ``blocks(16x1)`` (or 2, 4, ... inputs, as in the pass), ``rows`` or ``columns``; ``sparsity`` is the
    share of them that goes. ``strength`` weighs the envelope: kept groups decay by ``strength * rate`` a step
    meanwhile, as with so much weight decay, the others faster. ``include`` and ``exclude`` are globs on the names of
    layers. ``done`` is how many steps were made; set it to go on from a checkpoint.

    Raises:
        UsageError: a number or name that cannot be meant, or a layer whose weight the optimizer does not train.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        *,
        sparsity: float,
        steps: int,
        groups: str = f"blocks({TILE}x1)",
        strength: float = 1.0,
        falling: float = 0.7,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        if not 0 < sparsity < 1 or steps < 1 or strength <= 0 or not 0 < falling <= 1:
            raise UsageError(
                "the envelope takes a sparsity above 0 and below 1, at least one step, a strength above 0 and a share "
                f"of falling steps up to 1, got {sparsity}, {steps}, {strength} and {falling}"
            )
        self.kept, self.steps, self.strength, self.falling, self.done = 1 - sparsity, steps, strength, falling, 0
        self._weights = [
            _Weight(*_trained(optimizer, layer, name), _groups(groups, layer))
            for name, layer in training.layers(model, include, exclude).items()
        ]
        self._masks: list[npt.NDArray[np.bool_]] = []
        self._handle = optimizer.register_step_post_hook(self._after)

    def finish(self) -> None:
        """Let the optimizer go. The sparsity is exact from here on, also where steps are missing."""
        self._handle.remove()
        if not self._masks:
            self._settle()

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, settings: Any) -> None:
        self.done += 1
        left = 1 - self.done / (self.falling * self.steps)
        if self._masks:
            for weight, mask in zip(self._weights, self._masks, strict=True):
                weight.mask(mask)
        elif left <= 0:
            self._settle()
        else:
            for weight in self._weights:
                weight.shrink(self.kept + (1 - self.kept) * left**3, self.strength)

    def _settle(self) -> None:
        self._masks = [weight.project(self.kept) for weight in self._weights]


def _groups(text: str, layer: training.Layer) -> Groups:
    outputs, inputs = training.matrix(layer.weight).shape
    if text == "rows":
        return Groups(1, inputs)
    if text == "columns":
        return Groups(outputs, inputs // layer.weight.shape[1])
    found = _BLOCKS.fullmatch(text)
    if found is None or int(found[1]) not in BLOCKS:
        known = " | ".join(f"blocks({TILE}x{block})" for block in BLOCKS)
        raise UsageError(f"groups must be one of {known} | rows | columns, got {text}")
    return Groups(TILE, int(found[1]))


def _trained(optimizer: torch.optim.Optimizer, layer: training.Layer, name: str) -> tuple[nn.Parameter, dict[str, Any]]:
    weight = training.own_weight(layer, name)
    for settings in optimizer.param_groups:
        if any(weight is parameter for parameter in settings["params"]):
            return weight, settings
    raise UsageError(f"the optimizer does not train the weight of layer {name}; exclude the layer")
