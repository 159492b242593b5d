"""Gates that never vary become constants, and the branches that they close go; others stay as they are."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regc.compiler import compile_model
from regc.compiler.calibration.spread import Spread
from regc.compiler.compile import CompileResult
from regc.compiler.errors import UsageError
from tests.support import Array, model, normal, op_types, run

SQUEEZE = """g (float[n, 4, 6, 6] x) => (float[n, 4, 6, 6] y) {
    a = Conv <pads: ints = [1, 1, 1, 1]> (x, c_w)
    b = Relu (a)
    p = GlobalAveragePool (x)
    s = Conv (p, s_w, s_b)
    g = Sigmoid (s)
    c = Mul (b, g)
    d = Add (x, c)
    y = Relu (d)
}"""


def settled(proto: onnx.ModelProto, feeds: list[dict[str, Array]], options: str = "keep=1") -> CompileResult:
    """The model with its gates settled, which computes what the original does."""
    result = compile_model(proto, f"neuron-mask{{{options}}}", calibration=feeds)
    after = result.model.to_proto()
    onnx.checker.check_model(after, full_check=True)
    for feed in feeds[:2]:
        for was, now in zip(run(proto, feed), run(after, feed), strict=True):
            np.testing.assert_allclose(now, was, rtol=1e-5, atol=1e-5)
    return result


def squeeze(*bias: float) -> CompileResult:
    proto = model(SQUEEZE, c_w=normal(4, 4, 3, 3), s_w=normal(4, 4, 1, 1), s_b=np.array(bias, np.float32))
    return settled(proto, [{"x": normal(2, 4, 6, 6, seed=seed)} for seed in range(4)])


def test_a_closed_gate_takes_its_branch_with_it() -> None:
    result = squeeze(-200, -200, -200, -200)
    assert op_types(result.model.to_proto()) == ["Relu"]
    assert not result.model.to_proto().graph.initializer
    gate = result.report.settled[0]
    assert (gate.name, gate.op, gate.values, gate.fixed, gate.nodes) == ("g", "Sigmoid", 4, 4, 7)
    assert gate.nbytes == 4 * (4 * 4 * 9 + 4 * 4 + 4)
    data = json.loads(result.report.to_json())["gates"]
    assert [(g["operator"], g["variance"], g["reason"]) for g in data] == [("Sigmoid", 0, None)]
    for words in (str(result.report), result.report.to_html()):
        assert "a constant, 7 nodes less" in words


def test_an_open_gate_leaves_its_branch_alone() -> None:
    assert op_types(squeeze(200, 200, 200, 200).model.to_proto()) == ["Conv", "Relu", "Add", "Relu"]


def test_a_gate_that_is_open_for_some_becomes_a_constant_factor() -> None:
    result = squeeze(200, -200, 200, -200).model.to_proto()
    assert op_types(result) == ["Conv", "Relu", "Mul", "Add", "Relu"]
    factor = next(t for t in result.graph.initializer if t.name.startswith("g"))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(factor).reshape(-1), [1, 0, 1, 0])


def test_a_gate_that_varies_stays_and_the_report_says_how_much() -> None:
    result = squeeze(0, 0, 0, 0)
    assert not result.changed
    gate = result.report.gates[0]
    assert gate.reason == "varies"
    assert gate.variance is not None
    assert 0 < gate.variance < 0.25
    assert "varies" in str(result.report)


def test_the_tolerance_is_an_option() -> None:
    proto = model(SQUEEZE, c_w=normal(4, 4, 3, 3), s_w=normal(4, 4, 1, 1), s_b=np.full(4, -6, np.float32))
    feeds = [{"x": normal(2, 4, 6, 6, seed=seed)} for seed in range(4)]
    assert not compile_model(proto, "neuron-mask{keep=1}", calibration=feeds).changed
    loose = compile_model(proto, "neuron-mask{keep=1,gates=0.01}", calibration=feeds)
    assert op_types(loose.model.to_proto()) == ["Relu"]
    assert not compile_model(proto, "neuron-mask{keep=1,gates=None}", calibration=feeds).report.gates
    with pytest.raises(UsageError, match="gates must be at least 0"):
        compile_model(proto, "neuron-mask{keep=1,gates=1}")


def test_a_choice_that_always_falls_on_one_side() -> None:
    proto = model(
        """g (float[n, 4] x) => (float[n, 4] y) {
            s = MatMul (x, s_w)
            c = Greater (s, bar)
            a = MatMul (x, a_w)
            b = MatMul (x, b_w)
            y = Where (c, a, b)
        }""",
        s_w=normal(4, 4),
        bar=np.array(1e6, np.float32),
        a_w=normal(4, 4, seed=1),
        b_w=normal(4, 4, seed=2),
    )
    result = settled(proto, [{"x": normal(3, 4, seed=seed)} for seed in range(3)])
    assert op_types(result.model.to_proto()) == ["MatMul", "Identity"]


def test_highway_gates_are_computed_through() -> None:
    proto = model(
        """g (float[n, 4] x) => (float[n, 4] y) {
            s = Gemm (x, s_w, s_b)
            g = Sigmoid (s)
            k = Sub (one, g)
            h = MatMul (x, h_w)
            a = Mul (g, h)
            b = Mul (k, x)
            y = Add (a, b)
        }""",
        s_w=normal(4, 4),
        s_b=np.full(4, -200, np.float32),
        one=np.array(1, np.float32),
        h_w=normal(4, 4, seed=1),
    )
    result = settled(proto, [{"x": normal(3, 4, seed=seed)} for seed in range(3)])
    assert op_types(result.model.to_proto()) == ["Identity"]


def test_a_normalization_of_scale_zero_closes_its_branch() -> None:
    proto = model(
        """g (float[n, 3, 5, 5] x) => (float[n, 3, 5, 5] y) {
            a = Conv <pads: ints = [1, 1, 1, 1]> (x, c_w)
            b = BatchNormalization (a, scale, shift, mean, variance)
            d = Add (x, b)
            y = Relu (d)
        }""",
        c_w=normal(3, 3, 3, 3),
        scale=np.zeros(3, np.float32),
        shift=np.zeros(3, np.float32),
        mean=normal(3),
        variance=np.ones(3, np.float32),
    )
    result = settled(proto, [{"x": normal(2, 3, 5, 5, seed=seed)} for seed in range(3)])
    assert op_types(result.model.to_proto()) == ["Relu"]


def test_masks_and_activations_are_no_gates() -> None:
    proto = model(
        """g (float[n, 4] x, bool[n, 4] mask) => (float[n, 4] y) {
            a = MatMul (x, w)
            b = Where (mask, a, low)
            s = Sigmoid (b)
            y = Mul (b, s)
        }""",
        w=normal(4, 4),
        low=np.array(-3, np.float32),
    )
    feeds = [{"x": 100 + normal(3, 4, seed=seed), "mask": np.ones((3, 4), np.bool_)} for seed in range(3)]
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=feeds)
    assert (result.report.gates, result.changed) == ((), False)


def test_without_calibration_inputs_gates_stay() -> None:
    proto = model(SQUEEZE, c_w=normal(4, 4, 3, 3), s_w=normal(4, 4, 1, 1), s_b=np.full(4, -200, np.float32))
    result = compile_model(proto, "neuron-mask{keep=1}")
    assert not result.changed
    assert "needs calibration inputs to see whether it varies" in str(result.report)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_spreads_of_blocks_are_that_of_all_rows(first: int, second: int, width: int) -> None:
    rows = normal(first + second, width, seed=first)
    both, whole = Spread.of(rows[:first]).with_(Spread.of(rows[first:])), Spread.of(rows)
    np.testing.assert_allclose(both.mean, whole.mean, atol=1e-6)
    np.testing.assert_allclose(both.variance, whole.variance, atol=1e-6)
    assert both.width == pytest.approx(whole.width)
    assert (both.count, both.high.tolist()) == (first + second, rows.max(0).tolist())


def test_what_follows_from_shapes_is_no_gate() -> None:
    proto = model(
        """g (int64[n, s] ids) => (float[n, s, 4] y) {
            e = Gather (table, ids)
            shape = Shape (e)
            bar = Constant <value = int64[3] {-1, -1, -1}> ()
            any = Equal (shape, bar)
            target = Where (any, bar, shape)
            r = Reshape (e, target)
            y = MatMul (r, w)
        }""",
        table=normal(20, 4),
        w=normal(4, 4),
    )
    feeds = [{"ids": np.arange(6).reshape(2, 3)} for _ in range(2)]
    assert settled(proto, feeds).report.gates == ()


def test_types_that_a_model_does_not_tell() -> None:
    weights = {"c_w": normal(4, 4, 3, 3), "s_w": normal(4, 4, 1, 1), "s_b": np.array([200, -200, 200, -200])}
    half = {name: values.astype(np.float16) for name, values in weights.items()}
    feeds = [{"x": normal(2, 4, 6, 6, seed=seed).astype(np.float16)} for seed in range(2)]
    proto = model(SQUEEZE.replace("float[", "float16["), **half)
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=feeds).model.to_proto()
    onnx.checker.check_model(result, full_check=True)
    factor = next(tensor for tensor in result.graph.initializer if tensor.name.startswith("g"))
    assert factor.data_type == onnx.TensorProto.FLOAT16
    run(result, feeds[0])


@pytest.mark.parametrize("question", ["IsNaN (a)", "Equal (a, nought)"])
def test_what_guards_against_values_is_no_gate(question: str) -> None:
    proto = model(
        f"""g (float[n, 4] x) => (float[n, 4] y) {{
            a = MatMul (x, w)
            bad = {question}
            fine = Not (bad)
            y = Where (fine, a, nought)
        }}""",
        w=normal(4, 4),
        nought=np.zeros(4, np.float32),
    )
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=[{"x": normal(3, 4)}])
    assert (result.report.gates, result.changed) == ((), False)
