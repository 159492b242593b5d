"""What flows into weights of branches, loops and functions."""

import numpy as np
import onnx

from support import model, normal

from .gathered import assert_rows, found, gathering

IF = """g (float[b,8] x, bool c) => (float[b,4] y) {
    y = If(c) <
        then_branch = t () => (float[b,4] p) { h = MatMul(x, w1) r = Relu(h) p = MatMul(r, w2) },
        else_branch = e () => (float[b,4] q) { q = MatMul(x, w3) }
    >
}"""


def branches() -> onnx.ModelProto:
    return model(IF, w1=normal(8, 6), w2=normal(6, 4), w3=normal(8, 4, seed=2))


def test_each_branch_sees_the_inputs_that_take_it() -> None:
    x = [normal(3, 8), normal(4, 8, seed=1), normal(5, 8, seed=2)]
    feeds = [{"x": part, "c": np.array(taken)} for part, taken in zip(x, (True, False, True), strict=True)]
    statistics = found(gathering(branches(), *feeds))
    taken = np.concatenate([x[0], x[2]])
    assert_rows(statistics["w1"], taken)
    assert_rows(statistics["w2"], np.maximum(taken @ normal(8, 6), 0))
    assert_rows(statistics["w3"], x[1])


def test_a_branch_that_is_never_taken_has_no_statistics() -> None:
    statistics = found(gathering(branches(), {"x": normal(3, 8), "c": np.array(True)}))
    assert statistics["w3"] == "the calibration inputs never reach it"


def test_a_loop_is_seen_in_each_of_its_runs() -> None:
    text = """g (int64 n, float[b,8] x) => (float[b,8] y) <bool go = {1}> {
        y = Loop(n, go, x) <
            body = b (int64 i, bool keep_in, float[b,8] a) => (bool keep, float[b,8] out) {
                keep = Identity(keep_in)
                out = MatMul(a, w)
            }
        >
    }"""
    x, weight = normal(3, 8), normal(8, 8)
    statistics = found(gathering(model(text, w=weight), {"x": x, "n": np.array(3)}))["w"]
    assert_rows(statistics, np.concatenate([x, x @ weight, x @ weight @ weight]))


def test_weights_in_constant_nodes_of_a_nested_branch() -> None:
    text = """g (float[b,2] x, bool c) => (float[b,2] y) {
        y = If(c) <
            then_branch = t () => (float[b,2] p) {
                p = If(c) <
                    then_branch = tt () => (float[b,2] pp) {
                        n = Neg(x)
                        w = Constant<value = float[2,2] {1, 2, 3, 4}>()
                        pp = MatMul(n, w)
                    },
                    else_branch = te () => (float[b,2] pq) { pq = Identity(x) }
                >
            },
            else_branch = e () => (float[b,2] q) { q = Identity(x) }
        >
    }"""
    x = normal(3, 2)
    statistics = found(gathering(model(text), {"x": x, "c": np.array(True)}))["w"]
    assert_rows(statistics, -x)


def test_a_function_that_keeps_its_weight_to_itself_says_so() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[b,2] x) => (float y) { y = local.Inner(x) }
        <domain: "local", opset_import: ["": 17]> Inner (a) => (b) {
            w = Constant<value = float[2,2] {1, 2, 3, 4}>()
            b = MatMul(a, w)
        }"""
    statistics = found(gathering(model(text), {"x": normal(3, 2)}))
    assert list(statistics.values()) == ["it is inside a function that the model calls"]
