"""Positions of convolution kernels as groups: a window stays, and makes up for the others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.passes import GroupSparse
from regc.passes.group_sparse.positions import windows
from tests.support import Array, model, normal, run

LAYERS = """g (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] y) {
    a = Conv <pads: ints = [1, 1, 1, 1]> (x, a_w)
    r = Relu (a)
    y = Conv <pads: ints = [1, 1, 1, 1]> (r, b_w)
}"""


def layers(**weights: Array) -> onnx.ModelProto:
    given = {"a_w": normal(8, 3, 3, 3), "b_w": normal(4, 8, 3, 3, seed=1)} | weights
    return model(LAYERS, **given)


def kernels(proto: onnx.ModelProto) -> list[list[int]]:
    return [list(a.ints) for node in proto.graph.node for a in node.attribute if a.name == "kernel_shape"]


def test_windows_of_a_kernel() -> None:
    assert sorted(map(list, map(np.ndarray.tolist, windows((3,))))) == [
        [0],
        [0, 1],
        [0, 1, 2],
        [0, 2],
        [1],
        [1, 2],
        [2],
    ]
    found = {tuple(window.tolist()) for window in windows((3, 3))}
    assert len(found) == 49 and (0, 2, 6, 8) in found and (0, 1, 3) not in found
    assert (0, 3, 6) in {tuple(window.tolist()) for window in windows((7,))}


def test_the_window_that_matters_most_stays() -> None:
    weight = 0.05 * normal(8, 3, 3, 3)
    weight[:, :, :, 1] = normal(8, 3, 3, seed=1)
    result = compile_model(layers(a_w=weight), "group-sparse{groups=kernel,sparsity=0.6,include=a_w}")
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert kernels(smaller) == [[3, 1]]
    assert [(record.kind, record.units, record.kept) for record in result.report.removed] == [("positions", 9, 3)]
    left = next(tensor for tensor in smaller.graph.initializer if tensor.name == "a_w")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(left), weight[:, :, :, 1:2])


def test_what_stays_makes_up_for_what_goes() -> None:
    """Neighbours of smooth images are nearly alike: one position can do what two did."""
    rng = np.random.default_rng(0)
    smooth = np.repeat(rng.standard_normal((12, 3, 8, 1)), 8, axis=3) + 0.1 * rng.standard_normal((12, 3, 8, 8))
    feeds = [{"x": smooth[[index]].astype(np.float32)} for index in range(12)]
    text = "group-sparse{groups=kernel,sparsity=0.3,include=a_w}"
    errors = []
    for calibration in (None, feeds):
        smaller = compile_model(layers(), text, calibration=calibration).model.to_proto()
        assert np.prod(kernels(smaller)[0]) == 6
        was, now = (run(proto, feeds[0])[0] for proto in (layers(), smaller))
        errors.append(np.linalg.norm(now - was) / np.linalg.norm(was))
    assert errors[1] < 0.6 * errors[0]


def test_zero_positions_go_without_a_loss_and_so_do_filters_of_the_same_kernels() -> None:
    first, second = normal(8, 3, 3, 3), normal(4, 8, 3, 3, seed=1)
    first[:, :, [0, 2]] = 0
    second[:, :, :, 0], second[:, 5] = 0, 0
    first[3], second[:, 3] = first[2], 2 * second[:, 2]
    proto = layers(a_w=first, b_w=second)
    result = compile_model(proto, "group-sparse{exact=true}")
    assert kernels(result.model.to_proto()) == [[1, 3], [3, 2]]
    assert {(record.kind, record.kept) for record in result.report.removed} == {
        ("positions", 3),
        ("positions", 6),
        ("filters", 6),
    }
    x = {"x": normal(2, 3, 8, 8)}
    np.testing.assert_allclose(run(result.model.to_proto(), x)[0], run(proto, x)[0], rtol=1e-4, atol=1e-4)


def test_others_stay() -> None:
    result = compile_model(layers(), "group-sparse{groups=kernel,sparsity=0.05}")
    reasons = {record.kind: record.reason for record in result.units}
    assert GroupSparse(groups="kernel").leaves("filters") == "they are filters, which groups=kernel leaves"
    assert reasons == {
        "positions": "kept whole: 0.05 of 9 positions is less than one of them",
        "filters": "they are in 'y', an output of the graph",
    }


@pytest.mark.parametrize("options", [{"method": "prox"}, {"multiple": 2}, {"measure": "cost"}])
def test_options_that_windows_have_not(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"every window|multiple and measure"):
        GroupSparse(groups="kernel", **options)
