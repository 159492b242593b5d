"""Units that remember samples, and units that training has turned off."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.passes.neuron_mask.memorizing import participation, spectrum
from regc.passes.neuron_mask.polarized import gap
from regc.passes.neuron_mask.rewrite import NeuronMask
from tests.support import Array, model, normal, run

TEXT = """g (float[n, 16] x) => (float[n, 4] y) {
    a = Gemm (x, up_w, up_b)
    r = Relu (a)
    y = MatMul (r, down_w)
}"""


def remembering(units: int = 12, which: tuple[int, ...] = (2, 7)) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """A network in which some units answer to one sample each, loudly, and the others to waves."""
    place, seen = np.arange(16), normal(64, 16)
    up = np.stack([np.cos(2 * np.pi * (1 + unit % 7) * place / 16 + unit) for unit in range(units)], 1)
    bias = np.full(units, 0.5)
    for count, unit in enumerate(which):
        sample = seen[count] / np.linalg.norm(seen[count])
        up[:, unit] = 10 * sample
        bias[unit] = -10 * np.sort(seen @ sample)[-2] - 0.1
    weights = {"up_w": up.astype(np.float32), "up_b": bias.astype(np.float32), "down_w": normal(units, 4)}
    return model(TEXT, **weights), [{"x": rows} for rows in seen.reshape(8, 8, 16)]


@pytest.mark.parametrize("basis", ["samples", "fourier", "dct"])
def test_units_that_remember_samples_go_first(basis: str) -> None:
    proto, feeds = remembering()
    result = compile_model(
        proto, f"neuron-mask{{keep=0.8333,score=ipr,basis={basis},compensate=false}}", calibration=feeds
    )
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert [(r.units, r.kept) for r in result.report.removed] == [(12, 10)]
    left = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in smaller.graph.initializer}
    np.testing.assert_array_equal(left["up_b"], np.full(10, 0.5, np.float32))
    unseen = {"x": normal(200, 16, seed=9)}
    was, now = run(proto, unseen)[0], run(smaller, unseen)[0]
    assert np.median(np.abs(was - now).max(1)) == 0  # most samples do not notice


@given(st.integers(1, 20), st.integers(0, 5))
def test_a_wave_is_in_one_place_of_its_basis_and_an_impulse_in_all(count: int, seed: int) -> None:
    impulse = np.eye(count)[seed % count]
    assert participation(impulse) == pytest.approx(1)
    assert participation(spectrum(impulse, "fourier")) == pytest.approx(1 / count)
    wave = np.cos(np.pi * (np.arange(count) + 0.5) * (seed % count) / count)
    assert participation(spectrum(wave, "dct")) == pytest.approx(1)
    vector = normal(count, seed=seed)
    assert np.linalg.norm(spectrum(vector, "dct")) ** 2 == pytest.approx(
        2 * count * np.linalg.norm(vector) ** 2, rel=1e-5
    )


def test_the_gap_between_two_clusters_of_scales() -> None:
    scales = np.array([0.9, 1e-9, 0.5, 0.004, 0.7, 0.02])
    threshold = gap(scales)
    assert threshold is not None
    assert 0.02 < threshold < 0.5
    assert gap(np.linspace(0.2, 1, 20)) is None
    assert gap(np.zeros(4)) is None
    assert gap(np.ones(1)) is None


def test_the_lower_cluster_of_scales_goes() -> None:
    scale = np.array([1, 0.02, 0.8, 0.01, 0.7, 1.2, 0.015, 0.9], np.float32)
    proto = model(
        """g (float[n, 2, 6, 6] x) => (float[n, 3, 4, 4] y) {
            a = Conv <pads: ints = [1, 1, 1, 1]> (x, c1_w)
            b = BatchNormalization (a, scale, shift, mean, variance)
            r = Relu (b)
            y = Conv (r, c2_w)
        }""",
        c1_w=normal(8, 2, 3, 3),
        scale=scale,
        shift=np.full(8, 0.1, np.float32),
        mean=np.zeros(8, np.float32),
        variance=np.ones(8, np.float32),
        c2_w=normal(3, 8, 3, 3),
    )
    feeds = [{"x": normal(4, 2, 6, 6, seed=seed)} for seed in range(8)]
    result = compile_model(proto, "neuron-mask{score=gap}", calibration=feeds)
    onnx.checker.check_model(result.model.to_proto(), full_check=True)
    assert [(r.name, r.kept) for r in result.report.removed] == [("c1_w", 5)]
    was, now = run(proto, feeds[0])[0], run(result.model.to_proto(), feeds[0])[0]
    assert np.linalg.norm(now - was) / np.linalg.norm(was) < 0.1
    assert "needs calibration inputs" in str(compile_model(proto, "neuron-mask{score=gap}").report)


def test_no_gap_and_no_scales_are_told() -> None:
    proto, feeds = remembering()
    assert "they go through none" in str(compile_model(proto, "neuron-mask{score=gap}", calibration=feeds).report)
    assert "score=ipr needs calibration" in str(compile_model(proto, "neuron-mask{score=ipr,keep=0.5}").report)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"score": "gap", "keep": 0.5}, "not with score=gap"),
        ({"score": "gap", "mode": "dynamic"}, "score=gap is for mode=static"),
        ({"score": "ipr"}, "score=ipr is for mode=static"),
    ],
)
def test_scores_that_cannot_be_meant(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        NeuronMask(**options)  # type: ignore[arg-type]
