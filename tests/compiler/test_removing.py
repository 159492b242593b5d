"""Sets of units that meet in one weight are removed together, and what makes up for them is cut with it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from tests.support import Array, model, normal, run


def same(proto: onnx.ModelProto, text: str, x: Array) -> dict[str, int]:
    """The units that stay, after nothing was lost."""
    result = compile_model(proto, text)
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    np.testing.assert_allclose(run(smaller, {"x": x})[0], run(proto, {"x": x})[0], rtol=1e-4, atol=1e-4)
    return {record.name: record.kept for record in result.report.removed}


def test_a_new_bias_is_cut_with_the_weight_that_it_is_of() -> None:
    """A constant unit leaves a bias in the weight that reads it, of which a unit goes, too."""
    up, down = normal(16, 32), normal(24, 8, seed=2)
    up[:, 3] = 0
    down[5] = 0
    proto = model(
        """g (float[n, 16] x) => (float[n, 8] y) {
            a = Gemm (x, up_w, up_b)
            r = Relu (a)
            b = MatMul (r, middle)
            s = Relu (b)
            y = MatMul (s, down)
        }""",
        up_w=up,
        up_b=np.abs(normal(32)),
        middle=normal(32, 24, seed=1),
        down=down,
    )
    assert same(proto, "group-sparse{exact=true}", normal(4, 16)) == {"up_w": 31, "middle": 23}


BLOCK = """g (float[n, 4, 6, 6] x) => (float[n, 8, 6, 6] y) {
    a = Conv (x, first)
    r = Relu (a)
    b = Conv <pads: ints = [1, 1, 1, 1]> (r, inner)
    s = Relu (b)
    c = Conv <pads: ints = [1, 1, 1, 1]> (s, outer)
    d = Add (c, r)
    e = Relu (d)
    y = Conv (e, last)
}"""


def block(*, dead: bool) -> onnx.ModelProto:
    """A block of a residual network; ``dead`` filters 1 and 4 of those that are summed are zero, 2 within is unread."""
    first, inner = normal(8, 4, 1, 1), normal(6, 8, 3, 3, seed=1)
    outer, last = normal(8, 6, 3, 3, seed=2), normal(8, 8, 1, 1, seed=3)
    if dead:
        first[[1, 4]], outer[[1, 4]], outer[:, 2] = 0, 0, 0
    return model(BLOCK, first=first, inner=inner, outer=outer, last=last)


def test_a_residual_sum_and_what_is_within_lose_filters_at_once() -> None:
    kept = same(block(dead=True), "group-sparse{exact=true}", normal(2, 4, 6, 6))
    assert kept == {"first": 6, "inner": 5}


@pytest.mark.parametrize("calibrated", [False, True])
def test_sets_that_share_weights_are_chosen_and_refit_together(*, calibrated: bool) -> None:
    feeds = [{"x": normal(2, 4, 6, 6, seed=seed)} for seed in range(4)] if calibrated else None
    text = "group-sparse{groups=filters,sparsity=0.25,scope=weight,multiple=1}"
    result = compile_model(block(dead=False), text, calibration=feeds)
    assert {record.name: record.kept for record in result.report.removed} == {"first": 6, "inner": 4}
    shapes = {tensor.name: list(tensor.dims)[:2] for tensor in result.model.to_proto().graph.initializer}
    assert shapes == {"first": [6, 4], "inner": [4, 6], "outer": [6, 4], "last": [8, 6]}


JOINED = """g (float[n, 8] x) => (float[n, 4] y) {
    a = MatMul (x, a_w)
    r = Relu (a)
    j = Concat <axis: int = -1> (x, r)
    y = MatMul (j, down)
}"""


def test_what_stays_makes_up_for_units_beside_others() -> None:
    """A unit that is the sum of two others, next to inputs that are not cut: nothing is lost by a refit."""
    rng = np.random.default_rng(0)
    a_w = np.abs(normal(8, 6))
    a_w[:, 5] = a_w[:, 0] + a_w[:, 1]
    proto = model(JOINED, a_w=a_w, down=normal(14, 4, seed=1))
    feeds = [{"x": rng.random((40, 8)).astype(np.float32)} for _ in range(4)]
    text = "group-sparse{groups=neurons,sparsity=0.17,scope=weight}"
    result = compile_model(proto, text, calibration=feeds)
    assert {record.name: record.kept for record in result.report.removed} == {"a_w": 5}
    before, after = run(proto, feeds[0])[0], run(result.model.to_proto(), feeds[0])[0]
    assert np.linalg.norm(after - before) < 0.02 * np.linalg.norm(before)
