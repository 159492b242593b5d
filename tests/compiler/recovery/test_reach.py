"""What of a model recovery can train."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from recovering import FEEDS, RESIDUAL, STEPS, WEIGHTS, compiled

from regc.compiler import Recover, RegcError, compile_model
from support import model, normal


def test_weights_behind_an_unknown_operator_are_left_and_the_reason_told() -> None:
    text = """g (float[n, 48] x) => (float[n, 24] y) {
        a = MatMul (x, w1)
        c = Relu (a)
        d = MatMul (c, w2)
        s = Constant <value_ints: ints = [2]> ()
        e = Unsqueeze (d, s)
        f = MeanVarianceNormalization <axes = [1]> (e)
        k = Squeeze (f, s)
        y = Gemm <transB = 1> (k, w4, last)
    }"""
    used = {name: WEIGHTS[name] for name in ("w1", "w2", "w4", "last")}
    recovered = compiled(model(text, **used), recover=STEPS).recovered
    assert recovered is not None and recovered.weights == 2
    assert recovered.left == {"w4": "recovery does not know the operator MeanVarianceNormalization"}


def test_weights_in_subgraphs_are_trained() -> None:
    text = """g (bool c, float[n, 48] x) => (float[n, 48] y) {
        y = If (c) <
            then_branch = t () => (float[n, 48] a) { b = MatMul (x, w1) r = Relu (b) a = MatMul (r, w2) },
            else_branch = e () => (float[n, 48] d) { d = Identity (x) }
        >
    }"""
    proto = model(text, w1=WEIGHTS["w1"], w2=WEIGHTS["w2"])
    feeds = [{"c": np.array(True), **feed} for feed in FEEDS]
    result = compile_model(proto, "ternary{group=16,method=lloyd}", calibration=feeds, recover=Recover(steps=32))
    assert result.recovered is not None
    assert result.recovered.weights == 2 and result.recovered.after < result.recovered.before


def test_convolutions_are_trained() -> None:
    text = """g (float[n, 16, 9, 9] x) => (float[n, 32, 5, 5] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, k1, b1)
        r = Relu (a)
        y = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r, k2)
    }"""
    weights = {"k1": normal(32, 16, 3, 3), "b1": normal(32), "k2": normal(32, 32, 3, 3)}
    feeds = [{"x": normal(16, 16, 9, 9, seed=seed)} for seed in range(3)]
    options = {"calibration": feeds, "recover": Recover(steps=32, batch=8)}
    result = compile_model(model(text, **weights), "ternary{method=lloyd}", **options)  # type: ignore[arg-type]
    assert result.recovered is not None and result.recovered.after < 0.9 * result.recovered.before
    assert any("TernaryConv" in record.emitted for record in result.records)


def test_a_model_of_which_nothing_can_be_trained_says_why() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    with pytest.raises(RegcError, match="has no form that can be trained"):
        compiled(proto, "int{bits=8}", recover=STEPS)


def test_biases_and_norms_are_trained_too() -> None:
    result = compiled(model(RESIDUAL, **WEIGHTS), recover=STEPS)
    after = {t.name: onnx.numpy_helper.to_array(t) for t in result.model.to_proto().graph.initializer}
    assert not np.array_equal(after["scale"], WEIGHTS["scale"])
    assert np.abs(after["scale"] - WEIGHTS["scale"]).max() < 0.5
