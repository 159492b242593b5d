"""Gated weights in training: what they multiply by, for the inputs that pass the gate, which stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from regc.compiler.recovery.trainable import Trainable, array
from regc.passes.neuron_mask.term import Gated


class GatedWeights(Trainable):
    """``inner`` in training, and the offset. Inputs get the gradient of what was used of them."""

    def __init__(self, term: Gated, inner: Trainable) -> None:
        super().__init__()
        self.like, self.inner = term, inner
        outputs, inputs = term.shape
        offset = np.zeros(outputs, np.float32) if term.offset is None else np.array(term.offset)
        centre = np.zeros(inputs, np.float32) if term.gate.centre is None else np.array(term.gate.centre)
        self.offset = nn.Parameter(torch.from_numpy(offset))
        self.centre, self.norms = torch.from_numpy(centre), torch.from_numpy(np.array(term.gate.norms))

    def weight(self) -> Tensor:  # noqa: D102
        return self.inner.weight()

    def multiply(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x - self.centre
        with torch.no_grad():
            used = self._used(x.abs() * self.norms).to(x.dtype)
        return self.inner.multiply(x * used) + self.offset

    def _used(self, scores: Tensor) -> Tensor:
        """bool like scores, as :meth:`regc.passes.neuron_mask.thresholds.Gate.used` tells of numbers."""
        keep = self.like.gate.keep
        if keep is None:
            return scores >= self.like.gate.threshold
        least = scores.topk(keep, dim=-1).values[..., -1:]
        above, equal = scores > least, scores == least
        room = keep - above.sum(-1, keepdim=True)
        return above | (equal & (equal.cumsum(-1) <= room))

    def term(self) -> Gated:  # noqa: D102
        plain = self.like.offset is None and not self.offset.any()
        return replace(self.like, inner=self.inner.term(), offset=None if plain else array(self.offset))
