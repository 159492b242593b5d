"""Ternary weights in training: latent weights are rounded to trits, and scales to what the format can hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from regc.compiler.recovery.trainable import Trainable, int8, rounded_to
from regc.compiler.terms import Float32
from regc.passes.ternary import fit
from regc.passes.ternary.term import TernaryTerm
from regc.runtime_ops.formats import ternary


class _Rounded(torch.autograd.Function):
    """``trit * scale`` for latent weights ``[N, G, group]`` and scales ``[N, G, 1]``.

    A latent weight gets the gradient of its value (straight through), a scale that of the function for these trits.
    """

    @staticmethod
    def forward(ctx: Any, latent: Tensor, scale: Tensor) -> Tensor:
        trits = trits_of(latent, scale)
        ctx.save_for_backward(trits)
        return trits * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (trits,) = ctx.saved_tensors
        return grads[0], (grads[0] * trits).sum(-1, keepdim=True)


def trits_of(latent: Tensor, scale: Tensor) -> Tensor:
    """The nearest trits, as float32; 0 where the scale is."""
    inverse = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))
    return (latent * inverse).clamp_(-1, 1).round_()


def _scales_of(term: TernaryTerm, start: Float32) -> Float32:
    """Scales ``[N, G]`` to begin at: those of a weight that was ternary already are right as they are."""
    fitted = fit.fit_rows(start, "lloyd", group=term.group) if not term.exact else term
    multipliers = ternary.unpack_multipliers(fitted.multiplier, term.shape[0]).astype(np.float32)
    return np.asarray(multipliers * fitted.scale[:, None], np.float32)


class TernaryWeights(Trainable):
    """Latent weights begin at ``start`` float32 ``[N, K]``, the weight before it was coded, scales at those of least
    squared error, whatever found the trits of ``term``.

    Trits that make up for each other's errors lead nowhere: MiniLM in groups of 64 ends at 83.7 Spearman from those of
    error feedback, and at 84.15 from these, though it begins 4 points lower.
    """

    def __init__(self, term: TernaryTerm, start: Float32) -> None:
        super().__init__()
        self.like = term
        self.groups = -(-term.inputs // term.group)
        self.latent = nn.Parameter(torch.from_numpy(np.array(start)))
        self.scale = nn.Parameter(torch.from_numpy(_scales_of(term, start)))

    def rounds(self) -> Tensor:  # noqa: D102
        return self.latent

    def weight(self) -> Tensor:  # noqa: D102
        if self.bits is not None:
            return rounded_to(self.latent, self.bits)
        rounded: Tensor = _Rounded.apply(self._grouped(), self._scales()[0].unsqueeze(-1))
        return rounded.flatten(1)[:, : self.like.inputs]

    def multiply(self, x: Tensor) -> Tensor:  # noqa: D102
        return functional.linear(int8(x) if self.like.int8_activations else x, self.weight())

    def images(self, x: Tensor) -> Tensor:  # noqa: D102
        return int8(x, tuple(range(1, x.dim()))) if self.like.int8_activations else x

    def term(self) -> TernaryTerm:  # noqa: D102
        with torch.no_grad():
            scales, multipliers, row = self._scales()
            trits = trits_of(self._grouped(), scales.unsqueeze(-1)).flatten(1)[:, : self.like.inputs].numpy()
        coded = replace(
            self.like,
            codes=ternary.pack_trits(trits.astype(np.int8)),
            multiplier=ternary.pack_multipliers(multipliers.to(torch.uint8).numpy()),
            scale=np.array(row.squeeze(1).numpy()),
            exact=False,
            five=False,
        )
        return coded.in_fives() if self.like.five else coded

    def _grouped(self) -> Tensor:
        missing = self.groups * self.like.group - self.like.inputs
        latent = functional.pad(self.latent, (0, missing)) if missing else self.latent
        return latent.view(len(latent), self.groups, self.like.group)

    def _scales(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scales ``[N, G]`` that are multiples of a row's, with the gradient of the parameters; the multiples; the
        rows' scales ``[N, 1]``.
        """
        with torch.no_grad():
            if self.groups == 1:
                row = self.scale.clamp(min=float(fit.FLOAT32.tiny))
                multipliers = torch.ones_like(row)
            else:
                row = (self.scale.amax(1, keepdim=True) / ternary.MAX_MULTIPLIER).clamp(min=float(fit.FLOAT32.tiny))
                multipliers = torch.round(self.scale / row).clamp(0, ternary.MAX_MULTIPLIER)
            held = row * multipliers
        return self.scale + (held - self.scale).detach(), multipliers, row
