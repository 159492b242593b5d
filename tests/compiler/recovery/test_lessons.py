"""What may be asked of a student beside its distance to the teacher."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from recovering import RESIDUAL, STEPS, WEIGHTS, compiled, error
from torch import nn

from regc.compiler.recovery.batches import Batch
from regc.compiler.recovery.lessons import TAILS, UNIFORM, chained, closeness, unevenness
from regc.compiler.recovery.trainable import DenseWeights, rounded_to
from regc.compiler.terms import Dense
from regc.passes.ternary.term import TernaryTerm
from regc.passes.ternary.trainable import TernaryWeights
from support import Array, model, normal


def latent(values: Array) -> TernaryWeights:
    from regc.passes.ternary.fit import fit_rows

    fitted = fit_rows(values, "lloyd", group=16)
    return TernaryWeights(TernaryTerm(*fitted, values.shape[1], 16, int8_activations=False), values)


def test_closeness_is_of_the_largest_difference() -> None:
    values = normal(16, 32)
    weights = DenseWeights(Dense(values))
    with torch.no_grad():
        weights.values[3, 5] += 2
        weights.values[4, 4] -= 1
    found = closeness({"w": weights}, {"w": torch.from_numpy(values)})
    assert found.item() == pytest.approx(4 / np.square(values).mean(), rel=1e-4)


def test_weights_that_are_spread_evenly_cost_nothing() -> None:
    even = np.linspace(-1, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    assert unevenness(latent(even)).item() < 1e-6
    cubes = even**3
    centred = cubes - cubes.mean()
    kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
    assert unevenness(latent(cubes)).item() == pytest.approx(TAILS * (kurtosis - UNIFORM) ** 2, rel=1e-3)
    assert unevenness(nn.Linear(3, 3)).item() == 0


def test_the_student_learns_from_itself_at_more_bits() -> None:
    weights, seen = latent(normal(32, 32)), list[torch.Tensor]()

    def run(batch: Batch) -> list[torch.Tensor]:
        seen.append(weights.weight().detach().clone())
        return [weights.multiply(batch.inputs["x"])]

    x = torch.from_numpy(normal(8, 32, seed=1))
    targets = [x @ weights.latent.detach().t()]
    loss = chained(weights, run, lambda a, b, _: (a[0] - b[0]).square().mean(), share=0.5, seed=0)
    loss(Batch({"x": x}, targets)).backward()
    middle, low = seen
    assert any(torch.equal(middle, rounded_to(weights.latent.detach(), bits)) for bits in range(3, 9))
    assert torch.equal(low, torch.from_numpy(weights.term().dense())) and weights.bits is None
    assert weights.latent.grad is not None and weights.latent.grad.any()


@pytest.mark.parametrize("option", [{"near": 0.01}, {"even": 0.1}, {"chain": 0.5}])
def test_a_model_recovers_with_them(option: dict[str, float]) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    plain, given = (compiled(proto, recover=r) for r in (STEPS, dataclasses.replace(STEPS, **option)))  # type: ignore[arg-type]
    before = compiled(proto)
    assert given.recovered is not None and given.recovered.worth
    assert plain.recovered is not None and given.recovered.after != plain.recovered.after
    assert error(proto, given) < 0.9 * error(proto, before)
