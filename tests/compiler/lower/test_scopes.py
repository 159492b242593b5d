"""Weights of outer graphs, of branches and of functions."""

import numpy as np
import onnx
import pytest

from support import model

from .same import INPUTS, OUTPUTS, ROWS, W, compile_proto, exact, same, x

BRANCHES = """g (bool c, float[5,80] x) => (float[5,48] y) {{
    y = If(c) <
        then_branch = a () => (float[5,48] p) {{ {then} }},
        else_branch = b () => (float[5,48] q) {{ u = MatMul(x, {other}) q = Neg(u) }}
    >
}}"""


@pytest.mark.parametrize("then", ["p = MatMul(x, w)", "t = Mul(w, w) p = MatMul(x, t)"])
@pytest.mark.parametrize("condition", [True, False])
def test_weights_of_an_outer_graph_read_in_branches(then: str, condition: bool) -> None:
    proto = model(BRANCHES.format(then=then, other="w"), w=W.T)
    compiled = compile_proto(proto)
    same(proto, compiled, {"x": x(ROWS, INPUTS), "c": np.array(condition)})
    assert compiled.ByteSize() < proto.ByteSize()


def test_weights_inside_a_branch() -> None:
    proto = model(BRANCHES.format(then="p = MatMul(x, w)", other="inner"), w=W.T)
    (branch,) = [a.g for a in proto.graph.node[0].attribute if a.name == "else_branch"]
    branch.initializer.add().CopyFrom(onnx.numpy_helper.from_array(exact(INPUTS, OUTPUTS, seed=9), "inner"))
    compiled = compile_proto(proto)
    for condition in (True, False):
        same(proto, compiled, {"x": x(ROWS, INPUTS), "c": np.array(condition)})


def test_weights_inside_a_function() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
        g (float[n,80] x) => (float[n,48] y) { a = f.layer(x) b = f.layer(x) y = Add(a, b) }
        <domain: "f", opset_import: ["" : 17]>
        layer (x) => (y) { y = MatMul(x, w) }"""
    proto = model(text)
    constant = onnx.helper.make_node(
        "Constant", [], ["w"], value=onnx.numpy_helper.from_array(np.ascontiguousarray(W.T))
    )
    proto.functions[0].node.insert(0, constant)
    compiled = compile_proto(proto)
    assert compiled.ByteSize() < proto.ByteSize()
    same(proto, compiled, {"x": x(ROWS, INPUTS)})
