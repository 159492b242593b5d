"""What weights lose of the mean output, in the bias behind them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from regc.compiler import Recover, compile_model
from regc.compiler.calibration.gather import Gathering, Options
from regc.compiler.feeds.sources import open_feeds
from regc.compiler.model import from_proto
from regc.compiler.pipeline import bias
from regc.compiler.sites import find_sites
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Product
from support import model, normal, op_types, run

Float32 = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def _however_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias, "LEAST", 0.0)


MATMUL = "{ p = MatMul(x, w) y = Add(p, b) }"
TURNED = "{ p = MatMul(x, w) y = Add(b, p) }"
GEMM = "{ y = Gemm(x, w, b) }"
HALF_GEMM = "{ y = Gemm<beta=0.5>(x, w, b) }"
NO_BETA = "{ y = Gemm<beta=0.0>(x, w, b) }"
BARE_GEMM = "{ y = Gemm(x, w) }"
BARE = "{ y = MatMul(x, w) }"
SCALED = "{ y = Gemm<alpha=0.5>(x, w, b) }"
TENSOR = "{ p = MatMul(x, w) q = Relu(p) y = Add(p, q) }"
TWICE = "{ p = MatMul(x, w) q = Add(p, b) r = Relu(p) y = Add(q, r) }"
CONV = "{ y = Conv<pads=[1,1,1,1]>(x, w, b) }"
BARE_CONV = "{ y = Conv<strides=[2,1]>(x, w) }"


def built(nodes: str) -> tuple[onnx.ModelProto, list[dict[str, Float32]]]:
    """A model of 96 outputs and 64 inputs, or channels, and calibration inputs whose mean is far from zero."""
    image = "Conv" in nodes
    x = "float[n,64,6,7] x" if image else "float[n,64] x"
    y = "float[n,96,h,v] y" if image else "float[n,96] y"
    w = normal(96, 64, 3, 3) if image else normal(64, 96)
    weights = {"w": w} | ({"b": normal(96, seed=1)} if "b)" in nodes or "(b" in nodes else {})
    shape = (8, 64, 6, 7) if image else (200, 64)
    mixed = normal(*shape, seed=2) * np.float32(8) + np.abs(normal(64, *shape[2:], seed=3)) * np.float32(60)
    return model(f"g ({x}) => ({y}) {nodes}", **weights), [{"x": mixed.astype(np.float32)}]


def means(proto: onnx.ModelProto, feeds: list[dict[str, Float32]]) -> Float32:
    """The mean of every output."""
    (y,) = run(proto, feeds[0])
    found: Float32 = y.mean(axis=(0, *range(2, y.ndim)))
    return found


@pytest.mark.parametrize("nodes", [MATMUL, TURNED, GEMM, HALF_GEMM, NO_BETA, BARE_GEMM, CONV, BARE_CONV])
def test_the_bias_makes_up_for_the_mean(nodes: str) -> None:
    proto, feeds = built(nodes)
    result = compile_model(proto, "low-rank{rank=12,split=channels}", calibration=feeds)
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    (record,) = result.records
    assert op_types(small).count("Add") == ("Conv" not in nodes)
    expected = means(proto, feeds)
    np.testing.assert_allclose(means(small, feeds), expected, atol=1e-4 * np.abs(expected).max())
    (y,), (z,) = run(proto, feeds[0]), run(small, feeds[0])
    assert record.output_error == pytest.approx(_error(proto, feeds, y, z), rel=1e-2)


def _error(proto: onnx.ModelProto, feeds: list[dict[str, Float32]], y: Float32, z: Float32) -> float:
    """``||z - y|| / ||W x||``: the products without the bias."""
    biased = next((t for t in proto.graph.initializer if t.name == "b"), None)
    bias = 0 if biased is None else onnx.numpy_helper.to_array(biased)
    beta = next((a.f for node in proto.graph.node for a in node.attribute if a.name == "beta"), 1.0)
    bias = bias * np.float32(beta)
    bias = np.reshape(bias, (-1, *(1 for _ in y.shape[2:]))) if y.ndim > 2 and biased is not None else bias
    return float(np.linalg.norm(z - y) / np.linalg.norm(y - bias))


def test_it_lowers_the_error() -> None:
    x, weight = normal(50, 24, seed=1) + np.float32(0.5), normal(16, 24)
    term, seen = Product(Dense(normal(16, 3, seed=3)), Dense(normal(3, 24, seed=4))), Statistics.of(x)
    offset = seen.lost_mean(term.dense(), weight)
    errors = seen.output_error(term, weight), seen.output_error(term, weight, offset)
    assert errors[0] is not None and errors[1] is not None and errors[1] < 0.8 * errors[0]
    np.testing.assert_allclose((term.multiply(x) + offset).mean(0), (x @ weight.T).mean(0), atol=1e-5)


_CASES = [
    *product([MATMUL, GEMM, CONV], ["rf8", "ternary{act=float32}"]),
    (MATMUL, "group-sparse"),
    (GEMM, "group-sparse,rf8"),
]


@pytest.mark.parametrize(("nodes", "passes"), _CASES)
def test_whatever_the_pass(nodes: str, passes: str) -> None:
    proto, feeds = built(nodes)
    result = compile_model(proto, passes, calibration=feeds)
    (record,) = result.records
    assert record.error is not None and record.error > 1e-3
    expected = means(proto, feeds)
    np.testing.assert_allclose(means(result.model.to_proto(), feeds), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(), (1,), (1, 96)])
def test_biases_of_any_shape(shape: tuple[int, ...]) -> None:
    bias = np.full(shape, 3, np.float32)
    proto = model(f"g (float[n,64] x) => (float[n,96] y) {MATMUL}", w=normal(64, 96), b=bias)
    feeds = [{"x": normal(200, 64, seed=2) + np.float32(2)}]
    expected = means(proto, feeds)
    small = compile_model(proto, "rf8", calibration=feeds).model.to_proto()
    np.testing.assert_allclose(means(small, feeds), expected, atol=1e-4 * np.abs(expected).max())


def test_a_bias_that_others_read_stays_theirs() -> None:
    nodes = "{ p = MatMul(x, w) y = Add(p, b) q = MatMul(x, v) z = Add(q, b) u = Add(x, b) }"
    proto = model(
        f"g (float[n,64] x) => (float[n,64] y, float[n,64] z, float[n,64] u) {nodes}",
        w=normal(64, 64), v=normal(64, 64, seed=1), b=normal(64, seed=2),
    )  # fmt: skip
    feeds = [{"x": normal(200, 64, seed=3) + np.float32(2)}]
    small = compile_model(proto, "rf8", calibration=feeds).model.to_proto()
    expected, found = run(proto, feeds[0]), run(small, feeds[0])
    for wanted, got in zip(expected, found, strict=True):
        np.testing.assert_allclose(got.mean(0), wanted.mean(0), atol=1e-3)
    np.testing.assert_array_equal(found[2], expected[2])


@pytest.mark.parametrize("nodes", [BARE, SCALED, TENSOR, TWICE])
def test_no_node_is_added_for_it(nodes: str) -> None:
    proto, feeds = built(nodes)
    result = compile_model(proto, "low-rank{rank=12}", calibration=feeds)
    assert result.records[0].after == "rank 12 (float32 x float32)"
    assert op_types(result.model.to_proto()).count("Add") <= op_types(proto).count("Add") + ("Gemm" in nodes)


@pytest.mark.parametrize("drift", [0, 1])
def test_what_is_hardly_anything_is_left(monkeypatch: pytest.MonkeyPatch, drift: float) -> None:
    monkeypatch.undo()
    (site,) = find_sites(from_proto(built(MATMUL)[0]))
    weight, seen = site.load(), Statistics.of(normal(200, 64, seed=2) + np.float32(2))
    noise = normal(96, 64, seed=3) * np.float32(0.1)
    noise -= np.outer(noise @ seen.mean, seen.mean / (seen.mean @ seen.mean)).astype(np.float32)  # the mean is kept
    term, seen = Dense(weight.values + noise), replace(seen, mean_before=seen.mean + drift)
    offset = bias.lost_bias(term, weight, site.info, seen, 0.1)
    assert (offset is not None) == (drift > 0)


def test_without_calibration_and_without_loss_there_is_none() -> None:
    proto, feeds = built(MATMUL)
    assert compile_model(proto, "low-rank{rank=12}").records[0].after == "rank 12 (float32 x float32)"
    exact = model(f"g (float[n,64] x) => (float[n,96] y) {MATMUL}", w=normal(64, 8) @ normal(8, 96), b=normal(96))
    found = compile_model(exact, "low-rank", calibration=feeds).records[0].after
    assert found == "rank 8, exact (float32 x float32)"


@pytest.mark.parametrize("after", ["rf8", "ternary{act=float32}"])
@pytest.mark.parametrize("nodes", [MATMUL, GEMM, CONV])
def test_it_makes_up_for_what_later_passes_lose(nodes: str, after: str) -> None:
    proto, feeds = built(nodes)
    result = compile_model(proto, f"low-rank{{rank=12,split=channels}},{after}", calibration=feeds)
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    expected = means(proto, feeds)
    np.testing.assert_allclose(means(small, feeds), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("after", ["", ",rf8"])
def test_it_makes_up_for_what_earlier_layers_lose(after: str) -> None:
    text = """g (float[n,64] x) => (float[n,64] y) {
        p = MatMul(x, w) q = Add(p, b) r = Relu(q) s = MatMul(r, v) y = Add(s, c) }"""
    weights = {"w": normal(64, 96), "b": normal(96, seed=1), "v": normal(96, 64, seed=2), "c": normal(64, seed=3)}
    proto, feeds = model(text, **weights), [{"x": normal(300, 64, seed=4) * np.float32(8)}]
    result = compile_model(proto, f"low-rank{{rank=12}}{after}", calibration=feeds)
    expected, found = means(proto, feeds), means(result.model.to_proto(), feeds)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("nodes", [MATMUL, GEMM, CONV])
def test_weights_behind_see_it(nodes: str) -> None:
    proto, feeds = built(nodes)
    expected, image = means(proto, feeds) + 3, "Conv" in nodes
    proto.graph.output[0].name = "z"
    behind = "Conv" if image else "MatMul"
    proto.graph.node.append(onnx.helper.make_node(behind, ["y", "v"], ["z"]))
    second = normal(16, 96, 1, 1, seed=5) if image else normal(96, 16, seed=5)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(second, "v"))
    opened = from_proto(proto)
    sites = {site.info.name: site for site in find_sites(opened)}
    wanted: Any = [(site, frozenset({"gram"})) for site in sites.values()]
    gathering = Gathering(opened, wanted, open_feeds(feeds, None, 0), Options(sequential=True))  # type: ignore[arg-type]
    assert isinstance(gathering.of(sites["w"]), Statistics)
    gathering.put(sites["w"], sites["w"].load(), np.full(96, 3, np.float32))
    after = gathering.of(sites["v"])
    assert isinstance(after, Statistics)
    np.testing.assert_allclose(after.mean, expected, rtol=1e-3, atol=1e-3)


def test_its_error_is_that_of_the_outputs() -> None:
    x, weight = normal(50, 24, seed=1) + np.float32(0.5), normal(16, 24)
    offset = normal(16, seed=2)
    term = Product(Dense(normal(16, 3, seed=3)), Dense(normal(3, 24, seed=4)))
    error, wanted = Statistics.of(x).output_error(term, weight, offset), x @ weight.T
    assert error == pytest.approx(np.linalg.norm(term.multiply(x) + offset - wanted) / np.linalg.norm(wanted), 1e-4)


def test_recovery_trains_biases_without_it() -> None:
    pytest.importorskip("torch")
    proto, feeds = built(CONV)
    recover = Recover(steps=30, batch=8, rate=0.01)
    result = compile_model(proto, "low-rank{rank=6,split=channels}", calibration=feeds, recover=recover)
    assert result.records[0].recovery == "trained"
    assert result.recovered is not None and result.recovered.after < 1.05 * result.recovered.before
