"""Terms in training: each has parameters that PyTorch moves, and gives a term back at any time."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from regc.compiler.terms import Dense, Float32, Product, Sum, Term


class Trainable(nn.Module):
    """A matrix ``[N, K]`` in training.

    ``latents`` are parameters whose step is a share of their root mean square.
    """

    @abstractmethod
    def weight(self) -> Tensor:
        """The matrix that :meth:`term` stands for now, float32 ``[N, K]``; rounding lets gradients through."""

    @abstractmethod
    def term(self) -> Term:
        """The term as it would be stored now."""

    def multiply(self, x: Tensor) -> Tensor:
        """``x @ W.T`` for x ``[..., K]``, as the term's operator computes it."""
        return functional.linear(x, self.weight())

    def rows(self, indices: Tensor) -> Tensor:
        """Some rows of the matrix."""
        return self.weight()[indices]

    def images(self, x: Tensor) -> Tensor:
        """The images ``[batch, channels, ...]`` that a convolution by the matrix sees."""
        return x


class DenseWeights(Trainable):
    """The values themselves."""

    def __init__(self, term: Dense) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.from_numpy(np.array(term.values)))
        self.dtype = term.dtype

    def weight(self) -> Tensor:  # noqa: D102
        return self.values

    def term(self) -> Dense:  # noqa: D102
        return Dense(array(self.values), self.dtype)


class ProductWeights(Trainable):
    """Two factors, one after the other."""

    def __init__(self, first: Trainable, second: Trainable) -> None:
        super().__init__()
        self.first, self.second = first, second

    def weight(self) -> Tensor:  # noqa: D102
        return self.first.weight() @ self.second.weight()

    def multiply(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.first.multiply(self.second.multiply(x))

    def term(self) -> Product:  # noqa: D102
        return Product(self.first.term(), self.second.term())


class SumWeights(Trainable):
    """Two matrices, added up."""

    def __init__(self, first: Trainable, second: Trainable) -> None:
        super().__init__()
        self.first, self.second = first, second

    def weight(self) -> Tensor:  # noqa: D102
        return self.first.weight() + self.second.weight()

    def multiply(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.first.multiply(x) + self.second.multiply(x)

    def term(self) -> Sum:  # noqa: D102
        return Sum(self.first.term(), self.second.term())


class _Int8(torch.autograd.Function):
    """Values rounded to 127 steps of the largest magnitude over some axes; the gradient goes through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        step = x.abs().amax(axes, keepdim=True).clamp(min=1e-30) / 127
        return torch.round(x / step).mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def int8(x: Tensor, axes: tuple[int, ...] = (-1,)) -> Tensor:
    """Activations as an operator with int8 activations sees them: scaled by the largest magnitude over ``axes``."""
    rounded: Tensor = _Int8.apply(x, axes)
    return rounded


def array(tensor: Tensor) -> Float32:
    """The values of a parameter, in memory of their own."""
    return np.array(tensor.detach().numpy(), np.float32)
