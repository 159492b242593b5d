import inspect
import sys

import numpy as np
import pytest

from onnx_models import parsed
from regc.compiler.model import from_proto
from regc.compiler.sites import find_sites
from regc.compiler.sites.chains import constant_of
from support import model, normal


def test_chains_longer_than_python_can_recurse() -> None:
    chain = " ".join(f"t{i + 1} = Identity(t{i})" for i in range(400))
    proto = model(
        f"g (float[n,40] x) => (float y) {{ t0 = Identity(w) {chain} y = MatMul(x, t400) }}", w=normal(40, 24)
    )
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        (site,) = find_sites(from_proto(proto))
        assert site.info.multiplied
    finally:
        sys.setrecursionlimit(usual)


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value: tensor = float[2] {1, 2}", np.array([1, 2], np.float32)),
        ("value_int: int = 3", np.array(3, np.int64)),
        ("value_ints: ints = [3, 4]", np.array([3, 4], np.int64)),
        ("value_float: float = 1.5", np.array(1.5, np.float32)),
        ("value_floats: floats = [1.5, 2.0]", np.array([1.5, 2], np.float32)),
    ],
)
def test_constants_may_be_numbers(attribute: str, expected: np.generic) -> None:
    graph = from_proto(model(f"g (float x) => (float y, float z) {{ z = Constant<{attribute}>() y = Neg(x) }}")).graph
    constant = constant_of(graph.tensors()["z"])
    assert constant is not None
    np.testing.assert_array_equal(constant.values, expected, strict=True)
    assert constant_of(graph.tensors()["y"]) is None


def test_what_functions_are_given_is_no_constant() -> None:
    text = """g (float[2] x) => (float[2] y) { y = local.Twice <k = 3.0> (x) }
        <domain: "local", opset_import: ["": 17]> Twice <k> (a) => (b) {
            c = Constant <value_float: float = @k> () b = Mul (a, c) }"""
    function = from_proto(parsed(text)).graph.functions[0]
    assert constant_of(function.tensors()["c"]) is None
