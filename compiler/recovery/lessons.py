"""What may be asked of a student in training beside its distance to the teacher; it is not judged by these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from regc.compiler.recovery.batches import Batch
from regc.compiler.recovery.trainable import Trainable

Loss = Callable[[Batch], Tensor]
MIDDLE = (3, 8)
"""Between how many bits the model in the middle of a chain has."""
UNIFORM = 1.8
"""Kurtosis of values that are spread evenly."""
TAILS = 1 / 60
"""How much the kurtosis counts beside the skewness, of which EQ-Net's code takes 0.015 and 1."""
_TINY = 1e-12


def chained(
    student: nn.Module,
    run: Callable[[Batch], Sequence[Tensor]],
    distance: Callable[[Sequence[Tensor], Sequence[Tensor], Batch], Tensor],
    share: float,
    seed: int,
) -> Loss:
    """EQ-Net's chain from high to low: the same latent weights at more bits, drawn anew for each batch, learn from the
    teacher, and the student by a ``share`` from these and by the rest from the teacher.

    ``run`` gives the student's tensors for a batch, ``distance`` how far some are from others.
    """
    rng = np.random.default_rng(seed)

    def loss(batch: Batch) -> Tensor:
        with _of_bits(student, int(rng.integers(MIDDLE[0], MIDDLE[1] + 1))):
            middle = run(batch)
        low = run(batch)
        taught = [tensor.detach() for tensor in middle]
        own, passed_on = distance(low, batch.targets, batch), distance(low, taught, batch)
        return distance(middle, batch.targets, batch) + torch.lerp(own, passed_on, share)

    return loss


@contextmanager
def _of_bits(student: nn.Module, bits: int) -> Iterator[None]:
    weights = [module for module in student.modules() if isinstance(module, Trainable)]
    for module in weights:
        module.bits = bits
    try:
        yield
    finally:
        for module in weights:
            module.bits = None


def closeness(weights: Mapping[str, Trainable], originals: Mapping[str, Tensor]) -> Tensor:
    """PELA's closeness: the mean over weights of the square of ``max |W' - W|``, in root mean squares of W."""
    far = []
    for name, weight in weights.items():
        w = originals[name]
        far.append((weight.weight() - w).abs().amax().square() / w.square().mean().clamp(min=_TINY))
    return torch.stack(far).mean()


def unevenness(student: nn.Module) -> Tensor:
    """EQ-Net's WDR: the mean over latent weights of ``skewness^2 + TAILS (kurtosis - 1.8)^2``; 0 without any."""
    terms = []
    for module in student.modules():
        latent = module.rounds() if isinstance(module, Trainable) else None
        if latent is not None:
            centred = latent - latent.mean()
            variance = centred.square().mean().clamp(min=_TINY)
            skewness, kurtosis = centred.pow(3).mean() / variance**1.5, centred.pow(4).mean() / variance.square()
            terms.append(skewness.square() + TAILS * (kurtosis - UNIFORM).square())
    return torch.stack(terms).mean() if terms else torch.zeros(())
