"""Units that are removed for good: which, what makes up for them, and what the report tells."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.passes.neuron_mask.removal import Read, eliminate, refit
from regc.passes.neuron_mask.rewrite import NeuronMask
from tests.support import Array, model, normal, run

TEXT = """g (float[n, 16] x) => (float[n, 8] y) {
    a = MatMul (x, up_w)
    b = Add (a, up_b)
    r = Relu (b)
    y = MatMul (r, down_w)
}"""


def layers(units: int = 32) -> dict[str, Array]:
    return {
        "up_w": normal(16, units),
        "up_b": 0.1 * normal(units, seed=1),
        "down_w": normal(units, 8, seed=2),
    }


def feeds(count: int = 40) -> list[dict[str, Array]]:
    return [{"x": 4 * normal(8, 16, seed=seed)} for seed in range(count)]


def error(before: onnx.ModelProto, after: onnx.ModelProto) -> float:
    x = feeds()[0]
    was, now = run(before, x)[0], run(after, x)[0]
    return float(np.linalg.norm(now - was) / np.linalg.norm(was))


def test_the_graph_is_smaller_and_standard_and_the_report_says_so() -> None:
    proto = model(TEXT, **layers())
    result = compile_model(proto, "neuron-mask{keep=0.75}", calibration=feeds())
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert {node.domain for node in smaller.graph.node} == {""}
    assert [(r.name, r.units, r.kept) for r in result.report.removed] == [("up_w", 32, 24)]
    assert result.changed
    seen = result.report.removed[0].output_error
    assert seen is not None
    assert 0 < seen < 0.3
    assert error(proto, smaller) < 0.35
    data = json.loads(result.report.to_json())["units"]
    assert [(unit["kept"], unit["reason"]) for unit in data] == [
        (24, None),
        (8, "they are in 'y', an output of the graph"),
    ]
    for words in (str(result.report), result.report.to_html()):
        assert "24 of 32" in words
        assert "an output of the graph" in words


def test_compensation_lowers_the_error_and_elimination_is_best() -> None:
    proto = model(TEXT, **layers())

    def lost(options: str) -> float:
        return error(
            proto, compile_model(proto, f"neuron-mask{{keep=0.5,{options}}}", calibration=feeds()).model.to_proto()
        )

    assert lost("score=eliminate") < lost("score=wina") < lost("score=wina,compensate=false")


def test_exact_removes_what_is_dead_constant_or_there_twice() -> None:
    weights = layers()
    weights["up_b"][3] = -1e3  # dead
    weights["up_w"][:, 5], weights["up_b"][5] = 0, 2  # always 2
    weights["down_w"][7] = 0  # not read
    weights["up_w"][:, 9], weights["up_b"][9] = weights["up_w"][:, 8], weights["up_b"][8]
    proto = model(TEXT, **weights)
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=feeds())
    assert [(r.units, r.kept) for r in result.report.removed] == [(32, 28)]
    x = feeds()[0]
    np.testing.assert_allclose(run(result.model.to_proto(), x)[0], run(proto, x)[0], rtol=1e-5, atol=1e-5)
    assert [r.kept for r in compile_model(proto, "neuron-mask{keep=1}").report.removed] == [29]


def test_nothing_to_remove_changes_nothing() -> None:
    result = compile_model(model(TEXT, **layers()), "neuron-mask{keep=1}", calibration=feeds())
    assert not result.changed
    assert "every unit differs from all others, varies and is read" in str(result.report)


def test_filters_are_removed_and_biases_made() -> None:
    proto = model(
        """g (float[n, 2, 6, 6] x) => (float[n, 3, 2, 2] y) {
            a = Conv (x, c1_w)
            r = Relu (a)
            y = Conv (r, c2_w)
        }""",
        c1_w=normal(8, 2, 3, 3),
        c2_w=normal(3, 8, 3, 3),
    )
    given = [{"x": normal(4, 2, 6, 6, seed=seed)} for seed in range(20)]
    result = compile_model(proto, "neuron-mask{keep=0.75}", calibration=given)
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert [(r.kind, r.kept) for r in result.report.removed] == [("filters", 6)]
    was, now = run(proto, given[0])[0], run(smaller, given[0])[0]
    assert np.linalg.norm(now - was) / np.linalg.norm(was) < 0.5


def test_coding_passes_take_the_smaller_weights() -> None:
    weights = {"up_w": normal(64, 512), "up_b": normal(512), "down_w": normal(512, 1024)}
    text = TEXT.replace("16]", "64]").replace("8]", "1024]")
    given = [{"x": normal(8, 64, seed=seed)} for seed in range(4)]
    result = compile_model(model(text, **weights), "neuron-mask{keep=0.5},rf8", calibration=given)
    assert [record.info.shape for record in result.records] == [(256, 64), (1024, 256)]
    assert all(record.changed for record in result.records)


def test_elimination_equals_the_refit_that_it_foresees() -> None:
    rows = normal(200, 12).astype(np.float64) + 1
    read = Read(normal(5, 12), (rows.T @ rows / 200).astype(np.float32))
    keep = eliminate([read], 6, 4)
    lost = rows @ (refit(read, 6, keep) - read.weight).T

    def left(units: list[int]) -> float:
        return float(np.square(rows @ (refit(read, 6, np.array(units)) - read.weight).T).sum())

    assert left([int(unit) for unit in keep]) == pytest.approx(float(np.square(lost).sum()))
    assert np.square(lost).sum() <= 1.3 * min(left([a, b, c, 5]) for a in range(3) for b in (3,) for c in (4,))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.0}, "keep must be above 0"),
        ({"mode": "static"}, "keep must be above 0"),
        ({"mode": "dynamic", "keep": 0.5}, "goes with mode=static alone"),
        ({"score": "eliminate"}, "score=eliminate is for mode=static"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        NeuronMask(**options)  # type: ignore[arg-type]


def test_it_comes_before_passes_that_rewrite_weights() -> None:
    with pytest.raises(UsageError, match="neuron-mask cannot follow rf8: it removes units from the graph"):
        compile_model(model(TEXT, **layers()), "rf8,neuron-mask{keep=0.5}")
