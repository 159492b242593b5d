"""Single weights as groups: a smaller file, decoded when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler import compile_model
from regc.compiler.passes import Refusal
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from regc.passes import RF8, GroupSparse
from regc.passes.group_sparse.term import Sparse
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import sparse
from tests.support import Array, model, normal, run

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.floats(0, 1))
def test_round_trip(shape: tuple[int, int], share: float) -> None:
    keep = np.random.default_rng(0).random(shape) < share
    weight = np.where(keep, normal(*shape), np.float32(0))
    packed = sparse.pack(weight, keep)
    np.testing.assert_array_equal(sparse.unpack(packed, shape), weight)
    size = packed.values.nbytes + packed.mask.nbytes + 4 * shape[0]
    assert sparse.packed_nbytes(shape, int(keep.sum()), 4) == size


@pytest.mark.parametrize("method", [None, "prox", "energy", "pst"])
def test_half_of_the_weights_stay_and_make_up_for_the_others(
    method: Any, site: Callable[..., Any], decode: Callable[[Any], Array]
) -> None:
    weight = normal(20, 33)
    rows = normal(200, 33, seed=1) @ normal(33, 33, seed=2)
    pass_ = GroupSparse(groups="weights", method=method)
    term = pass_.fit(Dense(weight), site(weight.shape), Statistics.of(rows))
    assert isinstance(term, Sparse)
    assert int(term.keep.sum()) == 330 and not term.dense()[~term.keep].any()
    np.testing.assert_array_equal(decode(term), term.dense())
    dropped = np.where(term.keep, weight, 0)
    losses = [np.linalg.norm(rows @ (found - weight).T) for found in (term.dense(), dropped)]
    assert losses[0] < losses[1]
    coded = term.map_leaves(lambda leaf, _: RF8().fit(leaf, site(weight.shape)))
    assert isinstance(coded, Sparse) and isinstance(coded.values, RF8Term)
    np.testing.assert_array_equal(decode(coded), coded.dense())
    assert coded.nbytes < term.nbytes


def layers(opset: int) -> onnx.ModelProto:
    text = """g (float[n, 3, 8, 8] x) => (float[n, 400] y) {
        a = Conv (x, kernel)
        m = GlobalAveragePool (a)
        f = Flatten (m)
        y = MatMul (f, weight)
    }"""
    return model(text, opset=opset, kernel=normal(500, 3, 3, 3), weight=normal(500, 400, seed=1))


@pytest.mark.parametrize("opset", [9, 10, 11, 17])
@pytest.mark.parametrize("passes", ["", ",rf8"])
def test_models_of_any_opset_compute_with_what_is_kept(opset: int, passes: str) -> None:
    proto = layers(opset)
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[::2] = 0
        values = np.sign(values).astype(np.float32) if passes else values  # RF8 has them all
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    result = compile_model(proto, f"group-sparse{{groups=weights}}{passes}")
    assert [record.info.name for record in result.records if record.changed] == ["kernel", "weight"]
    assert all(record.error == 0 for record in result.records)
    compiled, x = result.model.to_proto(), {"x": normal(2, 3, 8, 8)}
    onnx.checker.check_model(compiled)
    np.testing.assert_allclose(run(compiled, x)[0], run(proto, x)[0], rtol=1e-5, atol=1e-5)


def test_what_is_looked_up_stays(site: Callable[..., Any]) -> None:
    answer = GroupSparse(groups="weights").preview((90, 80), replace(site((90, 80)), multiplied=False))
    assert isinstance(answer, Refusal) and "no product or convolution" in answer.reason


def test_in_training_what_is_left_out_stays_zero(site: Callable[..., Any]) -> None:
    term = GroupSparse(groups="weights", sparsity=0.7).fit(Dense(normal(20, 33)), site((20, 33)))
    assert isinstance(term, Sparse)
    trained = term.trainable(lambda _: normal(20, 33))
    np.testing.assert_array_equal(trained.weight().detach().numpy(), term.dense())
    trained.weight().square().sum().backward()
    assert all(not part.grad[~term.keep].any() for part in trained.parameters() if part.grad is not None)
    again = trained.term()
    assert isinstance(again, Sparse)
    np.testing.assert_array_equal(again.dense(), term.dense())
