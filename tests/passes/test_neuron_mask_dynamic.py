from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.calibration.filtering import put_filter
from regc.compiler.errors import UsageError
from regc.compiler.passes import Refusal, SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Product
from regc.passes import RF8, LowRank, NeuronMask, Ternary
from regc.passes.neuron_mask.term import Gated
from regc.passes.neuron_mask.thresholds import Gate
from support import model, normal, op_types, run

Float32 = npt.NDArray[np.float32]
MakeSite = Callable[..., SiteInfo]

TWO_LAYERS = """g (float[n,192] x) => (float[n,192] y) {
    h = MatMul(x, first)
    b = Add(h, bias)
    r = Relu(b)
    y = Gemm<transB = 1>(r, second, other)
}"""


def two_layers(**changes: npt.NDArray[Any]) -> onnx.ModelProto:
    weights = {"first": normal(192, 320), "bias": normal(1, 320)[0], "second": normal(192, 320, seed=1)}
    return model(TWO_LAYERS, **(weights | {"other": normal(1, 192)[0]} | changes))


def one_row_feeds(count: int = 300, inputs: int = 192) -> list[dict[str, Float32]]:
    rows = np.random.default_rng(0).standard_t(4, (count, inputs)).astype(np.float32) + np.float32(0.5)
    return [{"x": row[None]} for row in rows]


def statistics(inputs: int, count: int = 500) -> Statistics:
    return Statistics.of(normal(count, inputs, seed=3) + np.float32(0.1), sample=True)


def fitted(pass_: NeuronMask, weight: Float32, site: MakeSite) -> Gated:
    term = pass_.fit(Dense(weight), site(weight.shape), statistics(weight.shape[1]))
    assert isinstance(term, Gated)
    return term


# --- the term -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", ["threshold", "topk"])
@pytest.mark.parametrize("coded", [False, True])
def test_the_operator_computes_what_the_term_multiplies(
    coded: bool, select: Literal["threshold", "topk"], site: MakeSite, matmul: Callable[..., Any]
) -> None:
    weight = normal(70, 101)
    term = fitted(NeuronMask(centre=False, compensate=False, select=select), weight, site)
    np.testing.assert_array_equal(term.dense(), weight)
    if coded:
        changed = term.map_leaves(lambda leaf, path: RF8().fit(leaf, site(weight.shape)))  # type: ignore[arg-type]
        assert isinstance(changed, Gated)
        term = changed
    assert term.operand is not None
    topk = select == "topk"
    assert term.operand.matmuls == (f"Gated{'TopK' * topk}{'RF8' * coded}MatMul",)
    assert term.label == f"50% skipped{' by top-k' * topk} ({'rf8' if coded else 'float32'})"
    assert term.nbytes == sum(v.nbytes for v in term.operand.operands().values())
    assert term.work == pytest.approx(0.5 * weight.size, rel=0.01)
    x = normal(4, 101, seed=5)
    scores = np.abs(x) * np.linalg.norm(weight, axis=0)
    used = scores >= (np.sort(scores, axis=1)[:, [50]] if topk else term.gate.threshold)
    np.testing.assert_allclose(term.multiply(x), (x * used) @ term.dense().T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(matmul(term.operand, x), term.multiply(x), rtol=1e-4, atol=1e-5)


def test_a_gate_has_no_matrix_to_decode(site: MakeSite) -> None:
    operand = fitted(NeuronMask(), normal(40, 50), site).operand
    assert operand is not None
    with pytest.raises(TypeError, match="never decoded"):
        _ = operand.decoder


def test_the_output_error_is_that_of_the_rows_and_nothing_is_lost_of_the_weight(site: MakeSite) -> None:
    weight = normal(48, 64)
    term, inputs = fitted(NeuronMask(compensate=False), weight, site), statistics(64)
    assert inputs.sample is not None
    wanted = inputs.sample @ weight.T
    expected = np.linalg.norm(term.multiply(inputs.sample) - wanted) / np.linalg.norm(wanted)
    assert inputs.output_error(term, weight) == pytest.approx(expected, rel=1e-5)
    assert 0.05 < expected < 0.5
    assert Statistics.of(inputs.sample).output_error(term, weight) is None


def test_factors_are_gated_one_by_one(site: MakeSite) -> None:
    weight = normal(60, 80)
    product = LowRank(rank=20).fit(Dense(weight), site(weight.shape))
    assert isinstance(product, Product)
    second = fitted(NeuronMask(sparsity=0.3), product.second.dense(), site)
    term = Product(product.first, second)
    x = normal(5, 80)
    assert not term.linear
    np.testing.assert_allclose(term.multiply(x), second.multiply(x) @ product.first.dense().T, rtol=1e-4, atol=1e-5)


# --- the pass -----------------------------------------------------------------------------------------------


def test_refusals(site: MakeSite) -> None:
    weight = normal(64, 80)
    odd = {"op_types": ("MatMul",), "users": ("node",), "shape": (64, 80), "dtype": np.dtype(np.float32)}
    many = Statistics.of(normal(800, 80), sample=True)
    answers = {
        "nothing would be skipped": NeuronMask().preview(
            (64, 80), SiteInfo("w", **odd, multiplied=False, splittable=True)
        ),
        "not only products": NeuronMask().preview(
            (64, 80), SiteInfo("w", **odd, multiplied=True, splittable=True, gathered=True)
        ),
        "float16": NeuronMask().preview((64, 80), site((64, 80), np.float16)),
        "a product has 32; force=true": NeuronMask().preview(
            (64, 80), SiteInfo("w", **odd, multiplied=True, splittable=True, rows=32)
        ),
        "uses 90%": NeuronMask(sparsity=0.1, allocate="uniform").preview((64, 80), site((64, 80))),
        "needs calibration inputs": NeuronMask().fit(Dense(weight), site((64, 80))),
        "a product has 16": NeuronMask().fit(Dense(weight), site((64, 80)), Statistics(**{**vars(many), "runs": 50})),
    }
    for words, answer in answers.items():
        assert isinstance(answer, Refusal)
        assert words in answer.reason
    forced = NeuronMask(force=True).fit(Dense(weight), site((64, 80)), Statistics(**{**vars(many), "runs": 50}))
    assert isinstance(forced, Gated)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 0.0}, "above 0 and below 1"),
        ({"sparsity": 1.0}, "above 0 and below 1"),
        ({"score": "magic"}, "score must be"),
        ({"select": "some"}, "select must be"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        NeuronMask(**options)


# --- in a model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["}", ",sparsity=0.65},rf8", ",select=topk,sparsity=0.65},rf8"])
def test_a_model_runs_with_and_without_the_library(options: str) -> None:
    proto, feeds = two_layers(), one_row_feeds()
    pipeline = f"neuron-mask{{mode=dynamic,allocate=uniform{options}"
    result = compile_model(proto, pipeline, calibration=feeds)
    compiled = result.model.to_proto()
    onnx.checker.check_model(compiled)
    codes = "RF8" * pipeline.endswith("rf8")
    operator = f"ai.regc::Gated{'TopK' * ('topk' in pipeline)}{codes}MatMul"
    assert {f"{operator}Relu", operator} <= set(op_types(compiled))
    gains = {"error": 0.0, "all": 0.0}
    for feed in feeds[:20]:
        (wanted,), (ours,), (body,) = run(proto, feed), run(compiled, feed, library=True), run(compiled, feed)
        np.testing.assert_allclose(ours, body, rtol=1e-3, atol=1e-3)
        gains["error"] += float(np.square(ours - wanted).sum())
        gains["all"] += float(np.square(wanted).sum())
    assert 0.01 < (gains["error"] / gains["all"]) ** 0.5 < 0.4
    for record in result.records:
        assert record.output_error is not None
        assert 0 < record.output_error < 0.4
        assert f"{65 if codes else 50}% skipped{' by top-k' * ('topk' in pipeline)}" in record.after


def test_nothing_changes_where_almost_nothing_is_skipped() -> None:
    proto, feeds = two_layers(), one_row_feeds()
    compiled = compile_model(proto, "neuron-mask{sparsity=0.000001,force=true}", calibration=feeds).model.to_proto()
    assert "ai.regc::GatedMatMul" in op_types(compiled)
    for feed in feeds[:5]:
        np.testing.assert_allclose(run(compiled, feed, library=True)[0], run(proto, feed)[0], rtol=1e-4, atol=1e-4)


def test_target_stock_has_top_k_in_standard_operators() -> None:
    proto, feeds = two_layers(), one_row_feeds()
    result = compile_model(
        proto, "neuron-mask{select=topk,sparsity=0.25,allocate=uniform}", calibration=feeds, target="stock"
    )
    compiled = result.model.to_proto()
    onnx.checker.check_model(compiled)
    assert not [name for name in op_types(compiled) if "::" in name]
    assert "by top-k" in result.records[0].after
    x = one_row_feeds(1)[0]
    error = np.linalg.norm(run(compiled, x)[0] - run(proto, x)[0]) / np.linalg.norm(run(proto, x)[0])
    assert 0 < error < 0.3


def test_of_equal_activations_the_first_are_used(matmul: Callable[..., Any]) -> None:
    """By the term, its operator and standard operators."""
    term = Gated(Dense(normal(40, 24)), None, Gate(np.ones(24, np.float32), 0.0, 7))
    assert term.operand is not None
    x = np.random.default_rng(1).integers(-2, 3, (30, 24)).astype(np.float32)
    assert (term.gate.used(x).sum(1) == 7).all()
    assert (np.flatnonzero(term.gate.used(np.full((1, 24), np.nan, np.float32))) == np.arange(7)).all()
    proto = model("g (float[n,24] x) => (float[n,40] product) { product = MatMul(x, w) }", w=term.dense().T.copy())
    put_filter(proto.graph, "product", term)
    for product in (run(proto, {"x": x})[0], matmul(term.operand, x)):
        np.testing.assert_allclose(product, term.multiply(x), rtol=1e-5, atol=1e-5)


def test_ternary_codes_are_gated_by_standard_operators() -> None:
    proto, feeds = two_layers(), one_row_feeds()
    compiled = compile_model(proto, "neuron-mask{force=true},ternary", calibration=feeds).model.to_proto()
    onnx.checker.check_model(compiled)
    assert {"Less", "ai.regc::TernaryMatMul"} <= set(op_types(compiled))
    feed = feeds[0]
    np.testing.assert_allclose(run(compiled, feed, library=True)[0], run(compiled, feed)[0], rtol=1e-3, atol=1e-3)


def test_target_stock_refuses_thresholds_in_words() -> None:
    result = compile_model(two_layers(), "neuron-mask", calibration=one_row_feeds(), target="stock")
    assert not result.changed
    assert "no operator of ONNX Runtime skips inputs" in result.records[0].reason


def test_rows_of_the_calibration_inputs_decide(site: MakeSite) -> None:
    many = [{"x": np.concatenate([feed["x"] for feed in one_row_feeds()])}]
    result = compile_model(two_layers(), "neuron-mask", calibration=many)
    assert not result.changed
    assert "up to 4 rows, a product has 300" in result.records[0].reason


def test_tied_embeddings_stay() -> None:
    proto = model(
        """g (int64[n] ids) => (float[n,300] y) { e = Gather(table, ids) t = Transpose<perm = [1, 0]>(table)
        y = MatMul(e, t) }""",
        table=normal(300, 64),
    )
    result = compile_model(proto, "neuron-mask{force=true}", calibration=[{"ids": np.arange(300)}])
    assert not result.changed
    assert "not only products read it" in result.records[0].reason


def test_ternary_after_it_is_told_from_ternary_before_it() -> None:
    with pytest.raises(UsageError, match="needs float weights"):
        compile_model(two_layers(), [Ternary(), NeuronMask()])
