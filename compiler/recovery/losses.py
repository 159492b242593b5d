"""How far a student is from its teacher: hidden tensors by their energy, outputs by direction or distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from regc.compiler.recovery.options import Outputs

_LOGITS = ("logit", "prob", "score")


@dataclass(frozen=True)
class Distance:
    """The loss of a batch: the mean of ``||s - t||^2 / ||t - mean||^2`` over hidden tensors, plus that of the outputs.

    For outputs that are values, ``1 - cosine`` of their vectors is added, and that of their mean over all places
    where there are several, as sentence vectors are made; for logits the Kullback-Leibler divergence. ``hidden`` is how
    many of the tensors are hidden, ``names`` has the outputs.
    """

    hidden: int
    names: tuple[str, ...]
    kind: Outputs = "auto"

    def __call__(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """The loss; where ``mask`` ``[batch, places]`` is 0, tensors of that shape in front do not count."""
        pairs = [(s, t, _weights(t, mask)) for s, t in zip(student, teacher, strict=True) if t.is_floating_point()]
        hidden = [_energy(s, t, w) for s, t, w in pairs[: self.hidden]]
        total = torch.stack(hidden).mean() if hidden else torch.zeros(())
        for name, (s, t, w) in zip(self.names, pairs[self.hidden :], strict=True):
            total = total + (self._logits(s, t, w) if self._is_logits(name, t) else _values(s, t, w))
        return total

    def _is_logits(self, name: str, t: Tensor) -> bool:
        if self.kind != "auto":
            return self.kind == "logits" and t.dim() > 1
        return t.dim() > 1 and t.shape[-1] > 1 and any(word in name.lower() for word in _LOGITS)

    def _logits(self, s: Tensor, t: Tensor, w: Tensor | None) -> Tensor:
        divergence = functional.kl_div(s.log_softmax(-1), t.log_softmax(-1), reduction="none", log_target=True).sum(-1)
        centred = _energy(s - s.mean(-1, keepdim=True), t - t.mean(-1, keepdim=True), w)
        return _mean(divergence, w) + centred


def _values(s: Tensor, t: Tensor, w: Tensor | None) -> Tensor:
    total = _energy(s, t, w)
    if t.dim() < 2 or t.shape[-1] < 2:
        return total
    total = total + _mean(1 - functional.cosine_similarity(s, t, dim=-1), w)
    if t.dim() == 3 and t.shape[1] > 1:
        total = total + (1 - functional.cosine_similarity(_pooled(s, w), _pooled(t, w), dim=-1)).mean()
    return total


def _pooled(x: Tensor, w: Tensor | None) -> Tensor:
    return x.mean(1) if w is None else (x * w.unsqueeze(-1)).sum(1) / w.sum(1, keepdim=True).clamp(min=1)


def _weights(t: Tensor, mask: Tensor | None) -> Tensor | None:
    return mask if mask is not None and t.dim() == 3 and t.shape[:2] == mask.shape else None


def _mean(values: Tensor, w: Tensor | None) -> Tensor:
    return values.mean() if w is None else (values * w).sum() / w.sum().clamp(min=1)


def _energy(s: Tensor, t: Tensor, w: Tensor | None) -> Tensor:
    """``||s - t||^2`` by the energy of ``t`` about its mean in each channel."""
    channel = 1 if t.dim() == 4 else t.dim() - 1
    axes = [axis for axis in range(t.dim()) if axis != channel] if t.numel() > t.shape[channel] else []
    missed = (s - t).square()
    if w is not None:
        w = w.unsqueeze(-1)
        mean = (t * w).sum((0, 1), keepdim=True) / w.sum().clamp(min=1)
        return (missed * w).sum() / ((t - mean).square() * w).sum().clamp(min=1e-12)
    centred = t - t.mean(axes, keepdim=True) if axes else t
    return missed.sum() / centred.square().sum().clamp(min=1e-12)
