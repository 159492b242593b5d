"""More to learn from than the calibration inputs: samples between two of them (mixup, arXiv 1710.09412), shifted ones
and mirrored ones.

The teacher answers for any input, so no labels are needed, and a student that has seen a few hundred images only learns
them by heart.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

SHIFT = 8
"""A side is shifted by at most one part in this many."""
MIRRORED = 0.5
"""Share of changed images that are mirrored, left to right."""


def blended(inputs: Mapping[str, Tensor], share: float, rng: np.random.Generator) -> dict[str, Tensor]:
    """Inputs, all of them floats with samples along the first axis, of which a ``share`` is changed.

    Images, ``[samples, a, b, c]`` with a or c for channels, are shifted and every other one mirrored first.
    """
    count = len(next(iter(inputs.values())))
    hit = rng.random(count) < share
    partner = torch.from_numpy(rng.permutation(count))
    part = torch.from_numpy(np.where(hit, rng.random(count) / 2, 0.0))
    seeds = rng.integers(1 << 32, size=count)
    found = {}
    for name, values in inputs.items():
        if values.dim() == 4:
            moved = [_moved(v, int(s)) if h else v for v, s, h in zip(values, seeds, hit, strict=True)]
            values = torch.stack(moved)  # noqa: PLW2901
        weight = part.to(values.dtype).reshape(-1, *(1,) * (values.dim() - 1))
        found[name] = torch.lerp(values, values[partner], weight)
    return found


def _moved(image: Tensor, seed: int) -> Tensor:
    """An image ``[a, b, c]``, shifted, with its edges repeated, and perhaps mirrored."""
    rng = np.random.default_rng(seed)
    height = 1 if image.shape[0] <= image.shape[2] else 0
    for axis in (height, height + 1):
        size = image.shape[axis]
        index = (torch.arange(size) + int(rng.integers(-(size // SHIFT), size // SHIFT + 1))).clamp(0, size - 1)
        mirror = axis > height and rng.random() < MIRRORED
        image = image.index_select(axis, index.flip(0) if mirror else index)
    return image
