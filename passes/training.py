"""What the regularizers of all techniques share: for those who train, in PyTorch.

A regularizer changes how weights are trained, not the model: a weight gets a parametrization
(:mod:`torch.nn.utils.parametrize`), an optimizer a hook after its step, or the loss a term. ``fold`` then puts the
weights that were trained in the place of their parametrizations, and the model is exported as ever.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from regc.compiler.errors import RegcError, UsageError
from regc.compiler.suggest import nearest

try:
    import torch
except ModuleNotFoundError as missing:
    raise RegcError('training needs PyTorch, which is not installed; run: pip install "regc[recover]"') from missing
from torch import Tensor, nn
from torch.nn.utils import parametrize

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
Kind = TypeVar("Kind", bound=nn.Module)


def layers(model: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> dict[str, Layer]:
    """Linear and convolutional layers by their names in the model, which match a glob of one and none of the other.

    What :class:`torch.nn.MultiheadAttention` holds is left out: it uses weights without calling their layers.

    Raises:
        UsageError: there is no such layer, or a glob matches none.
    """
    inner = {
        id(module)
        for block in model.modules()
        if isinstance(block, nn.MultiheadAttention)
        for module in block.modules()
    }
    known = {
        name: module for name, module in model.named_modules() if isinstance(module, Layer) and id(module) not in inner
    }
    for glob in (*include, *exclude):
        if not fnmatch.filter(known, glob):
            raise UsageError(f'"{glob}" matches no linear or convolutional layer{nearest(glob, known)}')
    return {name: layer for name, layer in known.items() if _any(name, include) and not _any(name, exclude)}


def matrix(weight: Tensor) -> Tensor:
    """A weight of a layer as the matrix ``[N, K]`` that the passes see: outputs by inputs, those of all taps."""
    return weight.flatten(1)


def own_weight(layer: Layer, name: str) -> nn.Parameter:
    """The weight of a layer, as the parameter that an optimizer moves.

    Raises:
        UsageError: it is parametrized, and so made of other parameters.
    """
    found = dict(layer.named_parameters(recurse=False)).get("weight")
    if found is None:
        raise UsageError(f"the weight of layer {name} is parametrized; fold that first, or exclude the layer")
    return found


def parametrized(model: nn.Module, kind: type[Kind]) -> Iterator[tuple[nn.Module, str, Kind]]:
    """Layers, their tensors' names, and the parametrization of this kind that they have."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            for name, chain in list(module.parametrizations.items()):
                assert isinstance(chain, nn.ModuleList)
                yield from ((module, name, found) for found in chain if isinstance(found, kind))


def fold(model: nn.Module, *kinds: type[nn.Module]) -> None:
    """Put what they make of the tensors in the place of all parametrizations of tensors that have one of these kinds.

    Raises:
        UsageError: no tensor of the model has one.
    """
    found = {(module, name) for kind in kinds for module, name, _ in parametrized(model, kind)}
    if not found:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UsageError(f"there is nothing to fold: no weight of the model is trained as {names}")
    for module, name in found:
        _own_class(module)
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _own_class(module: nn.Module) -> None:
    """A deep copy of a parametrized module shares a class with the original; folding the one would break the other."""
    shared = type(module)
    inner = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, inner)


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, coded: Tensor) -> Tensor:
        return coded.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight(latent: Tensor, coded: Tensor) -> Tensor:
    """``coded`` bit for bit, with its gradient going to ``latent`` (straight through).

    The usual ``latent + (coded - latent).detach()`` is off by a last place of the larger one, and then a weight is no
    longer one of few values.
    """
    found: Tensor = _Straight.apply(latent, coded)
    return found


def _any(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)
