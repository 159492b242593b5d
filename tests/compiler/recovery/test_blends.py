"""Samples between others."""

from __future__ import annotations

import numpy as np
import torch

from regc.compiler.recovery.blends import SHIFT, blended
from support import normal


def test_a_share_of_the_samples_is_changed_alike_in_all_inputs() -> None:
    inputs = {"x": torch.from_numpy(normal(200, 6)), "y": torch.from_numpy(normal(200, 3, 4, seed=1))}
    found = blended(inputs, 0.5, np.random.default_rng(0))
    changed = [(found[name] != values).flatten(1).any(1) for name, values in inputs.items()]
    assert torch.equal(*changed) and 0.3 < changed[0].float().mean() < 0.7
    assert all((found[name].flatten(1).abs().amax(1) <= values.abs().amax()).all() for name, values in inputs.items())
    assert not any((blended(inputs, 0.0, np.random.default_rng(0))[n] != v).any() for n, v in inputs.items())


def test_images_are_shifted_and_mirrored_along_their_sides() -> None:
    side = 16
    columns = torch.arange(side, dtype=torch.float32).expand(side, side)
    for image in (columns[None].repeat(3, 1, 1), columns[..., None].repeat(1, 1, 3)):
        (found,) = blended({"x": image[None]}, 1.0, np.random.default_rng(1)).values()
        plane = found[0].select(0 if image.shape[0] == 3 else 2, 0)
        steps = plane[0].diff()
        assert (plane == plane[0]).all() and len(set(steps[steps != 0].tolist())) == 1
        assert int((steps == 0).sum()) <= side // SHIFT
