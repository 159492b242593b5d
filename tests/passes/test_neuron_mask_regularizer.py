"""Networks trained with gates or polarized scales, whose dead units are removed without a loss."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.passes import NeuronMask
from regc.passes.neuron_mask.regularizer import cut, fold, gate, penalty, polarization
from support import normal, run
from trained import accuracy, batches, exported, perceptron, problem, train

DATA = problem()


def trained(target: float = 0.5) -> nn.Sequential:
    model = gate(perceptron(), include=["0", "2"])
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    train(model, batches(DATA, 200), optimizer, lambda: penalty(model, target))
    return model.eval()


def compiled(proto: onnx.ModelProto, x: torch.Tensor) -> tuple[onnx.ModelProto, list[tuple[int, int]]]:
    result = compile_model(proto, [NeuronMask(keep=1)])
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    was, now = (run(model, {"x": x.numpy()})[0] for model in (proto, small))
    np.testing.assert_allclose(now, was, rtol=1e-4, atol=1e-4)
    return small, [(found.units, found.kept) for found in result.report.removed if found.kept is not None]


def test_closed_units_are_removed_and_nothing_changes() -> None:
    model = trained()
    folded = fold(copy.deepcopy(model))
    torch.testing.assert_close(folded(DATA[0]), model(DATA[0]))
    alive = [int((folded[index].weight != 0).any(1).sum()) for index in (0, 2)]
    small, kept = compiled(exported(folded, DATA[0]), DATA[0])
    assert kept == [(64, open_) for open_ in alive]
    weights = sum(np.prod(tensor.dims) for tensor in small.graph.initializer)
    assert weights < 0.8 * sum(p.numel() for p in folded.parameters())
    assert accuracy(folded, DATA) > 0.9


@pytest.mark.parametrize("target", [0.3, 0.7])
def test_the_target_is_met_and_gates_agree_on_all_inputs(target: float) -> None:
    model = trained(target)
    folded = fold(copy.deepcopy(model))
    sizes = [folded[index].weight.numel() for index in (0, 2)]
    used = sum(float((folded[index].weight != 0).sum()) for index in (0, 2)) / sum(sizes)
    assert abs(1 - used - target) < 0.1
    model.train()(DATA[0])
    share = torch.cat([model[index].regc_gate.share for index in (0, 2)]).detach()
    assert float((share * (1 - share)).mean()) < 0.03


def test_filters_have_gates_for_whole_images() -> None:
    torch.manual_seed(0)
    model = gate(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), include=["0"])
    x = torch.from_numpy(normal(64, 3, 8, 8))
    model[0].regc_gate.scores[-1].bias.data[:3] = -9
    y = model(x)
    assert penalty(model, 3 / 8, polar=0) < 1e-6
    penalty(model, 0.5).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model[0].regc_gate.scores.parameters())
    for _ in range(20):
        model(x)
    folded = fold(model.eval())
    torch.testing.assert_close(folded(x), y)
    assert not hasattr(folded[0], "regc_gate")
    _, kept = compiled(exported(folded, x), x)
    assert kept == [(8, 5)]


def test_polarized_scales_part_in_two_and_the_smaller_ones_go() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 8))
    with torch.no_grad():
        model[1].weight.uniform_(0.2, 1)
    train(model, batches(DATA, 300), torch.optim.SGD(model.parameters(), 0.1), lambda: 0.5 * polarization(model))
    before = accuracy(model.eval(), DATA)
    removed = cut(model)
    assert 8 <= removed <= 56
    assert accuracy(model, DATA) > before - 0.02
    _, kept = compiled(exported(model, DATA[0]), DATA[0])
    assert kept == [(64, 64 - removed)]


def test_polarization_is_the_papers_formula() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -2.0, 4.0]))
        model[1].weight.fill_(1.0)
    assert float(polarization(model, 1.5)) == pytest.approx((1.5 * 8 - (0 + 3 + 3 + 0)) / 4)


def test_what_cannot_be_meant() -> None:
    model = perceptron()
    for function in (fold, lambda model: penalty(model, 0.5)):
        with pytest.raises(UsageError, match="no layer of the model has gates"):
            function(model)
    for function in (polarization, cut):
        with pytest.raises(UsageError, match="no batch normalization with scales"):
            function(model)
    gate(model, include=["0"])
    with pytest.raises(UsageError, match="must be above 0 and below 1"):
        penalty(model, 1.0)
    with pytest.raises(UsageError, match="layer 0 has gates already"):
        gate(model)
