"""Every way of emitting a term, on weights that the passes represent exactly: the model must compute what it did."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from regc.compiler import compile_model
from regc.compiler.model import Model, from_proto
from regc.compiler.sites import find_sites
from regc.compiler.terms import Dense
from regc.passes import RF8, LowRank, Ternary
from regc.passes.ternary.term import TernaryTerm
from regc.runtime_ops.formats import rf8
from support import Array, model, normal, op_types, run

ROWS, INPUTS, OUTPUTS = 5, 80, 48


def exact(*shape: int, seed: int = 0, dtype: type = np.float32) -> Array:
    """Weights that RF8 represents without loss: its own values over a few octaves."""
    codes = np.random.default_rng(seed).choice(np.arange(10 * 8, 16 * 8)[np.arange(48) % 8 < 7], shape)
    signs = np.random.default_rng(seed + 1).choice([-1, 1], shape)
    return (rf8.VALUES[codes] * signs).astype(dtype)


def compile_proto(proto: onnx.ModelProto, *passes: object) -> onnx.ModelProto:
    result = compile_model(proto, list(passes))  # type: ignore[arg-type]
    assert result.changed, [record.reason for record in result.records]
    compiled = result.model.to_proto()
    onnx.checker.check_model(compiled, full_check=True)
    return compiled


def same(proto: onnx.ModelProto, compiled: onnx.ModelProto, feeds: dict[str, Array], *, library: bool = True) -> None:
    """Both models give the same, in ONNX Runtime without and with the library and in the reference evaluator."""
    expected = run(proto, feeds)
    results = [run(compiled, feeds), ReferenceEvaluator(compiled).run(None, feeds)]
    for outputs in [*results, run(compiled, feeds, library=True)] if library else results:
        for ours, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4 * np.abs(theirs).max())


def x(*shape: int) -> Array:
    return normal(*shape, seed=7)


W = exact(OUTPUTS, INPUTS)
BIAS = normal(OUTPUTS, seed=3)

PRODUCTS = {
    "right": ("y = MatMul(x, w)", {"w": W.T}),
    "transposed": ("t = Transpose<perm=[1,0]>(w) y = MatMul(x, t)", {"w": W}),
    "gemm": ("y = Gemm(x, w, b)", {"w": W.T, "b": BIAS}),
    "gemm transposed, row bias": ("y = Gemm<transB=1>(x, w, b)", {"w": W, "b": BIAS[None]}),
    "gemm scaled": ("y = Gemm<alpha=0.5, beta=2.0>(x, w, b)", {"w": W.T, "b": BIAS}),
    "gemm, beta only": ("y = Gemm<beta=2.0>(x, w, b)", {"w": W.T, "b": BIAS}),
    "gemm, scalar bias": ("y = Gemm(x, w, b)", {"w": W.T, "b": np.float32([0.5])}),
    "gemm, bias per row": ("y = Gemm(x, w, b)", {"w": W.T, "b": normal(ROWS, 1)}),
    "gemm, no bias": ("y = Gemm(x, w)", {"w": W.T}),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    nodes, weights = PRODUCTS[name]
    proto = model(f"g (float[{ROWS},{INPUTS}] x) => (float[{ROWS},{OUTPUTS}] y) {{ {nodes} }}", **weights)
    compiled = compile_proto(proto, RF8())
    assert "ai.regc::RF8MatMul" in op_types(compiled)
    assert not {"MatMul", "Gemm"} & set(op_types(compiled))
    assert "w" not in [tensor.name for tensor in compiled.graph.initializer]
    same(proto, compiled, {"x": x(ROWS, INPUTS)})


def test_gemm_with_transposed_input() -> None:
    proto = model(f"g (float[{INPUTS},n] x) => (float[n,{OUTPUTS}] y) {{ y = Gemm<transA=1>(x, w) }}", w=W.T)
    same(proto, compile_proto(proto, RF8()), {"x": x(INPUTS, ROWS)})


@pytest.mark.parametrize("shape", [(INPUTS, 3), (2, INPUTS, 3), (INPUTS,)])
def test_weight_on_the_left(shape: tuple[int, ...]) -> None:
    dims = ",".join(map(str, shape))
    result = ",".join(map(str, (*shape[:-2], OUTPUTS, *shape[-1:]) if len(shape) > 1 else (OUTPUTS,)))
    proto = model(f"g (float[{dims}] x) => (float[{result}] y) {{ y = MatMul(w, x) }}", w=W)
    compiled = compile_proto(proto, RF8())
    assert "ai.regc::RF8MatMul" in op_types(compiled)
    same(proto, compiled, {"x": x(*shape)})


DECODED = {
    "conv": (
        "float[1,6,9,9] x",
        "y = Conv<pads=[1,1,1,1]>(x, w, b)",
        {"w": exact(24, 6, 3, 3), "b": normal(24)},
    ),
    "conv grouped": ("float[1,8,9,9] x", "y = Conv<group=4>(x, w)", {"w": exact(64, 2, 3, 3)}),
    "conv 1d": ("float[1,6,20] x", "y = Conv<strides=[2]>(x, w)", {"w": exact(32, 6, 5)}),
    "conv transpose": (
        "float[1,24,5,5] x",
        "y = ConvTranspose<strides=[2,2]>(x, w)",
        {"w": exact(24, 8, 3, 3)},
    ),
    "batched": ("float[3,4,30] x", "y = MatMul(x, w)", {"w": exact(3, 30, 20)}),
}


@pytest.mark.parametrize("name", DECODED)
def test_decoded(name: str) -> None:
    declared, nodes, weights = DECODED[name]
    proto = model(f"g ({declared}) => (float y) {{ {nodes} }}", **weights)
    shape = tuple(dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim)
    compiled = changed(proto).to_proto()
    assert "ai.regc::RF8Decode" in op_types(compiled)
    same(proto, compiled, {"x": x(*shape)})


def changed(proto: onnx.ModelProto, *passes: object) -> Model:
    result = compile_model(proto, list(passes) or [RF8()])  # type: ignore[arg-type]
    assert result.changed, [record.reason for record in result.records]
    return result.model


@pytest.mark.parametrize("indices", [np.array([3, 0, -1]), np.array([[5], [89]], np.int32), np.array(7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_lookup_in_a_table(indices: Array, dtype: type) -> None:
    """Of an embedding that nothing else reads every row is in one piece, and only those asked for are decoded."""
    kind = f"{indices.dtype}[{','.join('ab'[: indices.ndim])}]" if indices.ndim else f"{indices.dtype}"
    result = f"{'float' if dtype is np.float32 else 'float16'}[{','.join([*'ab'[: indices.ndim], '40'])}]"
    proto = model(f"g ({kind} i) => ({result} y) {{ y = Gather(w, i) }}", w=exact(90, 40, dtype=dtype))
    compiled = compile_proto(proto, RF8())
    assert op_types(compiled) == ["ai.regc::RF8Gather", *(["Cast"] if dtype is np.float16 else [])]
    assert [list(tensor.dims) for tensor in compiled.graph.initializer] == [[90, 40], [90]]
    same(proto, compiled, {"i": indices})


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
    same(proto, compile_proto(proto, RF8()), {"i": np.array([3, 0, 89])})


def test_a_table_before_opset_11_is_decoded() -> None:
    proto = model("g (int64[n] i) => (float[n,40] y) { y = Gather(w, i) }", opset=10, w=exact(90, 40))
    compiled = compile_proto(proto, RF8())
    assert op_types(compiled) == ["ai.regc::RF8Decode", "Gather"]
    same(proto, compiled, {"i": np.array([3, 0, 89])})


def test_a_table_that_something_else_reads_keeps_one_copy_of_its_codes() -> None:
    proto = model(
        "g (int64[n] i) => (float[n,40] y, float z) { y = Gather(w, i) s = Mul(w, w) z = ReduceSum<keepdims=0>(s) }",
        w=exact(90, 40),
    )
    compiled = compile_proto(proto, RF8())
    assert {"ai.regc::RF8TiledGather", "ai.regc::RF8Decode"} <= set(op_types(compiled))
    assert sum("codes" in tensor.name for tensor in compiled.graph.initializer) == 1
    same(proto, compiled, {"i": np.array([3, 0, 89])})


def test_recurrent() -> None:
    proto = model(
        "g (float[4,1,16] x) => (float[4,1,1,24] y) { y = LSTM<hidden_size=24>(x, w, r) }",
        w=exact(1, 96, 16),
        r=exact(1, 96, 24, seed=5),
    )
    same(proto, compile_proto(proto, RF8()), {"x": x(4, 1, 16)})


def test_recurrent_weights_whose_gates_an_exporter_reordered() -> None:
    text = """g (float[4,1,16] x) => (float[4,1,1,24] y) {
        zero = Constant<value=int64[1]{0}>() mid = Constant<value=int64[1]{48}>() end = Constant<value=int64[1]{96}>()
        wa = Slice(w, zero, mid, zero) wb = Slice(w, mid, end, zero) wc = Concat<axis=0>(wb, wa)
        wu = Unsqueeze(wc, zero) y = LSTM<hidden_size=24>(x, wu, r)
    }"""
    proto = model(text, w=exact(96, 16), r=exact(1, 96, 24, seed=5))
    result = compile_model(proto, [RF8()])
    assert [record.emitted for record in result.records] == ["decoded in front of LSTM"] * 2
    same(proto, result.model.to_proto(), {"x": x(4, 1, 16)})


def test_a_tied_table_and_head_share_their_codes() -> None:
    table = exact(90, 40)
    nodes = "e = Gather(table, i) y = MatMul(e, head)"
    proto = model(f"g (int64[n] i) => (float[n,90] y) {{ {nodes} }}", table=table, head=np.ascontiguousarray(table.T))
    compiled = compile_proto(proto, RF8())
    assert op_types(compiled) == ["ai.regc::RF8TiledGather", "ai.regc::RF8MatMul"]
    assert sum("codes" in tensor.name for tensor in compiled.graph.initializer) == 1
    same(proto, compiled, {"i": np.array([3, 0, 89])})


def test_other_readers_of_the_weight_get_it_decoded() -> None:
    nodes = "y = MatMul(x, w) s = Mul(w, w) z = ReduceSum<keepdims=0>(s)"
    proto = model(f"g (float[{ROWS},{INPUTS}] x) => (float[{ROWS},{OUTPUTS}] y, float z) {{ {nodes} }}", w=W.T)
    compiled = compile_proto(proto, RF8())
    assert {"ai.regc::RF8MatMul", "ai.regc::RF8Decode"} <= set(op_types(compiled))
    same(proto, compiled, {"x": x(ROWS, INPUTS)})


BRANCHES = """g (bool c, float[5,80] x) => (float[5,48] y) {{
    y = If(c) <
        then_branch = a () => (float[5,48] p) {{ {then} }},
        else_branch = b () => (float[5,48] q) {{ u = MatMul(x, {other}) q = Neg(u) }}
    >
}}"""


@pytest.mark.parametrize("then", ["p = MatMul(x, w)", "t = Mul(w, w) p = MatMul(x, t)"])
@pytest.mark.parametrize("condition", [True, False])
def test_weights_of_an_outer_graph_read_in_branches(then: str, condition: bool) -> None:
    proto = model(BRANCHES.format(then=then, other="w"), w=W.T)
    compiled = compile_proto(proto, RF8())
    same(proto, compiled, {"x": x(ROWS, INPUTS), "c": np.array(condition)})
    assert compiled.ByteSize() < proto.ByteSize()


def test_weights_inside_a_branch() -> None:
    proto = model(BRANCHES.format(then="p = MatMul(x, w)", other="inner"), w=W.T)
    (branch,) = [a.g for a in proto.graph.node[0].attribute if a.name == "else_branch"]
    branch.initializer.add().CopyFrom(onnx.numpy_helper.from_array(exact(INPUTS, OUTPUTS, seed=9), "inner"))
    compiled = compile_proto(proto, RF8())
    for condition in (True, False):
        same(proto, compiled, {"x": x(ROWS, INPUTS), "c": np.array(condition)})


def test_weights_inside_a_function() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
        g (float[n,80] x) => (float[n,48] y) { a = f.layer(x) b = f.layer(x) y = Add(a, b) }
        <domain: "f", opset_import: ["" : 17]>
        layer (x) => (y) { y = MatMul(x, w) }"""
    proto = model(text)
    constant = onnx.helper.make_node(
        "Constant", [], ["w"], value=onnx.numpy_helper.from_array(np.ascontiguousarray(W.T))
    )
    proto.functions[0].node.insert(0, constant)
    compiled = compile_proto(proto, RF8())
    assert compiled.ByteSize() < proto.ByteSize()
    same(proto, compiled, {"x": x(ROWS, INPUTS)})


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(dtype: type) -> None:
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    name = {np.float16: "float16", np.float64: "double"}[dtype]
    assert code
    proto = model(f"g ({name}[5,80] x) => ({name}[5,48] y) {{ y = MatMul(x, w) }}", w=W.T.astype(dtype))
    compiled = compile_proto(proto, RF8())
    assert op_types(compiled) == ["Cast", "ai.regc::RF8MatMul", "Cast"]
    same(proto, compiled, {"x": x(ROWS, INPUTS).astype(dtype)})


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 15, 18, 20, 21])
def test_opsets(opset: int) -> None:
    proto = model("g (float[5,80] x) => (float[5,48] y) { y = MatMul(x, w) }", opset=opset, w=W.T)
    same(proto, compile_proto(proto, RF8()), {"x": x(ROWS, INPUTS)}, library=opset > 9)


def test_old_opsets_multiply_ternary_weights_in_float() -> None:
    signs = np.sign(normal(64, 96)).astype(np.float32)
    proto = model("g (float[5,96] x) => (float[5,64] y) { y = MatMul(x, w) }", opset=10, w=signs.T)
    compiled = compile_proto(proto, Ternary())
    assert op_types(compiled) == ["ai.regc::TernaryMatMulFloat"]
    same(proto, compiled, {"x": x(5, 96)})


def test_low_rank_is_two_products() -> None:
    weight = normal(64, 6) @ normal(6, 96, seed=2)
    proto = model("g (float[5,96] x) => (float[5,64] y) { y = Gemm<transB=1>(x, w, b) }", w=weight, b=normal(64))
    compiled = compile_proto(proto, LowRank(rank=6, force=True))
    assert op_types(compiled) == ["MatMul", "MatMul", "Add"]
    same(proto, compiled, {"x": x(5, 96)})


def test_low_rank_convolution_is_two_convolutions() -> None:
    weight = (normal(32, 5) @ normal(5, 72, seed=2)).reshape(32, 8, 3, 3)
    nodes = "y = Conv<pads=[1,1,1,1], strides=[2,2], kernel_shape=[3,3]>(x, w, b)"
    proto = model(f"g (float[1,8,9,9] x) => (float[1,32,5,5] y) {{ {nodes} }}", w=weight, b=normal(32))
    compiled = compile_proto(proto, LowRank(rank=5, force=True))
    assert op_types(compiled) == ["Conv", "Conv"]
    same(proto, compiled, {"x": x(1, 8, 9, 9)})


def test_coded_factors() -> None:
    proto = model("g (float[5,256] x) => (float[5,256] y) { y = MatMul(x, w) }", w=normal(256, 256))
    compiled = compile_proto(proto, LowRank(ratio=2), RF8())
    assert op_types(compiled) == ["ai.regc::RF8MatMul"] * 2
    with_library, without = (run(compiled, {"x": x(5, 256)}, library=way) for way in (True, False))
    np.testing.assert_allclose(with_library[0], without[0], rtol=1e-4, atol=1e-5)
