"""Terms in training: each has parameters that PyTorch moves, and gives a term back at any time."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from regc.compiler.terms import Dense, Float32, Product, Separable, Sum, Term


class Trainable(nn.Module):
    """A matrix ``[N, K]`` in training.

    ``bits``, where it is set, is to how many the latent weights of a form that has such are rounded instead of to its
    own values (:mod:`regc.compiler.recovery.lessons`).
    """

    bits: int | None = None

    @abstractmethod
    def weight(self) -> Tensor:
        """The matrix that :meth:`term` stands for now, float32 ``[N, K]``; rounding lets gradients through."""

    @abstractmethod
    def term(self) -> Term:
        """The term as it would be stored now."""

    def rounds(self) -> Tensor | None:
        """The latent weights ``[N, K]`` that the form rounds; None where it rounds none."""
        return None

    def loosen(self) -> bool:
        """Let move what else stays as the pass left it, towards the same size at the end of the training; whether there
        is such.
        """
        return False

    def stepped(self, done: float, rate: float) -> None:
        """Hear that a step was made, at which share of the training, and at which share of the learning rate."""

    def settled(self, done: float) -> bool:
        """Whether the term has its final size at this share of the training."""
        return True

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
    """Two factors, one after the other; the second may be that of several products, which ``shares`` counts."""

    def __init__(self, first: Trainable, second: Trainable, shares: int = 1) -> None:
        super().__init__()
        self.first, self.second, self.shares = first, second, shares

    def weight(self) -> Tensor:  # noqa: D102
        return self.first.weight() @ self.second.weight()

    def multiply(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.first.multiply(self.second.multiply(x))

    def term(self) -> Product:  # noqa: D102
        return Product(self.first.term(), self.second.term(), shares=self.shares)


class SeparableWeights(Trainable):
    """A kernel along each axis of images, one after the other."""

    def __init__(self, first: Trainable, second: Trainable, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.first, self.second, self.kernel = first, second, kernel

    def weight(self) -> Tensor:  # noqa: D102
        second = self.second.weight()
        first = self.first.weight().unflatten(1, (len(second), self.kernel[1]))
        return torch.einsum("nrw,rk->nkw", first, second).flatten(1)

    def term(self) -> Separable:  # noqa: D102
        return Separable(self.first.term(), self.second.term(), self.kernel)


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


class _Levels(torch.autograd.Function):
    """Values rounded to so many steps of the largest magnitude over some axes; the gradient goes through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], steps: int) -> Tensor:
        step = x.abs().amax(axes, keepdim=True).clamp(min=1e-30) / steps
        return (x / step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


def int8(x: Tensor, axes: tuple[int, ...] = (-1,)) -> Tensor:
    """Activations as an operator with int8 activations sees them: scaled by the largest magnitude over ``axes``."""
    rounded: Tensor = _Levels.apply(x, axes, 127)
    return rounded


def rounded_to(latent: Tensor, bits: int) -> Tensor:
    """Latent weights ``[N, K]`` as integers of so many bits, at least 2, times a scale for each row."""
    rounded: Tensor = _Levels.apply(latent, (-1,), (1 << (bits - 1)) - 1)
    return rounded


def array(tensor: Tensor) -> Float32:
    """The values of a parameter, in memory of their own."""
    return np.array(tensor.detach().numpy(), np.float32)
