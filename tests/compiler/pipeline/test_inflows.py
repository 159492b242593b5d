"""What passes learn of what flows into weights."""

import numpy as np
import pytest
from third_party import Blind, Recorder

from regc.compiler import (
    Calibration,
    PassManager,
    Statistics,
    compile_model,
)
from regc.compiler.model import from_proto
from regc.passes import RF8
from support import model, normal, two_layers


def test_passes_get_what_flows_into_the_leaf() -> None:
    Recorder.seen.clear()
    x = normal(300, 256)
    manager = PassManager([Recorder(include=("first",)), Recorder(include=("first",))])
    records = manager.run(from_proto(two_layers()), {"first": Statistics.of(x)})
    whole, first, second = Recorder.seen
    assert whole is second
    assert whole is not None
    assert first is not None
    np.testing.assert_allclose(first.mean, whole.mean[:64], rtol=1e-6)
    applied = [decision for decision in records[0].decisions if decision.after is not None]
    assert all(decision.output_error is not None for decision in applied)
    assert records[0].output_error == pytest.approx(np.sqrt(15 / 16), abs=0.02)
    assert records[1].output_error is None


def test_what_passes_need_is_gathered_and_told() -> None:
    Recorder.seen.clear()
    x = normal(300, 256)
    result = compile_model(
        two_layers(),
        [Recorder(include=("second",)), RF8(include=("first",), rounding="nearest")],
        calibration=Calibration([{"x": x}], sequential=False),
    )
    (inputs,) = Recorder.seen
    assert inputs is not None
    hidden = np.maximum(x @ normal(256, 512), 0)
    np.testing.assert_allclose(inputs.mean, hidden.mean(axis=0), rtol=1e-3, atol=1e-5)
    first, second = result.records
    assert first.output_error is None
    assert second.output_error is not None
    assert first.unseen == second.unseen == ""
    assert result.calibration is not None
    assert result.calibration.startswith("1 feed given: 1 tensor, up to 300 rows each")
    assert "calibration" in str(result.report)


def test_weights_that_calibration_does_not_reach_are_told() -> None:
    proto = model("g (float[2,b,256] x) => (float[2,b,256] y) { y = MatMul(x, several) }", several=normal(2, 256, 256))
    result = compile_model(proto, [Blind()], calibration=[{"x": normal(2, 3, 256)}])
    assert "several matrices" in result.records[0].unseen
    assert "1 weight: node" in " ".join(str(result.report).split())
    assert "several matrices" in result.report.to_html()


def test_passes_that_ask_for_nothing_go_along_with_sequential_calibration() -> None:
    Recorder.seen.clear()
    x = normal(300, 256)
    passes = [RF8(include=("first",), rounding="nearest"), Recorder(include=("second",))]
    result = compile_model(two_layers(), passes, calibration=Calibration([{"x": x}], sequential=True))
    assert all(record.changed for record in result.records)
    (inputs,) = Recorder.seen
    assert inputs is not None
    assert inputs.cross is not None
