"""Units inside of bodies, and units that a recurrent operator reads."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from tests.support import Array, model, normal, op_types, run

CHOICE = """g (float[n, 4] x, bool which) => (float[n, 3] y) {
    y = If (which) <
        then_branch = then_g () => (y_then) {
            up_then = Constant <value = float[1] {0.0}> ()
            a_then = MatMul (x, up_w)
            b_then = Add (a_then, up_b)
            r_then = Relu (b_then)
            y_then = MatMul (r_then, down_w)
        },
        else_branch = else_g () => (y_else) {
            a_else = MatMul (x, other_w)
            r_else = Relu (a_else)
            y_else = MatMul (r_else, out_w)
        }
    >
}"""


def choice() -> onnx.ModelProto:
    weights = {"up_w": normal(4, 8), "up_b": np.zeros(8, np.float32), "down_w": normal(8, 3, seed=1)}
    weights["up_b"][2] = -1e3  # dead
    weights["up_w"][:, 5], weights["up_b"][5] = 0, 2  # always 2
    other = {"other_w": normal(4, 6, seed=2), "out_w": normal(6, 3, seed=3)}
    other["other_w"][:, 4] = other["other_w"][:, 1]
    return model(CHOICE, **weights, **other)


def test_units_of_both_branches_go() -> None:
    proto = choice()
    feeds = [{"x": normal(5, 4, seed=s), "which": np.array(which)} for s in range(3) for which in (True, False)]
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=feeds)
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert {record.name: record.kept for record in result.report.removed} == {"up_w": 6, "other_w": 5}
    for feed in feeds[:2]:
        np.testing.assert_allclose(run(smaller, feed)[0], run(proto, feed)[0], rtol=1e-5, atol=1e-5)


def test_a_branch_that_is_never_taken_is_judged_by_its_weights() -> None:
    feeds = [{"x": normal(5, 4, seed=seed), "which": np.array(False)} for seed in range(3)]
    result = compile_model(choice(), "neuron-mask{keep=1}", calibration=feeds)
    assert {record.name: record.kept for record in result.report.removed} == {"up_w": 7, "other_w": 5}


def test_weights_that_nodes_hold_leave_nothing_behind() -> None:
    proto = choice()
    branch = proto.graph.node[0].attribute[0].g
    held = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name in ("up_w", "down_w")}
    for name, tensor in held.items():
        proto.graph.initializer.remove(next(t for t in proto.graph.initializer if t.name == name))
        branch.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=tensor))
    result = compile_model(proto, "neuron-mask{keep=1}").model.to_proto()
    onnx.checker.check_model(result, full_check=True)
    kept = next(a.g for a in result.graph.node[0].attribute if a.name == "then_branch")
    assert [node.op_type for node in kept.node].count("Constant") == 1


def lstm(bias: bool) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """Units 1 (dead) and 4 (always sigmoid(1)) of a layer in front of an LSTM."""
    weights = {"up_w": normal(3, 6), "up_b": normal(6), "w": normal(2, 20, 6), "r": normal(2, 20, 5, seed=1)}
    weights["up_w"][:, 4], weights["up_b"][4] = 0, 1
    weights["w"][:, :, 1] = 0
    given = ", b" if bias else ""
    if bias:
        weights["b"] = normal(2, 40, seed=3)
    text = f"""g (float[s, n, 3] x) => (float[s, 2, n, 5] y, float[2, n, 5] h) {{
        a = MatMul (x, up_w)
        c = Add (a, up_b)
        u = Sigmoid (c)
        y, h = LSTM <hidden_size: int = 5, direction: string = "bidirectional"> (u, w, r{given})
    }}"""
    return model(text, **weights), [{"x": normal(4, 2, 3, seed=seed)} for seed in range(3)]


@pytest.mark.parametrize("bias", [True, False])
def test_units_that_an_lstm_reads_become_part_of_its_bias(bias: bool) -> None:
    proto, feeds = lstm(bias)
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=feeds)
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert [(record.name, record.kept) for record in result.report.removed] == [("up_w", 4)]
    assert op_types(smaller) == op_types(proto)
    for was, now in zip(run(proto, feeds[0]), run(smaller, feeds[0]), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-5, atol=1e-5)
    assert "units of a state are not removed" in str(result.report)
