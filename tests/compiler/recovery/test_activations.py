"""Activations that were written as several nodes are one function, where nothing else reads what is between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regc.compiler.model import from_proto
from regc.compiler.recovery.network import Network, feeds_of
from support import Array, model, normal, run

FEED = {"x": normal(5, 7)}
GELU = "a = Div(h, root) b = Erf(a) c = Add(b, one) d = Mul(h, c) y = Mul(d, half)"
SILU = "a = Sigmoid(h) y = Mul(h, a)"
CONSTANTS = {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}


def network(text: str, *wanted: str) -> tuple[Network, list[torch.Tensor], list[Array]]:
    """A network that gives tensors, those for a feed, and these as ONNX Runtime computes them."""
    outputs = ", ".join(f"float {name}" for name in wanted)
    proto = model(f"g (float[n,7] x) => ({outputs}) {{ h = Neg(x) {text} }}", **CONSTANTS)
    opened = from_proto(proto)
    found = Network(opened.graph, opened.opset, opened.graph.outputs)
    return found, found.run(feeds_of(FEED)), run(proto, FEED)


@pytest.mark.parametrize("text", [GELU, SILU])
def test_it_is_one_node_of_the_same_values(text: str) -> None:
    found, results, expected = network(text, "y")
    assert [node.op for node in found.nodes] == ["Neg", "Mul"]
    np.testing.assert_allclose(results[0].numpy(), expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("text", "between"), [(GELU, "c"), (SILU, "a")])
def test_what_is_asked_for_in_between_is_there(text: str, between: str) -> None:
    found, results, expected = network(text, "y", between)
    assert len(found.nodes) > 2
    for result, array in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.numpy(), array, rtol=1e-5, atol=1e-6)
