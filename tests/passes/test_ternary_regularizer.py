"""Networks trained with ternary weights: what they compute, and that they are compiled as they are."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.passes.ternary import fit
from regc.passes.ternary.regularizer import anneal, bitnet, fold, rounded
from regc.runtime_ops.formats import ternary
from support import normal, run
from trained import accuracy, batches, exported, perceptron, problem, train

DATA = problem()


def trained(**options: Any) -> nn.Sequential:
    model = bitnet(perceptron(), **options)
    train(model, batches(DATA, 60), torch.optim.Adam(model.parameters(), 0.005))
    return model


@pytest.mark.parametrize("measure", ["mean", "median"])
def test_what_was_trained_is_stored_without_an_error(measure: str) -> None:
    model = trained(measure=measure)
    before = model(DATA[0])
    proto = exported(fold(copy.deepcopy(model)), DATA[0])
    result = compile_model(proto, "ternary{act=float32}")
    assert [record.after for record in result.records if record.changed] == ["ternary, exact"] * 3
    assert all(record.error == 0 for record in result.records if record.changed)
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    feeds = {"x": DATA[0].numpy()}
    was, now = run(proto, feeds)[0], run(small, feeds)[0]
    np.testing.assert_allclose(now, was, rtol=1e-4, atol=1e-4)
    assert np.linalg.norm(was - before.detach().numpy()) < 0.05 * np.linalg.norm(was)  # all but the rounding


def test_the_compiled_network_computes_what_was_trained() -> None:
    model = trained(activations="operator")
    compiled = compile_model(exported(fold(copy.deepcopy(model)), DATA[0]), "ternary").model.to_proto()
    for library in (False, True):
        now = run(compiled, {"x": DATA[0].numpy()}, library=library)[0]
        missed = np.abs(now - model(DATA[0]).detach().numpy()).max(axis=1)
        assert np.median(missed) < 1e-5  # but where a value lies in the middle of two steps
        assert missed.max() < 0.3


def test_training_lowers_the_loss_and_moves_trits() -> None:
    untrained = bitnet(perceptron())
    model = trained()
    assert accuracy(model, DATA) > 0.9 > accuracy(untrained, DATA)
    assert (fold(untrained)[2].weight.sign() != fold(model)[2].weight.sign()).any()


@pytest.mark.parametrize("measure", ["mean", "median"])
def test_weights_are_those_of_the_pass(measure: Any) -> None:
    layer = nn.Linear(30, 20)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(normal(20, 30)))
    fitted = fit.fit_tensor(normal(20, 30), measure)
    weight = fold(bitnet(nn.Sequential(layer), measure=measure))[0].weight.detach().numpy()
    np.testing.assert_array_equal(np.sign(weight), ternary.unpack_trits(fitted.codes, (20, 30)))
    np.testing.assert_allclose(np.abs(weight).max(), fitted.scale[0], rtol=1e-6)


def test_gradients_go_through_the_rounding() -> None:
    layer = bitnet(nn.Sequential(nn.Linear(6, 4, bias=False)), norm=False, activations="float32")[0]
    x, y = torch.from_numpy(normal(3, 6)).requires_grad_(), torch.from_numpy(normal(3, 4, seed=1))
    (layer(x) * y).sum().backward()
    latent = layer.parametrizations.weight.original
    torch.testing.assert_close(latent.grad, y.t() @ x.detach())
    torch.testing.assert_close(x.grad, y @ layer.weight)


def test_inputs_are_normalized_and_have_8_bits() -> None:
    x = torch.from_numpy(normal(5, 40))
    seen: list[torch.Tensor] = []
    layer = bitnet(nn.Sequential(nn.Linear(40, 4)))[0]
    layer.register_forward_hook(lambda layer, args, y: seen.append(args[0]))
    layer(x)
    steps = 128 / functional.layer_norm(x, (40,)).abs().amax(1, keepdim=True)
    levels = seen[0] * steps
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert levels.min() >= -128.001
    assert levels.max() <= 127.001
    torch.testing.assert_close(seen[0], functional.layer_norm(x, (40,)), atol=0.02, rtol=0)
    torch.testing.assert_close(rounded(torch.tensor([0.1, -1.27]), 127), torch.tensor([0.1, -1.27]))


def test_convolutions_have_ternary_weights_too() -> None:
    torch.manual_seed(0)
    model = bitnet(nn.Sequential(nn.Conv2d(4, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3)))
    x = torch.from_numpy(normal(6, 4, 8, 8))
    train(model, [(x, torch.zeros(6, 4, 4, dtype=torch.long))] * 3, torch.optim.SGD(model.parameters(), 0.1))
    proto = exported(fold(model), x)
    result = compile_model(proto, "ternary{act=float32}")
    assert [record.after for record in result.records if record.changed] == ["ternary, exact"] * 2
    feeds = {"x": x.numpy()}
    np.testing.assert_allclose(run(result.model.to_proto(), feeds)[0], run(proto, feeds)[0], rtol=1e-4, atol=1e-5)


def test_annealing_goes_from_latent_to_ternary_weights() -> None:
    model = bitnet(nn.Sequential(nn.Linear(8, 8)))
    latent = model[0].parametrizations.weight.original.detach().clone()
    anneal(model, 0)
    torch.testing.assert_close(model[0].weight, latent, rtol=0, atol=0)
    anneal(model, 0.5)
    half = model[0].weight
    weight = fold(model)[0].weight
    torch.testing.assert_close(half, (latent + weight) / 2)
    assert weight.abs().unique().numel() == 2


def test_what_cannot_be_meant() -> None:
    model = perceptron()
    with pytest.raises(UsageError, match="nothing to fold"):
        fold(model)
    with pytest.raises(UsageError, match="mean or median, not 'most'"):
        bitnet(model, measure="most")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="matches no linear or convolutional layer"):
        bitnet(model, include=["decoder.*"])
    with pytest.raises(UsageError, match="activations must be"):
        bitnet(model, activations="int4")  # type: ignore[arg-type]
    bitnet(model, include=["2"])
    with pytest.raises(UsageError, match="layer 2 has ternary weights already"):
        bitnet(model)


def test_attention_keeps_its_own_weights() -> None:
    block = bitnet(nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "out": nn.Linear(8, 8)}))
    assert type(block["attention"].out_proj).__name__ == "NonDynamicallyQuantizableLinear"
    fold(block)


def test_without_pytorch_passes_work_and_regularizers_say_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import regc.passes, regc.passes.ternary.rewrite\n"
        "import regc.passes.ternary.regularizer\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'training needs PyTorch, which is not installed; run: pip install "regc[recover]"' in done.stderr
    assert done.returncode == 1
