"""Networks trained on the group-sparse envelope: k groups at the end, and the pass keeps just these."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.passes import NeuronMask
from regc.passes.group_sparse.eliminate import energies
from regc.passes.group_sparse.envelope import prox_factors
from regc.passes.group_sparse.regularizer import Envelope, Groups
from support import normal, run
from trained import accuracy, batches, exported, perceptron, problem, train

DATA = problem()
STEPS = 150


def trained(steps: int = STEPS, **options: Any) -> nn.Sequential:
    model = perceptron(hidden=96)
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    envelope = Envelope(optimizer, model, **{"sparsity": 0.75, "steps": STEPS, "include": ["0", "2"], **options})
    train(model, batches(DATA, steps), optimizer)
    envelope.finish()
    return model


def norms(layer: nn.Linear, block: int = 1) -> np.ndarray:
    return np.sqrt(energies(layer.weight.detach().numpy(), None, block))


@pytest.mark.parametrize(("block", "how"), [(1, "exact=true"), (4, "sparsity=0.75")])
def test_the_pass_keeps_the_trained_blocks_and_changes_nothing(block: int, how: str) -> None:
    model = trained(groups=f"blocks(16x{block})")
    for layer in (model[0], model[2]):
        found = norms(layer, block)
        assert np.count_nonzero(found) == round(0.25 * found.size)
    proto = exported(model, DATA[0])
    result = compile_model(proto, f"group-sparse{{{how},groups=blocks(16x{block}),include=[0-2].weight}}")
    changed = {record.info.name: record for record in result.records if record.changed}
    assert changed.keys() == {"0.weight", "2.weight"}
    assert all(record.error == 0 for record in changed.values())
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    feeds = {"x": DATA[0].numpy()}
    np.testing.assert_allclose(run(small, feeds)[0], run(proto, feeds)[0], rtol=1e-4, atol=1e-4)


def test_it_loses_less_than_leaving_blocks_out_afterwards() -> None:
    dense = perceptron(hidden=96)
    train(dense, batches(DATA, STEPS), torch.optim.Adam(dense.parameters(), 0.005))
    idle = torch.optim.SGD(dense.parameters(), 0.0)
    Envelope(idle, dense, sparsity=0.75, steps=1, include=["0", "2"]).finish()
    unseen = problem(count=1024, seed=0)
    assert accuracy(trained(), unseen) > 0.05 + accuracy(dense, unseen)


@pytest.mark.parametrize(("groups", "layer"), [("columns", "2"), ("rows", "0")])
def test_columns_and_rows_become_units_that_need_not_be_there(groups: str, layer: str) -> None:
    proto = exported(trained(groups=groups, include=[layer], sparsity=0.5), DATA[0])
    result = compile_model(proto, [NeuronMask(keep=1)])
    assert [(found.units, found.kept) for found in result.report.removed] == [(96, 48)]
    feeds = {"x": DATA[0].numpy()}
    np.testing.assert_allclose(run(result.model.to_proto(), feeds)[0], run(proto, feeds)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("groups", "axis", "kept"), [("rows", 0, 4), ("columns", 1, 3)])
def test_filters_and_input_channels_of_convolutions_are_groups(groups: str, axis: int, kept: int) -> None:
    model = nn.Sequential(nn.Conv2d(6, 8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Envelope(optimizer, model, sparsity=0.5, steps=1, groups=groups).finish()
    assert int((model[0].weight.transpose(0, axis).flatten(1) != 0).any(1).sum()) == kept


def test_a_step_is_the_proximal_operator_of_the_envelope() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 20, bias=False))
    start = model[0].weight.detach().numpy().astype(np.float64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Envelope(optimizer, model, sparsity=0.5, steps=2, falling=1.0, strength=5.0)
    model[0].weight.grad = torch.zeros_like(model[0].weight)
    optimizer.step()
    before = np.sqrt(energies(start, None, 1))
    level = before.size * (0.5 + 0.5 * 0.5**3)
    factors = prox_factors(before.reshape(-1), np.ones(before.size), level, 0.5).reshape(before.shape)
    np.testing.assert_allclose(norms(model[0]), factors * before, rtol=1e-5)
    assert np.count_nonzero(factors) < before.size


def test_kept_groups_train_on_and_the_others_stay_zero() -> None:
    short, whole = trained(120), trained(150)
    zero = short[2].weight == 0
    assert (zero == (whole[2].weight == 0)).all()
    assert (short[2].weight[~zero] != whole[2].weight[~zero]).any()


def test_missing_steps_do_not_keep_it_from_being_sparse() -> None:
    assert np.count_nonzero(norms(trained(10)[0])) == round(0.25 * 6 * 32)


def test_groups_at_the_edge_are_smaller() -> None:
    matrix = torch.from_numpy(normal(20, 10))
    for groups in (Groups(16, 4), Groups(1, 10), Groups(20, 1), Groups(16, 1)):
        found = groups.norms(matrix)
        assert float(found.square().sum()) == pytest.approx(float(matrix.square().sum()))
        torch.testing.assert_close(groups.spread(found, matrix).unique(), found.unique().float())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 1.0}, "a sparsity above 0 and below 1"),
        ({"steps": 0}, "at least one step"),
        ({"groups": "blocks(8x1)"}, "groups must be one of"),
        ({"groups": "heads"}, "groups must be one of"),
        ({"include": ["head"]}, "matches no linear or convolutional layer"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], words: str) -> None:
    model = perceptron()
    with pytest.raises(UsageError, match=words):
        Envelope(torch.optim.SGD(model.parameters(), 0.1), model, **{"sparsity": 0.5, "steps": 1, **options})


def test_weights_that_the_optimizer_cannot_move_are_told() -> None:
    model = perceptron()
    optimizer = torch.optim.SGD(model[0].parameters(), 0.1)
    with pytest.raises(UsageError, match="does not train the weight of layer 2"):
        Envelope(optimizer, model, sparsity=0.5, steps=1)
    nn.utils.parametrizations.weight_norm(model[0])
    with pytest.raises(UsageError, match="the weight of layer 0 is parametrized"):
        Envelope(optimizer, model, sparsity=0.5, steps=1)
