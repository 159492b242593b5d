"""From a model and some inputs to a recovered one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from recovering import FEEDS, RESIDUAL, STEPS, WEIGHTS, compiled, error

from regc.compiler import Calibration, Recover, compile_model
from regc.compiler.model import from_proto as load_proto
from support import model, op_types


@pytest.mark.parametrize(
    ("passes", "share"),
    [
        ("ternary{group=16,method=lloyd}", 0.8),
        ("ternary{group=16,method=lloyd,act=float32}", 0.8),
        ("low-rank{ratio=4}", 0.8),
        ("low-rank{ratio=2},ternary{method=lloyd}", 0.9),
        ("group-sparse{sparsity=0.75,scope=weight}", 0.9),
        ("group-sparse{sparsity=0.75,scope=weight},rf8", 0.9),
        ("neuron-mask{sparsity=0.6,force=true},ternary{group=16,method=lloyd}", 0.8),
    ],
)
def test_a_recovered_model_is_nearer_to_the_original(passes: str, share: float) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    plain, recovered = compiled(proto, passes), compiled(proto, passes, recover=STEPS)
    assert recovered.recovered is not None and recovered.recovered.worth
    assert recovered.recovered.after < recovered.recovered.before
    assert op_types(recovered.model.to_proto()) == op_types(plain.model.to_proto())
    assert [r.nbytes_after for r in recovered.records] == [r.nbytes_after for r in plain.records]
    assert {r.recovery for r in recovered.records if r.changed} == {"trained"}
    assert error(proto, recovered) < share * error(proto, plain)


def test_the_original_teaches_a_model_that_lost_units() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    plain, recovered = (
        compiled(proto, "neuron-mask{keep=0.4,score=magnitude,compensate=false}", recover=options)
        for options in (None, STEPS)
    )
    assert recovered.recovered is not None and recovered.recovered.worth
    assert recovered.recovered.weights == 4
    assert [(units.units, units.kept) for units in recovered.units if units.changed] == [(96, 38)]
    assert op_types(recovered.model.to_proto()) == op_types(plain.model.to_proto())
    assert error(proto, recovered) < 0.7 * error(proto, plain)


@pytest.mark.parametrize("given", ["proto", "model"])
def test_what_lost_units_may_be_coded_too(given: str) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    opened = load_proto(proto) if given == "model" else proto
    passes = "neuron-mask{keep=0.5},ternary{group=16,method=lloyd,include=w1}"
    plain, recovered = compiled(proto, passes), compiled(opened, passes, recover=STEPS)
    assert {r.info.name for r in recovered.records if r.changed} == {"w1"}
    assert {r.recovery for r in recovered.records} == {"trained"}
    assert recovered.recovered is not None and recovered.recovered.weights == 4
    assert error(proto, recovered) < 0.9 * error(proto, plain)


@pytest.mark.parametrize("method", ["gptq", "mean"])
def test_ternary_weights_end_at_the_same_place_whatever_the_passes_began_with(method: str) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    results = [compiled(proto, f"ternary{{group=16,method={m}}}", recover=STEPS) for m in (method, "lloyd")]
    first, second = (result.recovered for result in results)
    assert first is not None and second is not None
    assert first.after == second.after and first.before != second.before


def test_a_number_of_steps_is_repeatable() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    first, second = (compiled(proto, recover=STEPS).model.to_proto().graph for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_the_report_tells_of_it() -> None:
    report = compiled(model(RESIDUAL, **WEIGHTS), recover=STEPS).report
    assert "recovery" in str(report) and "on held-out samples; 4 weights, 48 steps" in str(report)
    assert '"taken": true' in report.to_json()
    assert "<h2>Recovery</h2>" in report.to_html()


def test_weights_that_no_pass_took_train_too() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    recovered = compiled(proto, "low-rank{ratio=4,include=w1}", recover=STEPS)
    assert recovered.recovered is not None and recovered.recovered.weights == 4
    assert set(recovered.recovered.dense) == {r.info.name for r in recovered.records if not r.changed}
    told = {r.info.name: r.reason for r in recovered.records if not r.changed}
    assert all(reason.endswith("; recovery trained it") for reason in told.values())
    after = {i.name: numpy_helper.to_array(i) for i in recovered.model.to_proto().graph.initializer}
    assert not any(np.array_equal(after[name], WEIGHTS[name]) for name in told)


def test_weights_that_the_user_excludes_stay() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    recovered = compiled(proto, "ternary{group=16}", recover=STEPS, exclude="w1")
    assert recovered.recovered is not None and recovered.recovered.dense == ()
    after = {i.name: numpy_helper.to_array(i) for i in recovered.model.to_proto().graph.initializer}
    assert np.array_equal(after["w1"], WEIGHTS["w1"])


def test_training_that_does_not_help_is_not_taken() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    wild = compiled(proto, "ternary{group=16}", recover=Recover(steps=2, rate=1e3))
    others, _, _ = Calibration(FEEDS).apart(load_proto(proto), share=STEPS.held_out, seed=0)
    plain = compile_model(proto, "ternary{group=16}", calibration=others)
    assert wild.calibration is not None and "6 feeds given without 29 held-out samples" in wild.calibration
    assert wild.recovered is not None and not wild.recovered.worth
    assert "no better" in wild.recovered.words
    assert error(proto, wild) == error(proto, plain)
