from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler import RegcError, UsageError
from regc.compiler.calibration.gather import Gathering, Options
from regc.compiler.feeds.sources import open_feeds
from regc.compiler.model import from_proto
from regc.compiler.sites import find_sites
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense
from support import model, normal, run

GRAM: frozenset[Need] = frozenset({"gram"})


def gathering(
    proto: onnx.ModelProto, *feeds: dict[str, Any], needs: frozenset[Need] = GRAM, **options: Any
) -> Gathering:
    opened = from_proto(proto)
    wanted = [(site, GRAM) for site in find_sites(opened)]
    return Gathering(opened, wanted, open_feeds(list(feeds)), Options(**options))


def found(gathered: Gathering) -> dict[str, Statistics | str]:
    return {site.info.name: gathered.of(site) for site, _ in gathered.wanted}


def assert_rows(statistics: Statistics | str | None, rows: np.ndarray) -> None:
    assert isinstance(statistics, Statistics), statistics
    expected = Statistics.of(rows)
    assert statistics.count == expected.count
    np.testing.assert_allclose(statistics.mean, expected.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics.peak, expected.peak, rtol=1e-4)
    if statistics.gram is not None:
        np.testing.assert_allclose(statistics.gram, expected.gram, rtol=1e-3, atol=1e-4)


CHAIN = """g (float[b,s,8] x) => (float[b,s,5] y) {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    a = Add(q, k)
    r = Relu(a)
    y = MatMul(r, wo)
}"""


def chain(inner: int = 6) -> onnx.ModelProto:
    return model(CHAIN, wq=normal(8, inner), wk=normal(8, inner, seed=1), wo=normal(inner, 5, seed=2))


def hidden(x: np.ndarray) -> np.ndarray:
    return np.maximum(x @ normal(8, 6) + x @ normal(8, 6, seed=1), 0)


# --- what flows into which operator -----------------------------------------------------------------


def test_weights_that_read_the_same_tensor_share_its_statistics() -> None:
    x = [normal(2, 3, 8), normal(1, 5, 8, seed=1)]  # of different lengths
    gathered = gathering(chain(), {"x": x[0]}, {"x": x[1]})
    statistics = found(gathered)
    rows = np.concatenate([part.reshape(-1, 8) for part in x])
    assert_rows(statistics["wq"], rows)
    assert statistics["wq"] is statistics["wk"]
    assert_rows(statistics["wo"], hidden(rows))
    effort = gathered.effort
    assert (effort.runs, effort.feeds, effort.tensors, effort.rows) == (1, 2, 2, 11)
    assert effort.nbytes == 4 * (64 + 36)


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("float[b,8] x", ("y = MatMul(x, w)", False)),
        ("float[b,8] x", ("y = Gemm(x, w)", False)),
        ("float[8,b] x", ("y = Gemm<transA=1>(x, w)", True)),
        ("float[8,b] x", ("y = MatMul(w, x)", True)),
        ("float[8,b] x", ("y = Gemm(w, x)", True)),
        ("float[b,8] x", ("y = Gemm<transB=1>(w, x)", False)),
    ],
)
def test_products_on_either_side(text: str, turned: tuple[str, bool]) -> None:
    node, swapped = turned
    left = "(w," in node
    weight = normal(6, 8) if left else normal(8, 6)
    x = normal(8, 30) if swapped else normal(30, 8)
    statistics = found(gathering(model(f"g ({text}) => (float y) {{ {node} }}", w=weight), {"x": x}))
    assert_rows(statistics["w"], x.T if swapped else x)


def test_a_convolution_sees_its_patches() -> None:
    proto = model(
        "g (float[n,2,6,6] x) => (float y) { y = Conv<pads=[1,1,1,1],strides=[2,2]>(x, w) }", w=normal(4, 2, 3, 3)
    )
    x = normal(3, 2, 6, 6)
    statistics = found(gathering(proto, {"x": x}))["w"]
    assert isinstance(statistics, Statistics)
    assert statistics.count == 3 * 3 * 3
    (y,) = run(proto, {"x": x})
    weight = normal(4, 2, 3, 3).reshape(4, 18)
    assert statistics.gram is not None
    np.testing.assert_allclose(np.trace(weight @ statistics.gram @ weight.T), np.square(y).sum() / 27, rtol=1e-4)


def test_a_recurrent_operator_shows_what_it_reads_but_not_its_state() -> None:
    proto = model(
        "g (float[t,b,8] x) => (float y) { y = LSTM<hidden_size=4>(x, w, r) }", w=normal(1, 16, 8), r=normal(1, 16, 4)
    )
    x = normal(5, 2, 8)
    statistics = found(gathering(proto, {"x": x}))
    assert_rows(statistics["w"], x.reshape(-1, 8))
    assert "a state that never leaves the operator" in str(statistics["r"])


def test_a_table_is_looked_up_and_a_tied_one_is_seen_where_it_is_multiplied() -> None:
    text = """g (int64[b] i) => (float[b,40] y, float[b,9] z) {
        e = Gather(table, i)
        t = Transpose<perm=[1,0]>(table)
        y = MatMul(e, t)
        z = Gather(other, i)
    }"""
    table = normal(40, 16)
    ids = np.array([3, 1, 1, 39])
    statistics = found(gathering(model(text, table=table, other=normal(40, 9)), {"i": ids}))
    assert_rows(statistics["table"], table[ids])
    assert "looks its rows up" in str(statistics["other"])


def test_float16_inputs_are_counted_in_float32() -> None:
    text = "g (float16[b,8] x) => (float16 y) { y = MatMul(x, w) }"
    x = normal(30, 8, dtype=np.float16)
    statistics = found(gathering(model(text, w=normal(8, 6, dtype=np.float16)), {"x": x}))["w"]
    assert_rows(statistics, x.astype(np.float32))


def test_what_is_read_cut_or_in_several_matrices_is_not_seen() -> None:
    text = """g (float[b,8] x, float[2,b,8] z) => (float y, float v) {
        w = Concat<axis=1>(first, second)
        y = MatMul(x, w)
        v = MatMul(z, batch)
    }"""
    proto = model(text, first=normal(8, 3), second=normal(8, 4), batch=normal(2, 8, 3))
    statistics = found(gathering(proto, {"x": normal(4, 8), "z": normal(2, 4, 8)}))
    assert "cut or joined" in str(statistics.get("first", "cut or joined"))
    assert "several matrices" in str(statistics["batch"])


# --- bodies -----------------------------------------------------------------------------------------

IF = """g (float[b,8] x, bool c) => (float[b,4] y) {
    y = If(c) <
        then_branch = t () => (float[b,4] p) { h = MatMul(x, w1) r = Relu(h) p = MatMul(r, w2) },
        else_branch = e () => (float[b,4] q) { q = MatMul(x, w3) }
    >
}"""


def branches() -> onnx.ModelProto:
    return model(IF, w1=normal(8, 6), w2=normal(6, 4), w3=normal(8, 4, seed=2))


def test_each_branch_sees_the_inputs_that_take_it() -> None:
    x = [normal(3, 8), normal(4, 8, seed=1), normal(5, 8, seed=2)]
    feeds = [{"x": part, "c": np.array(taken)} for part, taken in zip(x, (True, False, True), strict=True)]
    statistics = found(gathering(branches(), *feeds))
    taken = np.concatenate([x[0], x[2]])
    assert_rows(statistics["w1"], taken)
    assert_rows(statistics["w2"], np.maximum(taken @ normal(8, 6), 0))
    assert_rows(statistics["w3"], x[1])


def test_a_branch_that_is_never_taken_has_no_statistics() -> None:
    statistics = found(gathering(branches(), {"x": normal(3, 8), "c": np.array(True)}))
    assert statistics["w3"] == "the calibration inputs never reach it"


def test_a_loop_is_seen_in_each_of_its_runs() -> None:
    text = """g (int64 n, float[b,8] x) => (float[b,8] y) <bool go = {1}> {
        y = Loop(n, go, x) <
            body = b (int64 i, bool keep_in, float[b,8] a) => (bool keep, float[b,8] out) {
                keep = Identity(keep_in)
                out = MatMul(a, w)
            }
        >
    }"""
    x, weight = normal(3, 8), normal(8, 8)
    statistics = found(gathering(model(text, w=weight), {"x": x, "n": np.array(3)}))["w"]
    assert_rows(statistics, np.concatenate([x, x @ weight, x @ weight @ weight]))


def test_weights_in_constant_nodes_of_a_nested_branch() -> None:
    text = """g (float[b,2] x, bool c) => (float[b,2] y) {
        y = If(c) <
            then_branch = t () => (float[b,2] p) {
                p = If(c) <
                    then_branch = tt () => (float[b,2] pp) {
                        n = Neg(x)
                        w = Constant<value = float[2,2] {1, 2, 3, 4}>()
                        pp = MatMul(n, w)
                    },
                    else_branch = te () => (float[b,2] pq) { pq = Identity(x) }
                >
            },
            else_branch = e () => (float[b,2] q) { q = Identity(x) }
        >
    }"""
    x = normal(3, 2)
    statistics = found(gathering(model(text), {"x": x, "c": np.array(True)}))["w"]
    assert_rows(statistics, -x)


def test_a_function_that_keeps_its_weight_to_itself_says_so() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[b,2] x) => (float y) { y = local.Inner(x) }
        <domain: "local", opset_import: ["": 17]> Inner (a) => (b) {
            w = Constant<value = float[2,2] {1, 2, 3, 4}>()
            b = MatMul(a, w)
        }"""
    statistics = found(gathering(model(text), {"x": normal(3, 2)}))
    assert list(statistics.values()) == ["it is inside a function that the model calls"]


# --- memory, masks, and the compressed part ---------------------------------------------------------


def test_less_memory_means_more_runs_and_the_same_figures() -> None:
    x = normal(20, 4, 8)
    whole, parts = gathering(chain(), {"x": x}), gathering(chain(), {"x": x}, memory=4 * 64)
    for gathered in (whole, parts):
        statistics = found(gathered)
        assert_rows(statistics["wq"], x.reshape(-1, 8))
        assert_rows(statistics["wo"], hidden(x.reshape(-1, 8)))
    assert (whole.effort.runs, parts.effort.runs) == (1, 2)
    assert parts.effort.nbytes == 4 * 64


def test_a_gram_matrix_that_is_too_large_alone_is_left_out() -> None:
    statistics = found(gathering(chain(), {"x": normal(20, 4, 8)}, memory=4 * 40))
    first, last = statistics["wq"], statistics["wo"]
    assert isinstance(first, Statistics)
    assert isinstance(last, Statistics)
    assert first.gram is None
    assert last.gram is not None
    assert first.second_moment.shape == (8,)


def test_masked_rows_do_not_count() -> None:
    text = """g (float[b,s,8] x, int64[b,s] mask) => (float y, float z) {
        y = MatMul(x, w)
        f = Cast<to=1>(mask)
        p = ReduceMean<axes=[1], keepdims=0>(x)
        q = MatMul(p, v)
        z = Add(q, v0)
    }"""
    proto = model(text, w=normal(8, 6), v=normal(8, 6, seed=1), v0=normal(1, 6))
    x, mask = normal(2, 3, 8), np.array([[1, 1, 0], [1, 0, 0]])
    statistics = found(gathering(proto, {"x": x, "mask": mask}, mask="mask"))
    assert_rows(statistics["w"], x[mask > 0])
    assert_rows(statistics["v"], x.mean(axis=1))


@pytest.mark.parametrize(
    ("mask", "words"), [("msk", "is no input of the model; it takes x, mask"), ("x", "a mask is integers or booleans")]
)
def test_a_mask_that_cannot_be_meant(mask: str, words: str) -> None:
    text = "g (float[b,s,8] x, int64[b,s] mask) => (float y, int64 z) { y = MatMul(x, w) z = Identity(mask) }"
    feed = {"x": normal(2, 3, 8), "mask": np.ones((2, 3), np.int64)}
    with pytest.raises(UsageError, match=words):
        found(gathering(model(text, w=normal(8, 6)), feed, mask=mask))


def test_a_mask_that_fits_nothing() -> None:
    text = "g (float[b,s,8] x, int64[k] mask) => (float y, int64 z) { y = MatMul(x, w) z = Identity(mask) }"
    feed = {"x": normal(2, 3, 8), "mask": np.ones(5, np.int64)}
    with pytest.raises(UsageError, match="no tensor that flows into a weight begins with its axes"):
        found(gathering(model(text, w=normal(8, 6)), feed, mask="mask"))


@pytest.mark.parametrize("sequential", [False, True])
def test_the_compressed_part_of_the_model_is_seen_when_asked_for(sequential: bool) -> None:
    x = normal(20, 8)
    proto = model(CHAIN.replace("b,s", "b"), wq=normal(8, 60), wk=normal(8, 60, seed=1), wo=normal(60, 5, seed=2))
    gathered = gathering(proto, {"x": x}, sequential=sequential)
    for site, _ in gathered.wanted:
        statistics = gathered.of(site)
        if site.info.name == "wo":
            before = x @ normal(8, 60) + x @ normal(8, 60, seed=1)
            assert_rows(statistics, np.zeros_like(before) if sequential else np.maximum(before, 0))
        gathered.put(site, Dense(np.zeros(site.info.shape, np.float32)))
    assert gathered.effort.runs == 1 + sequential


def test_what_came_before_is_counted_beside_what_comes_now() -> None:
    x = normal(4, 5, 8)
    gathered = gathering(chain(inner=60), {"x": x}, sequential=True)
    for site, _ in gathered.wanted:
        statistics = gathered.of(site)
        assert isinstance(statistics, Statistics)
        if site.info.name != "wo":
            assert statistics.cross is None  # nothing is compressed before it
            gathered.put(site, Dense(site.load().values / 2))
            continue
        then = np.maximum(x @ normal(8, 60) + x @ normal(8, 60, seed=1), 0).reshape(-1, 60)
        assert_rows(statistics, then / 2)
        assert statistics.cross is not None
        np.testing.assert_allclose(statistics.cross, then.T @ then / 2 / len(then), rtol=1e-3, atol=1e-4)
    assert gathered.effort.nbytes == 2 * 60 * 60 * 4


def test_inputs_on_which_the_model_fails_are_numbered() -> None:
    with pytest.raises(RegcError, match="cannot be run on feed 1 of 2 feeds given"):
        text = "g (float[b,8] x, float[c,8] z) => (float y) { a = Add(x, z) y = MatMul(a, w) }"
        good = {"x": normal(3, 8), "z": normal(3, 8)}
        found(gathering(model(text, w=normal(8, 6)), good, good | {"z": normal(2, 8)}))


def test_no_feed_at_all() -> None:
    with pytest.raises(UsageError, match="holds no feed"):
        found(gathering(chain()))


def test_rows_that_are_not_finite_are_told() -> None:
    x = normal(2, 3, 8)
    x[0, 0, 0] = np.inf
    assert found(gathering(chain(), {"x": x}))["wq"] == "calibration rows hold NaN or infinite values"
