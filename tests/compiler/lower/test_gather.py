"""Rows looked up in a term."""

import numpy as np
import pytest

from regc.compiler import compile_model
from regc.compiler.model import from_proto
from regc.compiler.sites import find_sites
from regc.compiler.terms import Dense
from regc.passes import RF8, LowRank, Ternary
from regc.passes.ternary.term import TernaryTerm
from regc.runtime_ops.typed import SINCE_OPSET
from support import Array, model, normal, op_types, run

from .same import compile_proto, exact, same


@pytest.mark.parametrize("indices", [np.array([3, 0, -1]), np.array([[5], [89]], np.int32), np.array(7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_lookup_in_a_table(indices: Array, dtype: type) -> None:
    """Of an embedding that nothing else reads every row is in one piece, and only those asked for are decoded."""
    kind = f"{indices.dtype}[{','.join('ab'[: indices.ndim])}]" if indices.ndim else f"{indices.dtype}"
    result = f"{'float' if dtype is np.float32 else 'float16'}[{','.join([*'ab'[: indices.ndim], '40'])}]"
    proto = model(f"g ({kind} i) => ({result} y) {{ y = Gather(w, i) }}", w=exact(90, 40, dtype=dtype))
    compiled = compile_proto(proto)
    assert op_types(compiled) == ["ai.regc::RF8Gather", *(["Cast"] if dtype is np.float16 else [])]
    assert [list(tensor.dims) for tensor in compiled.graph.initializer] == [[90, 40], [90]]
    same(proto, compiled, {"i": indices})


@pytest.mark.parametrize("opset", [14, 17])
def test_rows_of_two_bytes_are_not_cast_where_the_target_gives_them(opset: int) -> None:
    text = "g (int64[n] i) => (float16[n,40] y) { y = Gather(w, i) }"
    proto = model(text, opset=opset, w=exact(90, 40, dtype=np.float16))
    result = compile_model(proto, [RF8()], target="cuda")
    looking = ["RF8Gather", "Cast"] if opset < SINCE_OPSET else ["RF8GatherFloat16"]
    assert op_types(result.model.to_proto()) == [f"ai.regc::{looking[0]}", *looking[1:]]
    assert result.records[0].emitted == f"ai.regc::{looking[0]}"
    same(proto, result.model.to_proto(), {"i": np.array([3, 0, -1])})


@pytest.mark.parametrize("group", [None, 32])
def test_lookup_in_a_ternary_table(group: int | None) -> None:
    proto = model("g (int64[n] i) => (float[n,80] y) { y = Gather(w, i) }", w=normal(200, 80))
    result = compile_model(proto, [Ternary(group=group)])
    assert result.records[0].emitted == "ai.regc::TernaryGather"
    term = Ternary(group=group).fit(Dense(normal(200, 80)), find_sites(from_proto(proto))[0].info)
    assert isinstance(term, TernaryTerm)
    i = np.array([0, 199, -200])
    for library in (True, False):
        np.testing.assert_array_equal(run(result.model.to_proto(), {"i": i}, library=library)[0], term.dense()[i])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rows_of_a_product_are_rows_of_its_first_factor_times_the_second(dtype: type) -> None:
    kind = "float16" if dtype is np.float16 else "float"
    table = (normal(300, 16) @ normal(16, 64, seed=1)).astype(dtype)
    proto = model(f"g (int64[a,b] i) => ({kind}[a,b,64] y) {{ y = Gather(w, i) }}", w=table)
    compiled = compile_proto(proto, LowRank(rank=16, stored=True))
    casts = [] if dtype is np.float32 else ["Cast"] * 3
    assert sorted(op_types(compiled)) == [*casts, "Gather", "MatMul"]
    feeds = {"i": np.array([[3, 299, 0], [-1, 3, 8]])}
    expected, ours = run(proto, feeds)[0].astype(np.float32), run(compiled, feeds)[0].astype(np.float32)
    assert np.linalg.norm(ours - expected) < (1e-5 if dtype is np.float32 else 2e-3) * np.linalg.norm(expected)
    assert max(np.prod(tensor.dims) for tensor in compiled.graph.initializer) == 300 * 16


def test_rows_of_coded_factors() -> None:
    proto = model("g (int64[n] i) => (float[n,64] y) { y = Gather(w, i) }", w=normal(300, 16) @ normal(16, 64, seed=1))
    result = compile_model(proto, [LowRank(rank=16, stored=True), RF8()])
    assert result.records[0].emitted == "ai.regc::RF8Gather"
    compiled = result.model.to_proto()
    assert op_types(compiled) == ["ai.regc::RF8Gather", "ai.regc::RF8Decode", "MatMul"]
    feeds = {"i": np.array([3, 299, 0, -1])}
    expected, ours = run(proto, feeds)[0], run(compiled, feeds, library=True)[0]
    assert np.linalg.norm(ours - expected) < 0.1 * np.linalg.norm(expected)
    np.testing.assert_allclose(run(compiled, feeds)[0], ours, rtol=1e-5, atol=1e-6)


def test_a_product_that_is_also_multiplied_by_is_stored_once() -> None:
    nodes = "e = Gather(w, i) t = Transpose<perm=[1,0]>(w) y = MatMul(e, t)"
    proto = model(f"g (int64[n] i) => (float[n,300] y) {{ {nodes} }}", w=normal(300, 16) @ normal(16, 64, seed=1))
    compiled = compile_proto(proto, LowRank(rank=16, stored=True), RF8())
    assert {"ai.regc::RF8TiledGather", "ai.regc::RF8MatMul"} <= set(op_types(compiled))
    assert sum(np.prod(tensor.dims) for tensor in compiled.graph.initializer) < 1.3 * 16 * (304 + 64)


@pytest.mark.parametrize("nodes", ["y = Gather<axis=1>(w, i)", "t = Transpose<perm=[1,0]>(w) y = Gather(t, i)"])
def test_lookup_of_columns(nodes: str) -> None:
    """Only rows of the matrix as it is stored are looked up: of any other matrix they are the rows of a site."""
    proto = model(f"g (int64[n] i) => (float[a,b] y) {{ {nodes} }}", w=exact(40, 90))
    same(proto, compile_proto(proto), {"i": np.array([3, 0, 89])})


def test_a_table_before_opset_11_is_decoded() -> None:
    proto = model("g (int64[n] i) => (float[n,40] y) { y = Gather(w, i) }", opset=10, w=exact(90, 40))
    compiled = compile_proto(proto)
    assert op_types(compiled) == ["ai.regc::RF8Decode", "Gather"]
    same(proto, compiled, {"i": np.array([3, 0, 89])})


def test_a_table_that_something_else_reads_keeps_one_copy_of_its_codes() -> None:
    proto = model(
        "g (int64[n] i) => (float[n,40] y, float z) { y = Gather(w, i) s = Mul(w, w) z = ReduceSum<keepdims=0>(s) }",
        w=exact(90, 40),
    )
    compiled = compile_proto(proto)
    assert {"ai.regc::RF8TiledGather", "ai.regc::RF8Decode"} <= set(op_types(compiled))
    assert sum("codes" in tensor.name for tensor in compiled.graph.initializer) == 1
    same(proto, compiled, {"i": np.array([3, 0, 89])})


def test_a_tied_table_and_head_share_their_codes() -> None:
    table = exact(90, 40)
    nodes = "e = Gather(table, i) y = MatMul(e, head)"
    proto = model(f"g (int64[n] i) => (float[n,90] y) {{ {nodes} }}", table=table, head=np.ascontiguousarray(table.T))
    compiled = compile_proto(proto)
    assert op_types(compiled) == ["ai.regc::RF8TiledGather", "ai.regc::RF8MatMul"]
    assert sum("codes" in tensor.name for tensor in compiled.graph.initializer) == 1
    same(proto, compiled, {"i": np.array([3, 0, 89])})
