"""Attention that was written as several nodes is one function, where nothing else reads what is between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regc.compiler.model import from_proto
from regc.compiler.recovery.attention import attention
from regc.compiler.recovery.network import Network, feeds_of
from support import Array, model, normal, run

FEED = {"q": normal(2, 3, 5, 4), "k": normal(2, 3, 4, 6), "v": normal(2, 3, 6, 7)}
CONSTANTS = {"root": np.float32(2), "slope": np.array([0.3], np.float32)}
MASKS = {
    "rows": np.where(np.arange(6) < 4, 0, -np.inf).astype(np.float32),
    "places": np.triu(np.full((5, 6), -1e9, np.float32), 2),
    "heads": normal(2, 1, 5, 6),
    "batches": normal(2, 2, 1, 5, 6),
}


def both(text: str, *wanted: str, **constants: Array) -> tuple[Network, list[torch.Tensor], list[Array]]:
    """A network that gives tensors, those for a feed, and these as ONNX Runtime computes them."""
    inputs = ", ".join(f"float[{','.join(map(str, value.shape))}] {name}" for name, value in FEED.items())
    outputs = ", ".join(f"float {name}" for name in wanted)
    proto = model(f"g ({inputs}) => ({outputs}) {{ {text} }}", **CONSTANTS, **constants)
    opened = from_proto(proto)
    found = Network(opened.graph, opened.opset, opened.graph.outputs)
    return found, found.run(feeds_of(FEED)), run(proto, FEED)


def check(results: list[torch.Tensor], expected: list[Array]) -> None:
    for result, array in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.numpy(), array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scaled", ["s = Div(a, root)", "s = Mul(a, slope)", "s = Mul(slope, a)", ""])
@pytest.mark.parametrize("mask", [*MASKS, ""])
def test_it_is_one_node_of_the_same_values(scaled: str, mask: str) -> None:
    scores = "s" if scaled else "a"
    masked = f"m = Add({scores}, mask)" if mask else ""
    text = f"a = MatMul(q, k) {scaled} {masked} p = Softmax<axis=-1>({'m' if mask else scores}) y = MatMul(p, v)"
    found, results, expected = both(text, "y", **({"mask": MASKS[mask]} if mask else {}))
    assert [node.op for node in found.nodes] == ["MatMul"]
    check(results, expected)


@pytest.mark.parametrize(
    "text",
    [
        "a = MatMul(q, k) p = Softmax<axis=2>(a) y = MatMul(p, v)",
        "a = MatMul(q, k) b = Mul(a, a) p = Softmax(b) y = MatMul(p, v)",
        "a = MatMul(q, k) b = Add(a, a) p = Softmax(b) y = MatMul(p, v)",
        "a = MatMul(q, k) p = Softmax(a) r = MatMul(p, v) s = ReduceSum(p) y = Add(r, s)",
    ],
)
def test_what_is_something_else_stays(text: str) -> None:
    found, results, expected = both(text, "y")
    assert "Softmax" in [node.op for node in found.nodes]
    check(results, expected)


def test_what_is_asked_for_in_between_is_there() -> None:
    found, results, expected = both("a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)", "y", "p")
    assert len(found.nodes) == 3
    check(results, expected)


def test_a_mask_may_train() -> None:
    values = [torch.from_numpy(FEED[name]) for name in "vqk"]
    grads = []
    for leading in (lambda x: x, lambda x: x.unsqueeze(0)):  # five axes are not for the fused function
        mask = torch.from_numpy(MASKS["heads"]).requires_grad_()
        attention(0.5, *map(leading, values), leading(mask)).square().sum().backward()
        assert mask.grad is not None
        grads.append(mask.grad)
    torch.testing.assert_close(*grads)
