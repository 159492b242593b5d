from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler import SiteInfo, compile_model, timing
from regc.compiler.statistics import Statistics
from regc.compiler.target import CPU, TARGETS
from regc.compiler.terms import Dense, Product
from regc.compiler.timing import Stopwatch, product
from regc.passes import NeuronMask
from regc.passes.neuron_mask.term import Gated
from support import model, normal, op_types, run


def gated(weight: Dense, inputs: Statistics) -> Gated:
    site = SiteInfo("w", ("MatMul",), ("/w/MatMul",), weight.shape, np.dtype(np.float32), True, True)
    term = NeuronMask(force=True).fit(weight, site, inputs)
    assert isinstance(term, Gated)
    return term


@pytest.fixture
def weight() -> Dense:
    return Dense(normal(48, 64))


@pytest.fixture
def inputs() -> Statistics:
    return dataclasses.replace(Statistics.of(normal(20, 64, seed=1), sample=True), runs=6)


def test_what_is_timed_is_what_would_be_emitted(weight: Dense, inputs: Statistics) -> None:
    term = gated(weight, inputs)
    whole, ours = product(weight, 3), product(weight, 3, term, CPU)
    x = normal(3, 64, seed=2)
    for proto in (whole, ours):
        onnx.checker.check_model(proto)
    assert op_types(whole) == ["MatMul"]
    assert "ai.regc::GatedMatMul" in op_types(ours)
    np.testing.assert_allclose(run(whole, {"x": x})[0], x @ weight.values.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(ours, {"x": x}, library=True)[0], term.multiply(x), rtol=1e-4, atol=1e-4)


def test_thin_factors_are_timed_in_the_place_of_their_product() -> None:
    factors = Product(Dense(normal(48, 8)), Dense(normal(8, 64)))
    proto = product(Dense(factors.dense()), 5, factors, CPU)
    assert op_types(proto) == ["MatMul", "MatMul"]
    before, after = timing.seconds([proto, proto], [normal(5, 64)])
    assert before > 0
    assert after > 0


def test_terms_of_one_shape_and_share_are_timed_once(
    weight: Dense, inputs: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[Any] = []

    def seconds(models: Any, feeds: Any) -> list[float]:
        timed.append([feed.shape for feed in feeds])
        return [3.0, 2.0]

    monkeypatch.setattr(timing, "seconds", seconds)
    stopwatch, term = Stopwatch(CPU), gated(weight, inputs)
    found = [stopwatch.speed(weight, term, None, inputs) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].measured == 1.5
    assert found[0].predicted is not None
    assert timed == [[(4, 64)] * 5]
    assert stopwatch.speed(weight, term, 30, inputs) is not None
    assert timed[1:] == [[(30, 64)]]


def test_what_cannot_be_timed_is_not_told(weight: Dense, inputs: Statistics, monkeypatch: pytest.MonkeyPatch) -> None:
    term = gated(weight, inputs)
    assert Stopwatch(CPU).speed(weight, weight, None, inputs) is None
    assert Stopwatch(CPU).speed(weight, term, None, dataclasses.replace(inputs, runs=None)) is None
    assert Stopwatch(CPU).speed(weight, term, 1, None) is None
    on_gpu = Stopwatch(TARGETS["cuda"]).speed(weight, term, 1, inputs)
    assert on_gpu is not None
    assert on_gpu.measured is None
    monkeypatch.setenv("REGC_OPS_LIBRARY", "/nowhere/library.so")
    without = Stopwatch(CPU).speed(weight, term, 1, inputs)
    assert without is not None
    assert without.measured is None
    assert without.predicted == on_gpu.predicted


def test_a_report_has_both_speeds_of_what_skips_inputs_and_the_model_none_of_them() -> None:
    proto = model("g (float[n,192] x) => (float[n,160] y) { y = MatMul(x, w) }", w=normal(192, 160))
    feeds = [{"x": row[None]} for row in normal(200, 192)]
    results = [compile_model(proto, "neuron-mask{mode=dynamic}", calibration=feeds) for _ in range(2)]
    (record,) = results[0].records
    assert record.speed is not None
    assert record.speed.predicted is not None
    assert record.speed.measured is not None
    assert record.speed.measured > 0
    data = json.loads(results[0].report.to_json())
    assert data["weights"][0]["speed"] == dataclasses.asdict(record.speed)
    assert "measured" in str(results[0].report)
    first, second = (result.model.to_proto().SerializeToString(deterministic=True) for result in results)
    assert first == second
