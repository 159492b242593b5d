"""RF8 weights in training: latent weights are rounded to the nearest value of the format at their row's scale."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regc.compiler.recovery.trainable import Trainable, array, rounded_to
from regc.passes.rf8.fit import NEAREST, encode, nearest_codes
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import rf8


class _Rounded(torch.autograd.Function):
    """``value * scale`` for latent weights ``[N, K]`` and scales ``[N, 1]``, with gradients as of ternary weights."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, scale: Tensor) -> Tensor:
        codes = nearest_codes(np.ascontiguousarray((latent / scale).numpy()))
        values = _values()[torch.from_numpy(codes.astype(np.int64))]
        ctx.save_for_backward(values)
        return values * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (values,) = ctx.saved_tensors
        return grads[0], (grads[0] * values).sum(-1, keepdim=True)


@cache
def _values() -> Tensor:
    return torch.from_numpy(np.array(rf8.VALUES, np.float32))


class RF8Weights(Trainable):
    """Begins at the term itself."""

    def __init__(self, term: RF8Term) -> None:
        super().__init__()
        self.like = term
        self.latent = nn.Parameter(torch.from_numpy(term.dense()))
        self.scale = nn.Parameter(torch.from_numpy(np.array(term.scale[:, None])))

    def rounds(self) -> Tensor:  # noqa: D102
        return self.latent

    def weight(self) -> Tensor:  # noqa: D102
        if self.bits is not None:
            return rounded_to(self.latent, self.bits)
        rounded: Tensor = _Rounded.apply(self.latent, self.scale)
        return rounded

    def rows(self, indices: Tensor) -> Tensor:
        """Some rows; only these are rounded."""
        if self.bits is not None:
            return rounded_to(self.latent, self.bits)[indices]
        flat: Tensor = _Rounded.apply(self.latent[indices.reshape(-1)], self.scale[indices.reshape(-1)])
        return flat.reshape((*indices.shape, -1))

    def term(self) -> RF8Term:  # noqa: D102
        encoded = encode(array(self.latent), array(self.scale)[:, 0], NEAREST)
        return replace(self.like, codes=encoded.codes, scale=encoded.scale)
