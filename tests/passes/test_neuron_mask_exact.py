"""Units that go without changing any output: by the weights alone, at the borders of images, behind gates."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from tests.support import Array, model, normal, run

TEXT = """g (float[n, 2, 6, 6] x) => (float[n, 3, 6, 6] y) {
    a = Conv <pads: ints = [1, 1, 1, 1]> (x, c1_w)
    b = BatchNormalization (a, scale, shift, mean, variance)
    r = Relu (b)
    y = Conv <pads: ints = [PADS], kernel_shape: ints = [3, 3]> (r, c2_w)
}"""


def network(pads: str) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """Filters 1 and 6 are dead, 2 and 5 are constants by a scale of zero."""
    scale, shift = normal(8), np.ones(8, np.float32)
    scale[[1, 2, 5, 6]], shift[[1, 2, 5, 6]] = 0, [-1, 0.5, 1.5, -2]
    proto = model(
        TEXT.replace("PADS", pads).replace(
            "y) {" if pads[0] == "1" else "6, 6] y) {", "y) {" if pads[0] == "1" else "4, 4] y) {"
        ),
        c1_w=normal(8, 2, 3, 3),
        scale=scale,
        shift=shift,
        mean=normal(8, seed=4),
        variance=1 + np.abs(normal(8, seed=5)),
        c2_w=normal(3, 8, 3, 3),
    )
    return proto, [{"x": normal(2, 2, 6, 6, seed=seed)} for seed in range(4)]


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(("pads", "kept"), [("0, 0, 0, 0", 4), ("1, 1, 1, 1", 5)])
def test_scales_of_zero_go_and_at_borders_one_constant_carries_the_others(
    pads: str, kept: int, calibrated: bool
) -> None:
    proto, feeds = network(pads)
    result = compile_model(proto, "neuron-mask{keep=1}", calibration=feeds if calibrated else None)
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert [(record.name, record.kept) for record in result.report.removed] == [("c1_w", kept)]
    np.testing.assert_allclose(run(smaller, feeds[0])[0], run(proto, feeds[0])[0], rtol=1e-5, atol=1e-5)


def test_zero_rows_are_constants_through_activations_pooling_and_a_product_with_zero() -> None:
    weights = {
        "c1_w": normal(6, 2, 3, 3),
        "c1_b": normal(6),
        "f_w": normal(6 * 4, 3),
        "gate": np.ones((6, 1, 1), np.float32),
    }
    weights["c1_w"][[0, 3]] = 0
    weights["gate"][4] = 0
    proto = model(
        """g (float[n, 2, 6, 6] x) => (float[n, 3] y) {
            a = Conv (x, c1_w, c1_b)
            s = Sigmoid (a)
            h = Mul (s, gate)
            m = MaxPool <kernel_shape: ints = [2, 2], strides: ints = [2, 2]> (h)
            f = Flatten (m)
            y = MatMul (f, f_w)
        }""",
        **weights,
    )
    result = compile_model(proto, "neuron-mask{keep=1}")
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert [record.kept for record in result.report.removed] == [3]
    x = {"x": normal(2, 2, 6, 6)}
    np.testing.assert_allclose(run(smaller, x)[0], run(proto, x)[0], rtol=1e-5, atol=1e-5)


def test_a_depthwise_convolution_of_nothing_is_its_bias() -> None:
    weights = {"c1_w": normal(4, 2, 1, 1), "d_w": normal(4, 1, 3, 3), "d_b": normal(4), "c2_w": normal(3, 4, 1, 1)}
    weights["c1_w"][1] = 0
    weights["d_w"][2] = 0
    proto = model(
        """g (float[n, 2, 5, 5] x) => (float[n, 3, 5, 5] y) {
            a = Conv (x, c1_w)
            d = Conv <pads: ints = [1, 1, 1, 1], group: int = 4> (a, d_w, d_b)
            y = Conv (d, c2_w)
        }""",
        **weights,
    )
    result = compile_model(proto, "neuron-mask{keep=1}")
    assert [record.kept for record in result.report.removed] == [2]
    x = {"x": normal(2, 2, 5, 5)}
    np.testing.assert_allclose(run(result.model.to_proto(), x)[0], run(proto, x)[0], rtol=1e-5, atol=1e-5)
