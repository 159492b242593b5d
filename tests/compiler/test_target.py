"""Target stock: the same matrices by operators that ONNX Runtime has already, on its fast kernels only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from regc.compiler import compile_model
from regc.compiler.cli import main
from regc.compiler.errors import UsageError
from regc.compiler.passes import SiteInfo
from regc.compiler.target import FAST_BLOCKS, TARGETS
from regc.compiler.terms import Dense, NBits
from regc.passes import RF8, GroupSparse, LowRank, Ternary
from regc.passes.ternary.term import TernaryTerm
from regc.runtime_ops.formats import nbits
from regc.runtime_ops.ops import OPERATORS
from regc.runtime_ops.regions import Region
from support import Array, model, normal, op_types, run

STOCK = TARGETS["stock"]


def ternary(shape: tuple[int, int], **options: Any) -> TernaryTerm:
    site = SiteInfo("w", ("MatMul",), ("node",), shape, np.dtype(np.float32), True, True)
    term = Ternary(**options).fit(Dense(normal(*shape)), site)
    assert isinstance(term, TernaryTerm)
    return term


@pytest.mark.parametrize(
    ("inputs", "group", "block"),
    [(200, None, 128), (70, None, 128), (50, None, 64), (20, None, 32), (256, 32, 32), (200, 96, 32), (300, 64, 64)],
)
def test_ternary_as_two_bits_is_the_same_matrix(inputs: int, group: int | None, block: int) -> None:
    term = ternary((37, inputs), group=group)
    form = STOCK.nbits(term)
    assert isinstance(form, NBits)
    assert (form.bits, form.block) == (2, block)
    codes, scales = form.pack()
    assert codes.nbytes + scales.nbytes == form.nbytes == STOCK.nbytes(term)
    levels = nbits.unpack(codes, 2, inputs).astype(np.float32)
    assert set(np.unique(levels)) <= {-1, 0, 1}
    spread = np.repeat(scales.reshape(37, -1), block, axis=1)[:, :inputs]
    np.testing.assert_array_equal(levels * spread, term.dense())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 16}, "blocks of 32, 64, 128, not of 16"),
        ({"act": "float32"}, "leave out act=float32"),
        ({"storage": "1.6bit"}, "leave out storage=1.6bit"),
    ],
)
def test_what_has_no_fast_kernel_is_refused_with_the_reason(options: dict[str, Any], words: str) -> None:
    proto = model("g (float[n,512] x) => (float[n,384] y) { y = MatMul(x, w) }", w=normal(512, 384))
    result = compile_model(proto, [Ternary(**options)], target="stock")
    assert not result.changed
    assert words in result.records[0].reason
    assert "target stock" in result.records[0].reason
    assert compile_model(proto, [Ternary(**options)]).changed


PRODUCTS: dict[str, tuple[str, dict[str, Array]]] = {
    "right": ("y = MatMul(x, w)", {"w": normal(200, 384)}),
    "gemm": ("y = Gemm(x, w, b)", {"w": normal(200, 384), "b": normal(384)}),
    "gemm transposed": ("y = Gemm<transB=1, alpha=0.5>(x, w)", {"w": normal(384, 200)}),
    "followers": ("p = MatMul(x, w) a = Add(p, b) y = Relu(a)", {"w": normal(200, 384), "b": normal(384)}),
}


def by_definition(proto: onnx.ModelProto, term: Array, name: str, x: Array) -> Array:
    """The original model with another matrix in the place of its weight."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    for tensor in changed.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(term.astype(np.float32), name))
    return run(changed, {"x": x})[0]


@pytest.mark.parametrize("group", [None, 64])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, group: int | None) -> None:
    nodes, weights = PRODUCTS[name]
    proto = model(f"g (float[n,200] x) => (float[n,384] y) {{ {nodes} }}", **weights)
    result = compile_model(proto, [Ternary(group=group)], target="stock")
    compiled = result.model.to_proto()
    onnx.checker.check_model(compiled, full_check=True)
    assert result.records[0].emitted == "com.microsoft::MatMulNBits"
    assert not compiled.functions
    (node,) = [node for node in compiled.graph.node if node.op_type == "MatMulNBits"]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert attributes["accuracy_level"] == 4
    assert attributes["block_size"] in FAST_BLOCKS[attributes["bits"]]
    assert len(node.input) == 3  # no zero points
    turned = weights["w"] if "transB" in nodes else weights["w"].T
    site = SiteInfo("w", ("MatMul",), ("node",), (384, 200), np.dtype(np.float32), True, True)
    dense = Ternary(group=group).fit(Dense(np.ascontiguousarray(turned)), site).dense()
    x = normal(5, 200, seed=7)
    expected = by_definition(proto, dense if "transB" in nodes else dense.T, "w", x)
    np.testing.assert_allclose(run(compiled, {"x": x})[0], expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(200,), (2, 3, 200), (0, 200)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_any_activations(shape: tuple[int, ...], dtype: type) -> None:
    kind, dims = "float" if dtype is np.float32 else "float16", ",".join("abc"[: len(shape) - 1])
    left = f"{dims}," if dims else ""
    text = f"g ({kind}[{left}200] x) => ({kind}[{left}384] y) {{ y = MatMul(x, w) }}"
    proto = model(text, w=normal(200, 384, dtype=dtype))
    stock = compile_model(proto, [Ternary()], target="stock").model.to_proto()
    ours = compile_model(proto, [Ternary()]).model.to_proto()
    x = normal(*shape, seed=7, dtype=dtype)
    assert "com.microsoft::MatMulNBits" in op_types(stock)
    y, expected = run(stock, {"x": x})[0], run(ours, {"x": x}, library=True)[0]
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, atol=0.03 * np.abs(expected).max(initial=0))


def test_a_weight_on_the_left() -> None:
    proto = model("g (float[200,n] x) => (float[384,n] y) { y = MatMul(w, x) }", w=normal(384, 200))
    compiled = compile_model(proto, [Ternary()], target="stock").model.to_proto()
    assert op_types(compiled) == ["Transpose", "com.microsoft::MatMulNBits", "Transpose"]
    expected = run(compile_model(proto, [Ternary()]).model.to_proto(), {"x": normal(200, 7)})[0]
    np.testing.assert_allclose(run(compiled, {"x": normal(200, 7)})[0], expected, atol=0.03 * np.abs(expected).max())


def test_factors_are_multiplied_one_after_the_other() -> None:
    proto = model("g (float[n,512] x) => (float[n,384] y) { y = MatMul(x, w) }", w=normal(512, 384))
    both = compile_model(proto, [LowRank(ratio=2), Ternary()], target="stock").model.to_proto()
    assert op_types(both) == ["com.microsoft::MatMulNBits"] * 2
    coded = compile_model(proto, [LowRank(ratio=2), RF8()], target="stock").model.to_proto()
    assert op_types(coded).count("MatMul") == 2
    ours = compile_model(proto, [LowRank(ratio=2), RF8()]).model.to_proto()
    x = normal(5, 512, seed=7)
    np.testing.assert_allclose(run(coded, {"x": x})[0], run(ours, {"x": x})[0], rtol=1e-3, atol=1e-4)


def test_rf8_is_decoded_and_embeddings_by_rows() -> None:
    text = "g (int64[n] i) => (float[n,300] y) { e = Gather(table, i) y = MatMul(e, w) }"
    proto = model(text, table=normal(500, 200), w=normal(200, 300))
    result = compile_model(proto, [RF8()], target="stock")
    compiled = result.model.to_proto()
    assert {record.emitted for record in result.records} == {"ai.regc::RF8Gather", "decoded in front of MatMul"}
    assert "MatMul" in op_types(compiled)
    assert {function.name for function in compiled.functions} == {"RF8Gather", "RF8Decode"}
    ours = compile_model(proto, [RF8()]).model.to_proto()
    i = np.array([3, -1, 499])
    np.testing.assert_allclose(run(compiled, {"i": i})[0], run(ours, {"i": i})[0], rtol=1e-5, atol=1e-5)


def test_the_target_is_recorded(tmp_path: Path) -> None:
    proto = model("g (float[n,512] x) => (float[n,384] y) { y = MatMul(x, w) }", w=normal(512, 384))
    onnx.save(proto, tmp_path / "m.onnx")
    report = tmp_path / "report.json"
    arguments = ["compile", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "s.onnx"), "--passes", "ternary"]
    outcome = CliRunner().invoke(main, [*arguments, "--target", "stock", "--report", str(report)])
    assert outcome.exit_code == 0, outcome.output
    assert "stock" in outcome.output
    assert json.loads(report.read_text())["target"] == "stock"
    stored = {entry.key: entry.value for entry in onnx.load(tmp_path / "s.onnx").metadata_props}
    assert stored["regc.target"] == "stock"
    assert compile_model(proto, [Ternary()]).report.target == "cpu"
    page = compile_model(proto, [Ternary()], target="stock").report.to_html()
    assert "--target stock" in page


def test_an_unknown_target_is_an_error() -> None:
    proto = model("g (float[n,512] x) => (float[n,384] y) { y = MatMul(x, w) }", w=normal(512, 384))
    with pytest.raises(UsageError, match=r"no target 'stok'; choose one of cpu, cuda, stock; did you mean \"stock\"\?"):
        compile_model(proto, [Ternary()], target="stok")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_levels_round_trip(bits: int) -> None:
    half = 1 << (bits - 1)
    levels = np.random.default_rng(0).integers(-half, half, (5, 50)).astype(np.int16)
    packed = nbits.pack(levels, bits, 32)
    assert packed.shape == (5, 2, 32 * bits // 8)
    np.testing.assert_array_equal(nbits.unpack(packed, bits, 50), levels)
    with pytest.raises(ValueError, match="levels must be"):
        nbits.pack(levels + half, bits, 32)


# --- where operators of ours would be slower ----------------------------------------------------------------


def sparse_products(rows: int | str) -> onnx.ModelProto:
    return model(f"g (float[{rows},512] x) => (float[{rows},384] y) {{ y = MatMul(x, w) }}", w=normal(512, 384))


def test_work_that_is_not_saved_where_it_pays_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    region = Region(uses=((8, 0.7),))
    monkeypatch.setitem(OPERATORS, "BlockSparseMatMul", replace(OPERATORS["BlockSparseMatMul"], region=region))
    half, most = GroupSparse(sparsity=0.5), GroupSparse(sparsity=0.2)
    assert op_types(compile_model(sparse_products(8), [half]).model.to_proto()) == ["ai.regc::BlockSparseMatMul"]
    assert op_types(compile_model(sparse_products("n"), [half]).model.to_proto()) == ["ai.regc::BlockSparseMatMul"]
    many = compile_model(sparse_products(9), [half])
    assert many.records[0].reason == "group-sparse: BlockSparseMatMul is faster up to 8 rows, a product has 9"
    for rows, product in ((8, "a product of 8 rows"), ("n", "a product")):
        words = f"BlockSparseMatMul is faster where {product} uses up to 70% of the weight, it uses 80%"
        assert compile_model(sparse_products(rows), [most]).records[0].reason == f"group-sparse: {words}"


def test_wider_blocks_may_pay_where_narrow_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    region = Region(uses=((8, 0.4),), blocks=((4, ((8, 0.6),)),))
    monkeypatch.setitem(OPERATORS, "BlockSparseMatMul", replace(OPERATORS["BlockSparseMatMul"], region=region))
    narrow, wide = (compile_model(sparse_products(8), [GroupSparse(groups=f"blocks(16x{n})")]) for n in (2, 4))
    words = "BlockSparseMatMul is faster where a product of 8 rows uses up to 40% of the weight, it uses 50%"
    assert narrow.records[0].reason == f"group-sparse: {words}"
    assert op_types(wide.model.to_proto()) == ["ai.regc::BlockSparseMatMul"]


def test_codes_are_decoded_where_their_operator_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = replace(OPERATORS["RF8MatMul"], region=Region(least_inputs=513))
    monkeypatch.setitem(OPERATORS, "RF8MatMul", slow)
    result = compile_model(sparse_products("n"), [RF8()])
    assert op_types(result.model.to_proto()) == ["ai.regc::RF8Decode", "Transpose", "MatMul"]


def test_what_saves_bytes_only_in_our_own_form_is_refused() -> None:
    """MatMulNBits fills six inputs up to a block of 32."""
    proto = model("g (float16[n,6] x) => (float16[n,6400] y) { y = MatMul(x, w) }", w=normal(6, 6400, dtype=np.float16))
    assert compile_model(proto, [Ternary()]).changed
    (record,) = compile_model(proto, [Ternary()], target="stock").records
    assert "would take 76,800 bytes instead of 76,800" in record.reason


def test_what_computes_a_product_is_named_part_by_part() -> None:
    text = "g (float[n,512] x) => (float[n,512] y) { p = MatMul(x, v) q = MatMul(p, u) y = MatMul(q, w) }"
    proto = model(text, **{name: normal(512, 512, seed=seed) for seed, name in enumerate("uvw")})
    passes = [LowRank(ratio=2), Ternary(group=64, include=("v",)), RF8(include=("u",))]
    emitted = [record.emitted for record in compile_model(proto, passes, target="stock").records]
    assert emitted == ["com.microsoft::MatMulNBits", "decoded in front of MatMul", "MatMul"]
    emitted = [record.emitted for record in compile_model(proto, passes).records]
    assert emitted == ["ai.regc::TernaryMatMul", "ai.regc::RF8MatMul", "MatMul"]
