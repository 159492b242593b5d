"""Networks trained with levels, companded weights and WDR, which are compiled as they are."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from regc.compiler import compile_model
from regc.compiler.distribution import describe
from regc.compiler.errors import UsageError
from regc.passes.integer.regularizer import compand, fold, levels, shape_loss
from support import normal, run
from trained import accuracy, batches, exported, perceptron, problem, train

DATA = problem()


def weights(model: nn.Sequential) -> list[np.ndarray]:
    return [layer.weight.detach().numpy() for layer in model if isinstance(layer, nn.Linear)]


def trained(model: nn.Sequential, strength: float = 0.0, steps: int = 80) -> nn.Sequential:
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    train(model, batches(DATA, steps), optimizer, lambda: strength * shape_loss(model, kurtosis=1))
    return model


@pytest.mark.parametrize("companded", [False, True])
@pytest.mark.parametrize(("bits", "block"), [(4, 32), (8, 64)])
def test_what_was_trained_is_stored_without_an_error(bits: int, block: int, companded: bool) -> None:
    model = perceptron()
    model = fold(trained(levels(compand(model) if companded else model, bits=bits, block=block)))
    assert accuracy(model, DATA) > 0.9
    proto = exported(model, DATA[0])
    result = compile_model(proto, f"int{{bits={bits},block={block}}}")
    changed = [record for record in result.records if record.changed]
    assert [record.error for record in changed] == [0.0] * 3
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    feeds = {"x": DATA[0].numpy()}
    was, now = run(proto, feeds)[0], run(small, feeds)[0]
    assert np.linalg.norm(now - was) < 0.03 * np.linalg.norm(was)  # the rounding of activations


def test_companded_weights_are_folded() -> None:
    torch.manual_seed(0)
    model = compand(perceptron(), slope=3.0)
    torch.testing.assert_close(weights(model), weights(perceptron()))
    trained(model)
    assert accuracy(model, DATA) > 0.9
    bounds = [
        float(layer.parametrizations.weight[0].log_a.detach().exp()) * np.pi / 2 for layer in (model[0], model[2])
    ]
    assert all(np.abs(weight).max() < bound for weight, bound in zip(weights(model)[:2], bounds, strict=True))
    folded = fold(copy.deepcopy(model))
    torch.testing.assert_close(folded(DATA[0]), model(DATA[0]))
    proto = exported(folded, DATA[0])
    assert {node.op_type for node in proto.graph.node} == {"Gemm", "Relu"}
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    np.testing.assert_array_equal(stored["2.weight"], weights(model)[1])


def test_companding_drives_weights_from_zero() -> None:
    plain, companded = trained(perceptron()), fold(trained(compand(perceptron(), slope=3.0)))
    for before, after in zip(weights(plain)[:2], weights(companded)[:2], strict=True):
        assert describe(after).kurtosis < describe(before).kurtosis


def test_wdr_brings_weights_to_a_uniform_law() -> None:
    torch.manual_seed(0)
    start = perceptron()
    for layer in (start[0], start[2]):
        nn.init.normal_(layer.weight, std=0.15)
    plain, drawn = trained(copy.deepcopy(start)), trained(copy.deepcopy(start), 1.0)
    assert accuracy(drawn, DATA) > accuracy(plain, DATA) - 0.02
    for before, after in zip(weights(plain)[:2], weights(drawn)[:2], strict=True):
        assert abs(describe(after).kurtosis - 1.8) < 0.5 * abs(describe(before).kurtosis - 1.8)


def test_wdr_is_the_papers_formula() -> None:
    model = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10))
    found = [describe(layer.weight.detach().numpy()) for layer in model]
    wanted = np.mean([law.skewness**2 + (law.kurtosis - 1.8) ** 2 for law in found])
    assert float(shape_loss(model, kurtosis=1).detach()) == pytest.approx(wanted, rel=1e-4)
    authors = found[1].skewness ** 2 + 0.015 * (found[1].kurtosis - 1.8) ** 2
    assert float(shape_loss(model, exclude=["0"]).detach()) == pytest.approx(authors, rel=1e-4)


def test_wdr_sees_latent_and_companded_weights() -> None:
    model = nn.Sequential(nn.Linear(30, 20))
    before = float(shape_loss(model).detach())
    for change in (compand, levels):
        assert float(shape_loss(change(model)).detach()) == pytest.approx(before, rel=1e-3)  # type: ignore[operator]
    shape_loss(model).backward()
    latent = model[0].parametrizations.weight.original
    assert latent.grad is not None and latent.grad.abs().sum() > 0


def test_levels_are_integers_and_gradients_go_through() -> None:
    model = levels(nn.Sequential(nn.Linear(40, 6)), bits=4, block=16)
    with torch.no_grad():
        model[0].parametrizations.weight.original.copy_(torch.from_numpy(normal(6, 40)))
        model[0].parametrizations.weight.original[2] = 0
    weight = model[0].weight.detach().numpy()
    for block in (weight[:, :16], weight[:, 16:32], weight[:, 32:]):
        step = np.abs(block).max(axis=1, keepdims=True) / 8
        places = np.divide(block, step, out=np.zeros_like(block), where=step > 0)
        np.testing.assert_allclose(places, np.rint(places), atol=1e-5)
    (model[0].weight * 2).sum().backward()
    assert (model[0].parametrizations.weight.original.grad == 2).all()


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (levels, {"bits": 3}, "bits must be 4 or 8"),
        (levels, {"bits": 4, "block": 17}, "block must be one of"),
        (compand, {"slope": 1.0}, "slope at zero must be above 1"),
        (compand, {"include": ["head"]}, "matches no linear or convolutional layer"),
    ],
)
def test_what_cannot_be_meant(change: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        change(perceptron(), **options)


def test_each_is_done_once_and_in_order() -> None:
    model = levels(perceptron())
    with pytest.raises(UsageError, match="rounded to levels already"):
        levels(model)
    with pytest.raises(UsageError, match="the weight of layer 0 is parametrized"):
        compand(model)
    with pytest.raises(UsageError, match="nothing to fold"):
        fold(perceptron())
