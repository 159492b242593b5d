"""What several weights begin with is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.passes import Pass, Preview, SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Product, Term
from support import model, normal, op_types, run

BASIS = Dense(normal(8, 64, seed=9))
WEIGHTS = {"one": normal(64, 64), "two": normal(64, 64, seed=1)}


@dataclass(frozen=True, kw_only=True)
class Based(Pass):
    """A weight as its first columns times a basis that all have in common."""

    name: ClassVar[str] = "based"
    summary: ClassVar[str] = "for these tests"

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview:
        return Preview("based", None)

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term:
        return Product(Dense(np.ascontiguousarray(weight.values[:, :8])), BASIS, shares=2)


@pytest.mark.parametrize(
    ("nodes", "products", "begin"),
    [
        ("a = MatMul(x, one) s = Relu(a) b = MatMul(x, two) y = Add(s, b) v = Neg(b)", 3, ["x"]),
        ("a = MatMul(x, one) s = Relu(a) b = MatMul(s, two) y = Add(a, b) v = Neg(b)", 4, ["x", "s"]),
        ("a = Gemm<transB=1>(x, one) b = MatMul(x, two) y = Add(a, b) v = Neg(b)", 3, ["x"]),
        ("y = MatMul(x, one) v = MatMul(x, one)", 3, ["x"]),
    ],
)
def test_products_of_one_tensor_with_one_factor(nodes: str, products: int, begin: list[str]) -> None:
    text = f"g (float[b,64] x) => (float[b,64] y, float[b,64] v) {{ {nodes} }}"
    small = compile_model(model(text, **WEIGHTS), [Based()]).model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    assert op_types(small).count("MatMul") == products
    shared = [tensor.name for tensor in small.graph.initializer if tuple(tensor.dims) == (64, 8)]
    assert len(shared) == 1
    assert [node.input[0] for node in small.graph.node if node.input[-1] == shared[0]] == begin
    lost = {name: (weight[:8].T @ BASIS.values).T for name, weight in WEIGHTS.items()}
    if "Gemm" in nodes:
        lost["one"] = WEIGHTS["one"][:, :8] @ BASIS.values
    x = {"x": normal(3, 64, seed=5)}
    for found, expected in zip(run(small, x), run(model(text, **lost), x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
