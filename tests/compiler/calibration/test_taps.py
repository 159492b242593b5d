"""What flows into which operator."""

import numpy as np
import pytest

from regc.compiler.statistics import Statistics
from support import model, normal, run

from .gathered import assert_rows, chain, found, gathering, hidden


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
