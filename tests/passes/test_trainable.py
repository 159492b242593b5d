"""Terms in training: they stand for what they will be stored as, and gradients go through the rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from regc.compiler.passes import SiteInfo
from regc.compiler.recovery.student import parameter_groups, trainable
from regc.compiler.recovery.trainable import Trainable, int8
from regc.compiler.terms import Dense, Product, Separable, Sum, Term
from regc.passes import RF8, GroupSparse, Int, Ternary
from regc.passes.neuron_mask.term import Gated
from regc.passes.neuron_mask.thresholds import Gate
from support import normal

SHAPE = (37, 70)


def site(shape: tuple[int, int] = SHAPE) -> SiteInfo:
    return SiteInfo("w", ("MatMul",), ("mm",), shape, np.dtype(np.float32), True, True)


WEIGHT = Dense(normal(*SHAPE))
TALL, WIDE = Dense(normal(37, 20, seed=1)), Dense(normal(20, 70, seed=2))
NARROW = Dense(normal(4, 14, seed=4))


def ternary(weight: Dense = WEIGHT, **options: object) -> Term:
    return made(Ternary(**options).fit(weight, site(weight.shape)))  # type: ignore[arg-type]


def made(term: object) -> Term:
    assert isinstance(term, Term)
    return term


TERMS = {
    "dense": WEIGHT,
    "ternary": ternary(),
    "ternary groups": ternary(group=16),
    "ternary in fives": ternary(group=20, storage="1.6bit"),
    "ternary float32": ternary(group=32, act="float32"),
    "rf8": made(RF8().fit(WEIGHT, site())),
    "blocks": made(GroupSparse(sparsity=0.5).fit(WEIGHT, site())),
    "product": Product(ternary(TALL, group=16), made(RF8().fit(WIDE, site(WIDE.shape)))),
    "separable": Separable(ternary(TALL), made(RF8().fit(NARROW, site(NARROW.shape))), (7, 5)),
    "sum": Sum(ternary(), made(RF8().fit(Dense(normal(*SHAPE, seed=3)), site()))),
}


def in_training(name: str) -> Trainable:
    found = trainable(TERMS[name], {TERMS[name]: WEIGHT.values})
    assert found is not None
    return found


@pytest.mark.parametrize("name", TERMS)
def test_it_stands_for_the_term_it_gives_back_also_after_steps(name: str) -> None:
    weights = in_training(name)
    x, y = torch.from_numpy(normal(50, 70, seed=4)), torch.from_numpy(normal(50, 37, seed=5))
    optimizer = torch.optim.Adam(list(parameter_groups(weights, 0.05)))
    before = weights.term().dense()
    for _ in range(3):
        optimizer.zero_grad()
        (weights.multiply(x) - y).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights.parameters())
        optimizer.step()
    term = weights.term()
    np.testing.assert_allclose(weights.weight().detach().numpy(), term.dense(), rtol=2e-6, atol=1e-7)
    assert (term.dense() != before).any()
    assert (type(term), term.shape, term.nbytes, term.label) == (
        type(TERMS[name]),
        SHAPE,
        TERMS[name].nbytes,
        TERMS[name].label,
    )


@pytest.mark.parametrize(("name", "rate"), [("ternary", 0.01), ("ternary groups", 0.01), ("rf8", 0.001)])
def test_training_lowers_the_error_of_the_outputs(name: str, rate: float) -> None:
    weights = in_training(name)
    x = torch.from_numpy(normal(200, 8, seed=4) @ normal(8, 70, seed=5))
    y = x @ torch.from_numpy(WEIGHT.values).t()

    def error() -> float:
        return float((x @ torch.from_numpy(weights.term().dense()).t() - y).square().sum())

    before = error()
    optimizer = torch.optim.Adam(list(parameter_groups(weights, rate)))
    for _ in range(60):
        optimizer.zero_grad()
        (weights.multiply(x) - y).square().sum().backward()
        optimizer.step()
    assert error() < 0.8 * before


def test_a_latent_weight_gets_the_gradient_of_its_value() -> None:
    weights = in_training("ternary groups")
    gradient = torch.from_numpy(normal(*SHAPE, seed=6))
    (weights.weight() * gradient).sum().backward()
    latent = dict(weights.named_parameters())["latent"]
    assert latent.grad is not None
    torch.testing.assert_close(latent.grad, gradient)


def test_blocks_that_were_removed_stay_so() -> None:
    weights = in_training("blocks")
    with torch.no_grad():
        for parameter in weights.parameters():
            parameter.add_(1)
    zero = TERMS["blocks"].dense() == 0
    assert (weights.term().dense()[zero] == 0).all() and zero.mean() > 0.3


@pytest.mark.parametrize("keep", [None, 20])
@pytest.mark.parametrize("inner", ["dense", "ternary float32"])
def test_gated_weights_multiply_what_passes_the_gate(inner: str, keep: int | None) -> None:
    norms = np.linspace(0.5, 1.5, 70, dtype=np.float32)
    gate = Gate(norms, 0.6, keep, normal(70, seed=7))
    weights = trainable(Gated(TERMS[inner], None if keep else normal(37, seed=8), gate), {TERMS[inner]: WEIGHT.values})
    assert weights is not None
    rows = normal(50, 70, seed=4)
    for _ in range(2):
        term = weights.term()
        assert isinstance(term, Gated) and (gate.enter(rows) == 0).any()
        found = weights.multiply(torch.from_numpy(rows))
        np.testing.assert_allclose(found.detach().numpy(), term.multiply(rows), rtol=1e-4, atol=1e-4)
        found.square().sum().backward()
        for parameter in weights.parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0
            parameter.data -= 1e-3 * parameter.grad


def test_of_equal_activations_as_many_are_used_as_by_the_term() -> None:
    term = Gated(TERMS["dense"], None, Gate(np.ones(70, np.float32), 0.0, 20))
    weights = trainable(term, {TERMS["dense"]: WEIGHT.values})
    assert weights is not None
    rows = np.random.default_rng(1).integers(-2, 3, (50, 70)).astype(np.float32)
    found = weights.multiply(torch.from_numpy(rows)).detach().numpy()
    np.testing.assert_allclose(found, term.multiply(rows), rtol=1e-4, atol=1e-4)


def test_rows_are_those_of_the_matrix() -> None:
    for name in ("rf8", "ternary"):
        weights, indices = in_training(name), torch.tensor([[3, 0], [36, 3]])
        torch.testing.assert_close(weights.rows(indices), weights.weight()[indices])


def test_activations_are_rounded_as_the_operator_does() -> None:
    x = torch.tensor([[0.0, 0.1, -1.27], [0.0, 0.0, 0.0]], requires_grad=True)
    rounded = int8(x)
    torch.testing.assert_close(rounded, torch.tensor([[0.0, 0.1, -1.27], [0.0, 0.0, 0.0]]))
    rounded.sum().backward()
    assert x.grad is not None and (x.grad == 1).all()


def test_what_has_no_such_form_is_told() -> None:
    term = made(Int().fit(WEIGHT, site()))
    assert trainable(term, {}) is None
    assert trainable(Product(Dense(normal(37, 70)), made(Int().fit(Dense(normal(70, 64)), site((70, 64))))), {}) is None


def test_steps_are_a_share_of_the_size() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.fill_(-3)
        layer.bias.zero_()
    rates = [group["lr"] for group in parameter_groups(layer, 0.01)]
    assert rates == pytest.approx([0.03, 1e-5])
