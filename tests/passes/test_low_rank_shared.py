"""One basis for several weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.records import SiteRecord
from regc.passes import RF8, LowRank
from regc.passes.low_rank.fit import damped, explained, factors, first_factor, relative_loss, spectrum, truncate
from support import Array, model, normal, op_types, run

Float32 = npt.NDArray[np.float32]

ATTENTION = """g (float[b,8,96] x) => (float[b,8,96] y) {
    q = MatMul(x, query)
    k = MatMul(x, key)
    v = MatMul(x, value)
    r = Tanh(q)
    s = Relu(k)
    t = Add(r, s)
    u = Add(t, v)
    y = MatMul(u, out)
}"""


def alike(rows: int, columns: int, count: int) -> list[Float32]:
    """Weights of full rank whose rows are mostly in one space of few dimensions."""
    decay = np.geomspace(1, 0.01, columns).astype(np.float32)
    turn = np.linalg.qr(normal(columns, columns, seed=99))[0]
    return [(normal(rows, columns, seed=seed) * decay @ turn).astype(np.float32) for seed in range(count)]


def attention(**changes: Array) -> onnx.ModelProto:
    query, key, value = (weight.T.copy() for weight in alike(96, 96, 3))
    return model(ATTENTION, **({"query": query, "key": key, "value": value, "out": normal(96, 96, seed=7)} | changes))


def inputs(count: int = 40) -> list[dict[str, Array]]:
    return [{"x": normal(4, 8, 96, seed=seed)} for seed in range(100, 100 + count)]


def records_of(records: list[SiteRecord]) -> Mapping[str, SiteRecord]:
    return {record.info.name: record for record in records}


def stored_bytes(proto: onnx.ModelProto) -> int:
    return sum(int(np.prod(tensor.dims)) * 4 for tensor in proto.graph.initializer if len(tensor.dims) == 2)


@pytest.mark.parametrize("calibrated", [False, True])
def test_what_reads_one_tensor_is_multiplied_by_one_basis(calibrated: bool) -> None:
    proto, x = attention(), normal(2, 8, 96, seed=5)
    options = LowRank(ratio=1.6, force=True, shared=True)
    result = compile_model(proto, [options], calibration=inputs() if calibrated else None)
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    found = records_of(result.records)
    rank = int(found["key"].decisions[0].allotted.partition(",")[0].removeprefix("rank="))
    assert rank % 4 == 0
    for name in ("query", "key", "value"):
        assert found[name].after == f"rank {rank}, one basis for 3 (float32 x float32)"
        assert found[name].decisions[0].allotted == f'rank={rank}, basis="query|key|value"'
    products = [node for node in small.graph.node if node.op_type == "MatMul" and node.input[0] == "x"]
    assert len(products) == 1
    assert op_types(small).count("MatMul") == 4 + sum(record.changed for record in [found["out"]]) + 1
    total = sum(record.nbytes_after for record in result.records)
    assert 0 <= total - stored_bytes(small) < 3 * len(result.records)
    assert total <= 4 * 96 * 96 * 4 / 1.6
    (expected,), (other,) = run(proto, {"x": x}), run(small, {"x": x})
    apart = compile_model(proto, [LowRank(ratio=1.6, force=True)], calibration=inputs())
    (worse,) = run(apart.model.to_proto(), {"x": x})
    assert np.linalg.norm(other - expected) < 0.8 * np.linalg.norm(worse - expected)


def test_coded_it_is_stored_and_computed_once() -> None:
    proto, x = attention(), normal(2, 8, 96, seed=5)
    result = compile_model(proto, [LowRank(ratio=1.6, force=True, shared=True), RF8()], calibration=inputs())
    small = result.model.to_proto()
    onnx.checker.check_model(small)
    assert records_of(result.records)["query"].after.endswith("one basis for 3 (rf8 x rf8)")
    reads = [node for node in small.graph.node if node.input[0] == "x"]
    assert [node.op_type for node in reads] == ["RF8MatMul"]
    codes = [t for t in small.graph.initializer if t.name.endswith("B.codes") or t.name.endswith("codes")]
    assert len({t.name for t in codes}) == len(codes)
    (expected,) = run(proto, {"x": x})
    for library in (False, True):
        (found,) = run(small, {"x": x}, library=library)
        assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(expected)


def test_spaces_that_have_nothing_in_common_are_not_shared() -> None:
    turn = np.linalg.qr(normal(96, 96, seed=3))[0].astype(np.float32)
    apart = [
        (normal(96, 32, seed=seed) * np.geomspace(1, 0.1, 32, dtype=np.float32) @ turn[32 * seed : 32 * seed + 32]).T
        for seed in range(3)
    ]
    noise = [np.float32(0.001) * normal(96, 96, seed=seed) for seed in range(3)]
    query, key, value = (np.ascontiguousarray(a + n) for a, n in zip(apart, noise, strict=True))
    result = compile_model(attention(query=query, key=key, value=value), [LowRank(ratio=3, force=True, shared=True)])
    assert not any("basis" in record.after for record in result.records)
    assert any(record.changed for record in result.records)


def test_exact_weights_keep_factors_of_their_own() -> None:
    thin = (normal(96, 5) @ normal(5, 96, seed=1)).astype(np.float32)
    result = compile_model(attention(key=thin), [LowRank(ratio=1.6, force=True, shared=True)], calibration=inputs())
    found = records_of(result.records)
    assert found["key"].after == "rank 5, exact (float32 x float32)"
    assert "basis" not in found["query"].after


@pytest.mark.parametrize("options", [{}, {"rank": "pela", "shared": True}, {"rank": 24, "shared": True}])
def test_only_where_it_is_asked_for(options: dict[str, object]) -> None:
    result = compile_model(attention(), [LowRank(force=True, **options)])  # type: ignore[arg-type]
    assert not any("basis" in record.after for record in result.records)


TABLES = """g (int64[b,6] i, int64[b,6] j) => (float[b,6,200] y) {
    e = Gather<axis=0>(words, i)
    f = Gather<axis=0>(places, j)
    s = Add(e, f)
    t = Tanh(s)
    y = MatMul(t, classes)
}"""


def test_tables_of_one_width_store_one_basis() -> None:
    words, places, classes = alike(200, 128, 3)
    proto = model(TABLES, words=words, places=places, classes=classes.T.copy())
    random = np.random.default_rng(0)
    feeds = [{"i": random.integers(0, 200, (4, 6)), "j": random.integers(0, 200, (4, 6))} for _ in range(30)]
    result = compile_model(proto, [LowRank(ratio=2, stored=True, force=True, shared=True)], calibration=feeds)
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    assert all("one basis for 3" in record.after for record in result.records)
    rank = int(result.records[0].after.split()[1].removesuffix(","))
    shapes = sorted(tuple(tensor.dims) for tensor in small.graph.initializer if len(tensor.dims) == 2)
    assert shapes.count((rank, 128)) == 1  # for both lookups
    assert shapes.count((200, rank)) == 2
    (expected,), (found,) = run(proto, feeds[0]), run(small, feeds[0])
    assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(expected)


def test_a_tied_table_is_one_of_them() -> None:
    text = TABLES.replace("MatMul(t, classes)", "MatMul(t, back)").replace(
        "{", "{ back = Transpose<perm=[1,0]>(words)", 1
    )
    words, places = alike(200, 128, 2)
    proto, random = model(text, words=words, places=places), np.random.default_rng(0)
    feeds = {"i": random.integers(0, 200, (4, 6)), "j": random.integers(0, 200, (4, 6))}
    result = compile_model(proto, [LowRank(ratio=2, stored=True, force=True, shared=True), RF8()])
    small = result.model.to_proto()
    onnx.checker.check_model(small)
    assert all("one basis for 2 (rf8 x rf8)" in record.after for record in result.records)
    (expected,) = run(proto, feeds)
    for library in (False, True):
        (found,) = run(small, feeds, library=library)
        assert np.linalg.norm(found - expected) < 0.3 * np.linalg.norm(expected)


# --- least squares ------------------------------------------------------------------------------------------


def test_the_first_factor_is_that_of_least_error() -> None:
    weight, rows = normal(40, 60), normal(500, 60, seed=1) * np.geomspace(1, 0.1, 60)
    gram = (rows.T @ rows / 500).astype(np.float32)
    first, second = truncate(weight, rank=9, gram=gram)
    np.testing.assert_allclose(first_factor(weight, second, gram) @ second, first @ second, atol=1e-5)
    np.testing.assert_allclose(
        first_factor(weight, second), weight @ np.linalg.pinv(second), atol=1e-4 * np.abs(first).max()
    )
    assert not first_factor(weight, np.zeros((3, 60), np.float32)).any()


def test_losses_of_all_ranks_at_once() -> None:
    weight, rows = normal(40, 60), normal(500, 60, seed=1) * np.geomspace(1, 0.1, 60)
    metric = damped((rows.T @ rows / 500).astype(np.float32))
    second = factors(weight, spectrum(weight), 20)[1].astype(np.float64)
    energy = np.einsum("nk,nk->n", weight @ metric, weight)
    found = relative_loss(energy, explained(second @ metric @ second.T, second @ metric @ weight.T))
    for rank in (0, 1, 7, 20):
        first = weight @ metric @ second[:rank].T @ np.linalg.pinv(second[:rank] @ metric @ second[:rank].T)
        missed = weight - first @ second[:rank]
        lost = np.einsum("nk,nk->n", missed @ metric, missed)
        assert found[rank] == pytest.approx((lost / (energy + 0.01 * energy.mean())).sum(), rel=1e-5)


def test_recovery_trains_one_basis() -> None:
    torch = pytest.importorskip("torch")
    from regc.compiler.recovery.student import trainable
    from regc.compiler.terms import Dense, Product, Term

    second = Dense(normal(8, 32))
    terms = [Product(Dense(normal(16, 8, seed=seed)), second, shares=2) for seed in range(2)]
    known: dict[Term, object] = {}
    made = torch.nn.ModuleList(trainable(term, {}, known) for term in terms)  # type: ignore[arg-type]
    assert len(list(made.parameters())) == 3
    again = [module.term() for module in made]
    assert [term.label for term in again] == ["rank 8, one basis for 2 (float32 x float32)"] * 2
    assert sum(term.nbytes for term in again) == (2 * 16 * 8 + 8 * 32) * 4
