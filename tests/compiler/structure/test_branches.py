"""Ifs of which no run takes one branch, in front of a recurrent operator as exporters write it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.model import from_proto
from regc.compiler.structure.branches import settle_branches
from regc.compiler.structure.joined import fold_joined
from tests.support import Array, model, normal, op_types, run

# A filter of six is dead. Its images lose their last axis if that is 1 (which an LSTM needs), get one for a batch if
# they have none, and meet a weight whose gates are in another order. The state is known to be of two.
RECURRENT = """g (float[b, 3, t] x, float[2, n, 4] state) => (float[s, 1, n, 4] y, float[m] seen) {
    c = Conv (x, filters, shifts)
    u = Relu (c)
    last = Constant <value = int64[1] {-1}> ()
    first = Constant <value = int64[1] {0}> ()
    one = Constant <value = int64[1] {1}> ()
    two = Constant <value = int64 {2}> ()
    shape = Shape (u)
    places = Gather (shape, last)
    single = Equal (places, one)
    flat = If (single) <
        then_branch = g1 () => (flat_then) { flat_then = Squeeze (u, last) },
        else_branch = g2 () => (flat_else) { flat_else = Identity (u) }
    >
    states = Shape (state)
    several = Gather (states, first)
    alone = Squeeze (several, first)
    any = Cast <to = 9> (alone)
    y, seen = If (any) <
        then_branch = g3 () => (y_then, seen_then) {
            flat_shape = Shape (flat)
            rank = Size (flat_shape)
            batched = Equal (rank, two)
            lone = Not (batched)
            given = If (lone) <
                then_branch = g4 () => (given_then) { given_then = Unsqueeze (flat, first) },
                else_branch = g5 () => (given_else) { given_else = Identity (flat) }
            >
            steps = Unsqueeze (given, first)
            ends_0 = Constant <value = int64[1] {4}> ()
            ends_1 = Constant <value = int64[1] {16}> ()
            part_0 = Slice (w, first, ends_0, first)
            part_1 = Slice (w, ends_0, ends_1, first)
            ordered = Concat <axis = 0> (part_1, part_0)
            w3 = Unsqueeze (ordered, first)
            y_then, h_then = LSTM <hidden_size: int = 4> (steps, w3, r)
            seen_then = Reshape (h_then, last)
        },
        else_branch = g6 () => (y_else, seen_else) {
            y_else = Identity (nothing)
            seen_else = Reshape (nothing, last)
        }
    >
}"""


def recurrent(opset: int = 17) -> onnx.ModelProto:
    return model(RECURRENT, opset=opset, nothing=np.zeros((1, 1, 1, 4), np.float32), **weights())


def weights() -> dict[str, Array]:
    found = {"filters": normal(6, 3, 2), "shifts": normal(6), "w": normal(16, 6), "r": normal(1, 16, 4, seed=1)}
    found["shifts"][2] = -1e3
    return found


def feed(seed: int) -> dict[str, Array]:
    return {"x": normal(3, 3, 2, seed=seed), "state": np.zeros((2, 3, 4), np.float32)}


def test_branches_that_no_run_takes_go_and_nothing_changes() -> None:
    proto = recurrent()
    opened = from_proto(proto)
    assert settle_branches(opened) == 3
    fold_joined(opened)
    settled = opened.to_proto()
    onnx.checker.check_model(settled, full_check=True)
    ops = op_types(settled)
    assert not {"If", "Slice", "Concat", "Gather"} & set(ops)
    names = [output for node in settled.graph.node for output in node.output]
    assert len(names) == len(set(names))
    for wanted, found in zip(run(proto, feed(0)), run(settled, feed(0)), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_a_recurrent_operator_reads_behind_them_is_removed() -> None:
    proto = recurrent()
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=[feed(seed) for seed in range(3)])
    assert {record.name: record.kept for record in result.report.removed} == {"filters": 5}
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    for wanted, found in zip(run(proto, feed(9)), run(smaller, feed(9)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_a_recurrent_operator_reads_is_joined_without_branches_as_well() -> None:
    proto = model(
        """g (float[b, 3, t] x) => (float[s, 1, b, 4] y) {
            c = Conv (x, filters, shifts)
            u = Relu (c)
            steps = Transpose <perm = [2, 0, 1]> (u)
            zero = Constant <value = int64[1] {0}> ()
            cut = Constant <value = int64[1] {4}> ()
            end = Constant <value = int64[1] {16}> ()
            part_0 = Slice (w, zero, cut, zero)
            part_1 = Slice (w, cut, end, zero)
            ordered = Concat <axis = 0> (part_1, part_0)
            w3 = Unsqueeze (ordered, zero)
            y = LSTM <hidden_size: int = 4> (steps, w3, r)
        }""",
        **weights(),
    )
    x = {"x": feed(9)["x"]}
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=[{"x": feed(seed)["x"]} for seed in range(3)])
    assert {record.name: record.kept for record in result.report.removed} == {"filters": 5}
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    for wanted, found in zip(run(proto, x), run(smaller, x), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        ("float[2, n, 4] state", "float[k, n, 4] state"),  # there may be none
        ("y_then, h_then = LSTM <hidden_size: int = 4> (steps, w3, r)", "h_then = Identity (steps) y_then = Abs (w3)"),
    ],
)
def test_branches_that_a_run_may_take_stay(change: tuple[str, str]) -> None:
    assert change[0] in RECURRENT
    proto = model(RECURRENT.replace(*change), nothing=np.zeros((1, 1, 1, 4), np.float32), **weights())
    opened = from_proto(proto)
    settle_branches(opened)
    assert "If" in op_types(opened.to_proto())


def test_a_branch_that_gives_a_tensor_from_outside_is_replaced_by_it() -> None:
    text = """g (float[2, n] x) => (float[a, b] y) {
        shape = Shape (x)
        first = Constant <value = int64 {0}> ()
        size = Gather (shape, first)
        any = Cast <to = 9> (size)
        z = If (any) <
            then_branch = g1 () => (z_then) { z_then = Relu (x) z_other = Abs (z_then) },
            else_branch = g2 () => (z_else) { z_else = Neg (x) }
        >
        y = Add (z, x)
    }"""
    proto = model(text)
    opened = from_proto(proto)
    assert settle_branches(opened) == 1
    settled = opened.to_proto()
    assert "If" not in op_types(settled)
    x = {"x": normal(2, 5)}
    np.testing.assert_array_equal(run(settled, x)[0], run(proto, x)[0])
