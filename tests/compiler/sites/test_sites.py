import numpy as np
import onnx
import pytest

from regc.compiler.errors import ModelError
from regc.compiler.model import from_proto
from regc.compiler.sites import Site, find_sites
from support import model, normal


def sites(proto: onnx.ModelProto) -> list[Site]:
    return find_sites(from_proto(proto))


def only(proto: onnx.ModelProto) -> Site:
    (site,) = sites(proto)
    return site


W = normal(24, 40)  # 24 outputs, 40 inputs

CHAINS = {
    "right": ("y = MatMul(x, w)", W.T),
    "transposed": ("t = Transpose<perm=[1,0]>(w) y = MatMul(x, t)", W),
    "default transpose": ("t = Transpose(w) i = Identity(t) y = MatMul(x, i)", W),
    "reshaped": (
        "s = Constant<value=int64[2]{40,-1}>() t = Reshape(w, s) y = MatMul(x, t)",
        W.T.reshape(4, 10, 24),
    ),
    "reshaped, keeping an axis": (
        "s = Constant<value=int64[2]{0,24}>() t = Reshape(w, s) y = MatMul(x, t)",
        W.T.reshape(40, 2, 12),
    ),
    "squeezed": ("a = Constant<value=int64[1]{0}>() t = Squeeze(w, a) y = MatMul(x, t)", W.T[None]),
    "squeezed, all": ("t = Squeeze(w) y = MatMul(x, t)", W.T[None, :, None]),
    "unsqueezed": (
        "a = Constant<value=int64[1]{1}>() u = Unsqueeze(w, a) b = Constant<value=int64[1]{-2}>() t = Squeeze(u, b) "
        "y = MatMul(x, t)",
        W.T,
    ),
    "flattened": ("t = Flatten<axis=2>(w) y = MatMul(x, t)", W.T.reshape(5, 8, 24)),
    "cast": ("t = Cast<to=1>(w) y = MatMul(x, t)", W.T.astype(np.float16)),
    "gemm": ("y = Gemm(x, w)", W.T),
    "gemm transposed": ("y = Gemm<transB=1>(x, w)", W),
}


@pytest.mark.parametrize("name", CHAINS)
def test_weights_are_found_behind_chains(name: str) -> None:
    nodes, stored = CHAINS[name]
    site = only(model(f"g (float[n,40] x) => (float[n,24] y) {{ {nodes} }}", w=np.ascontiguousarray(stored)))
    assert site.info.shape == (24, 40)
    assert site.info.multiplied
    tolerance = 1e-3 if stored.dtype == np.float16 else 0
    np.testing.assert_allclose(site.load().values, W, atol=tolerance)
    assert site.load().dtype == stored.dtype


def test_a_weight_on_the_left_multiplies_where_the_rank_is_known() -> None:
    proto = model("g (float[40,n] x) => (float[24,n] y) { y = MatMul(w, x) }", w=W)
    assert only(proto).info.multiplied
    np.testing.assert_array_equal(only(proto).load().values, W)


@pytest.mark.parametrize(
    ("nodes", "shape", "matrix"),
    [
        ("y = Conv(x, w)", (8, 3, 3, 3), (8, 27)),
        ("y = Conv<group=4>(x, w)", (8, 1, 3, 3), (8, 9)),
        ("y = Conv(x, w)", (8, 3, 5), (8, 15)),
        ("y = Conv(x, w)", (8, 3, 2, 2, 2), (8, 24)),
        ("y = ConvTranspose(x, w)", (3, 8, 2, 2), (32, 3)),
        ("y = Gather(w, x)", (50, 7), (50, 7)),
        ("y = Gather<axis=1>(w, x)", (7, 50), (50, 7)),
        ("y = MatMul(x, w)", (2, 7, 9), (18, 7)),
        ("y = com.microsoft.Attention<num_heads=2>(x, w, b)", (8, 24), (24, 8)),
    ],
)
def test_operators_whose_weight_is_only_decoded(nodes: str, shape: tuple[int, ...], matrix: tuple[int, int]) -> None:
    header = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
    site = only(model(f"{header} g (float[n] x, float[24] b) => (float y) {{ {nodes} }}", w=normal(*shape)))
    assert site.info.shape == matrix
    assert not site.info.multiplied


def test_recurrent_weights() -> None:
    proto = model(
        "g (float[t,1,6] x) => (float y) { y = LSTM<hidden_size=5>(x, w, r) }",
        w=normal(1, 20, 6),
        r=normal(1, 20, 5),
    )
    assert [site.info.shape for site in sites(proto)] == [(20, 6), (20, 5)]


def test_one_weight_read_twice_is_one_site() -> None:
    site = only(
        model("g (float[n,40] x) => (float[n,24] y) { a = MatMul(x, w) b = MatMul(x, w) y = Add(a, b) }", w=W.T)
    )
    assert len(site.readers) == 2
    assert site.aliases == ()


@pytest.mark.parametrize("turned", [False, True])
def test_equal_copies_are_one_site(turned: bool) -> None:
    table, head = W, np.ascontiguousarray(W.T)
    lookup = "e = Gather(table, i)" if not turned else "e = Gather(table, i) "
    nodes = f"{lookup} y = Gemm<transB={int(not turned)}>(e, head)"
    stored = head if turned else W
    site = only(model(f"g (int64[n] i) => (float y) {{ {nodes} }}", table=table, head=stored))
    assert site.aliases == ("table",)
    assert site.info.name == "head"
    assert site.info.multiplied
    assert site.nbytes == 2 * W.nbytes


def test_nearly_equal_copies_are_not() -> None:
    other = W.copy()
    other[11, 13] += 1e-6
    proto = model(
        "g (float[n,40] x) => (float y) { a = Gemm<transB=1>(x, v) b = Gemm<transB=1>(x, w) y = Add(a, b) }",
        v=other,
        w=W,
    )
    assert len(sites(proto)) == 2


def test_constant_nodes_and_subgraphs() -> None:
    text = """g (bool c, float[n,2] x) => (float[n,2] y) {
        y = If(c) <
            then_branch = a () => (float[n,2] p) { w = Constant<value=float[2,2]{1,2,3,4}>() p = MatMul(x, w) },
            else_branch = b () => (float[n,2] q) { q = MatMul(x, v) }
        >
    }"""
    found = sites(model(text, v=normal(2, 2)))
    assert [site.info.shape for site in found] == [(2, 2), (2, 2)]
    np.testing.assert_array_equal(found[0].load().values, [[1, 3], [2, 4]])


def test_functions() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
        g (float[n,2] x) => (float[n,2] y) { y = f.layer(x) }
        <domain: "f", opset_import: ["" : 17]>
        layer (x) => (y) { w = Constant<value=float[2,2]{1,2,3,4}>() y = MatMul(x, w) }"""
    assert only(model(text)).info.shape == (2, 2)


def test_functions_that_are_given_their_weights() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
        g (float[n,24] x) => (float[n,24] y) { h = f.block(x, v) y = f.block(h, w) }
        <domain: "f", opset_import: ["" : 17, "f" : 1]>
        block (x, weight) => (y) { z = f.layer(x, weight) y = Relu(z) }
        <domain: "f", opset_import: ["" : 17]>
        layer (x, weight) => (y) { y = MatMul(x, weight) }"""
    found = sites(model(text, v=normal(24, 24, seed=5), w=W[:, :24]))
    assert [(site.info.name, site.info.multiplied) for site in found] == [("v", True), ("w", True)]


def test_a_weight_that_is_an_output_is_refused() -> None:
    proto = model("g (float[n,40] x) => (float[n,24] y, float[40,24] w) { y = MatMul(x, w) }", w=W.T)
    assert only(proto).refusal == "is itself an output of the graph"


def test_a_weight_that_a_caller_may_replace_is_refused() -> None:
    proto = model("g (float[n,40] x, float[40,24] w) => (float[n,24] y) { y = MatMul(x, w) }", w=W.T)
    refusal = only(proto).refusal
    assert refusal is not None
    assert "a caller may replace it" in refusal


def test_integers_and_computed_weights_are_no_sites() -> None:
    proto = model(
        "g (float[n,40] x) => (float y, int32 z) "
        "{ t = Mul(w, x) y = MatMul(x, t) i = Cast<to=3>(x) z = MatMulInteger(i, q) }",
        w=W.T,
        q=np.ones((40, 24), np.int8),
    )
    assert sites(proto) == []


def test_bfloat16_and_float64() -> None:
    import ml_dtypes

    for dtype in (ml_dtypes.bfloat16, np.float64):
        site = only(model("g (float[n,40] x) => (float y) { t = Cast<to=1>(w) y = MatMul(x, t) }", w=W.T.astype(dtype)))
        assert site.info.dtype == dtype
        np.testing.assert_allclose(site.load().values, W, atol=0.01)


def test_a_product_of_constants_is_no_site() -> None:
    nodes = "t = Transpose(w) c = MatMul(w, t) y = MatMul(x, c)"
    assert sites(model(f"g (float[n,24] x) => (float[n,24] y) {{ {nodes} }}", w=W)) == []


def test_weights_that_become_integers_are_refused() -> None:
    proto = model("g (int32[n,40] x) => (int32 y) { t = Cast<to=6>(w) y = MatMul(x, t) }", w=W.T * 100)
    assert sites(proto) == []
    nodes = "y = MatMul(x, w) t = Cast<to=6>(w) z = ReduceSum<keepdims=0>(t)"
    refusal = only(model(f"g (float[n,40] x) => (float y, int32 z) {{ {nodes} }}", w=W.T * 100)).refusal
    assert refusal is not None
    assert "converted to integers by node 't' (Cast)" in refusal


def test_a_weight_narrowed_on_the_way_is_decoded_in_front_of_that() -> None:
    nodes = "h = Cast<to=10>(w) t = Cast<to=1>(h) y = MatMul(x, t)"
    assert not only(model(f"g (float[n,40] x) => (float y) {{ {nodes} }}", w=W.T)).info.multiplied


@pytest.mark.parametrize(
    "nodes",
    [
        "s = Constant<value=int64[2]{7,7}>() t = Reshape(w, s)",
        "s = Constant<value=int64[3]{40,24,0}>() t = Reshape(w, s)",
        "t = Transpose<perm=[0,3]>(w)",
        "t = Transpose<perm=[0,0]>(w)",
    ],
)
def test_chains_that_make_no_sense_are_named(nodes: str) -> None:
    with pytest.raises(ModelError, match=r"node 't' \((Reshape|Transpose)\): does not fit"):
        sites(model(f"g (float[n,40] x) => (float y) {{ {nodes} y = MatMul(x, t) }}", w=W.T))


TWICE = "y = MatMul(x, w) u = MatMul(z, w)"


@pytest.mark.parametrize(
    ("graph", "rows"),
    [
        ("g (float[3,5,40] x) => (float[3,5,24] y) { y = MatMul(x, w) }", 15),
        ("g (float[40] x) => (float[24] y) { y = MatMul(x, w) }", 1),
        ("g (float[n,40] x) => (float[n,24] y) { y = MatMul(x, w) }", None),
        ("g (float[40,5] x) => (float[5,24] y) { y = Gemm<transA=1>(x, w) }", None),
        (f"g (float[3,40] x, float[5,40] z) => (float[3,24] y, float[5,24] u) {{ {TWICE} }}", 5),
        (f"g (float[3,40] x, float[n,40] z) => (float[3,24] y, float[n,24] u) {{ {TWICE} }}", None),
    ],
)
def test_the_rows_of_products_where_the_model_fixes_them(graph: str, rows: int | None) -> None:
    assert only(model(graph, w=np.ascontiguousarray(W.T))).info.rows == rows


@pytest.mark.parametrize(
    ("nodes", "reads"),
    [
        ("y = MatMul(x, w)", "x"),
        ("r = Relu(x) a = MatMul(r, w) b = MatMul(r, w) y = Add(a, b)", "r"),
        ("r = Relu(x) a = MatMul(r, w) b = MatMul(x, w) y = Add(a, b)", ""),
        ("t = Transpose(x) y = Gemm<transA=1>(t, w)", ""),
        ("s = Shape(w) a = MatMul(x, w) y = Identity(a)", "x"),
    ],
)
def test_the_one_tensor_that_a_weight_is_multiplied_with(nodes: str, reads: str) -> None:
    weight = np.ascontiguousarray(W.T)
    assert only(model(f"g (float[n,40] x) => (float[n,24] y) {{ {nodes} }}", w=weight)).info.reads == reads
