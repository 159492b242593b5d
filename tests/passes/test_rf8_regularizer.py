"""BackSlash, its initialization, and networks trained with RF8 weights, which are compiled as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from regc.compiler import compile_model
from regc.compiler.distribution import describe
from regc.compiler.errors import UsageError
from regc.passes.rf8 import fit
from regc.passes.rf8.regularizer import BackSlash, Members, estimated, fold, initialize, rate, rf8
from regc.passes.rf8.term import RF8Term
from support import normal, run
from trained import accuracy, batches, exported, perceptron, problem, train

DATA = problem()


def trained(strength: float | None, rounding: Any = "nearest") -> nn.Sequential:
    model = initialize(perceptron())
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    slash = BackSlash(optimizer, model, strength=strength) if strength else None
    train(model, batches(DATA, 100), optimizer)
    if slash:
        slash.remove()
    train(rf8(model, rounding=rounding), batches(DATA, 40), optimizer)
    return fold(model)


@pytest.mark.parametrize("rounding", ["nearest", "authors"])
def test_what_was_trained_is_stored_without_an_error(rounding: str) -> None:
    model = trained(5.0, rounding)
    assert accuracy(model, DATA) > 0.9
    proto = exported(model, DATA[0])
    result = compile_model(proto, "rf8")
    changed = [record for record in result.records if record.changed]
    assert [(record.after, record.error) for record in changed] == [("rf8, exact", 0.0)] * 3
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    feeds = {"x": DATA[0].numpy()}
    np.testing.assert_allclose(run(small, feeds)[0], run(proto, feeds)[0], rtol=1e-4, atol=1e-4)


def test_backslash_lowers_the_rate_at_equal_accuracy() -> None:
    plain, slashed = trained(None), trained(5.0)
    assert accuracy(slashed, DATA) > accuracy(plain, DATA) - 0.01

    def weights(model: nn.Sequential) -> list[torch.Tensor]:
        return [layer.weight for layer in model if isinstance(layer, nn.Linear)]

    def bits(model: nn.Sequential) -> float:
        return describe(model[2].weight.detach().numpy()).bits

    assert rate(weights(slashed), 1) < rate(weights(plain), 1)
    assert estimated(weights(slashed)) < estimated(weights(plain)) - 0.1
    assert bits(slashed) < bits(plain) - 0.3


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.0])
def test_a_step_is_that_of_the_rate_and_ends_at_zero(shape: float) -> None:
    model = nn.Sequential(nn.Linear(12, 8, bias=False))
    with torch.no_grad():
        model[0].weight[0, 0] = 1e-6
    before = model[0].weight.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(3 * rate([before], shape), before)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    BackSlash(optimizer, model, strength=3, shape=shape)
    model[0].weight.grad = torch.zeros_like(before)
    optimizer.step()
    wanted = before - gradient
    wanted[wanted.sign() != before.sign()] = 0
    torch.testing.assert_close(model[0].weight, wanted)
    assert model[0].weight[0, 0] == 0


@pytest.mark.parametrize(("shape", "slope", "variance"), [(0.5, 0.0, 2), (1.0, 1.0, 1), (2.0, 0.5, 1.6)])
def test_initial_weights_have_the_shape_and_the_variance(shape: float, slope: float, variance: float) -> None:
    torch.manual_seed(0)
    model = initialize(nn.Sequential(nn.Linear(300, 400)), shape, slope=slope)
    assert estimated([model[0].weight]) == pytest.approx(shape, rel=0.05)
    assert float(model[0].weight.detach().square().mean()) == pytest.approx(variance / 400, rel=0.05)
    assert abs(float(model[0].weight.detach().mean())) < 1e-3
    assert (model[0].bias == 0).all()


def test_weights_are_those_of_the_format_and_gradients_go_through() -> None:
    start = torch.from_numpy(normal(8, 4, 3, 3)).requires_grad_()
    rounded = Members("authors")(start)
    flat = start.detach().numpy().reshape(8, -1)
    encoded = fit.encode(flat, fit.octave_scales(flat, fit.AUTHORS), fit.AUTHORS)
    np.testing.assert_array_equal(rounded.detach().numpy().reshape(8, -1), RF8Term(*encoded, 36).dense())
    (rounded * 3).sum().backward()
    assert (start.grad == 3).all()


def test_what_cannot_be_meant() -> None:
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(UsageError, match="must be above 0, got 0"):
        initialize(model, 0)
    with pytest.raises(UsageError, match="strength and epsilon"):
        BackSlash(optimizer, model, strength=-1)
    with pytest.raises(UsageError, match="rounding must be nearest or authors"):
        rf8(model, rounding="up")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nothing to fold"):
        fold(model)
    rf8(model)
    with pytest.raises(UsageError, match="the weight of layer 0 is parametrized"):
        rf8(model)
