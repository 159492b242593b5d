"""One budget of low rank for all weights of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler import Calibration, Dense, SiteInfo, Statistics, Surveyed, compile_model
from regc.compiler.terms import Float32
from regc.passes import LowRank
from regc.passes.low_rank.plan import WHOLE, Cost, Curve, Form, curve, ranks
from regc.passes.low_rank.rounding import STEPS
from regc.passes.low_rank.spatial import Spatial
from support import model, normal, op_types, run

LAYERS = """g (float[n,128] x) => (float[n,128] y) {
    h = MatMul(x, plain)
    r = Relu(h)
    s = MatMul(r, thin)
    y = MatMul(s, last)
}"""


def falling(rows: int, columns: int, pace: float, seed: int) -> Float32:
    """A weight whose singular values fall by ``pace`` each."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (rows, columns))
    count = min(rows, columns)
    values: Float32 = (left[:, :count] * pace ** np.arange(count) @ right[:count]).astype(np.float32)
    return values


def layers(**changes: Float32) -> onnx.ModelProto:
    weights = {"plain": normal(128, 256), "thin": falling(256, 128, 0.9, 1), "last": normal(128, 128, seed=2)}
    return model(LAYERS, **(weights | changes))


def always(rank: int) -> bool:
    return True


def surveyed(weight: Float32, inputs: Statistics | None = None, effect: float | None = None) -> Surveyed:
    info = SiteInfo("w", ("MatMul",), ("node",), (len(weight), weight.shape[1]), np.dtype(np.float32), True, True)
    return Surveyed(info, Dense(weight), inputs, lambda matrix: effect, lambda: Dense(weight))


def test_ranks_follow_the_spectra_and_the_budget_is_kept() -> None:
    proto = layers()
    result = compile_model(proto, "low-rank{ratio=1.5}")
    onnx.checker.check_model(result.model.to_proto())
    records = {record.info.name: record for record in result.records}
    (thin,) = records["thin"].decisions
    rank = int(thin.allotted.removeprefix("rank="))
    assert rank % STEPS[0] == 0
    assert rank < 85 / 1.5
    assert thin.after == f"rank {rank} (float32 x float32)"
    before = sum(record.nbytes_before for record in result.records)
    after = sum(record.nbytes_after for record in result.records)
    assert 1.5 <= before / after < 1.8
    whole = [record.reason for record in result.records if not record.changed]
    assert whole
    assert all("kept whole: for ratio 1.5 of all weights together" in reason for reason in whole)


def test_the_shares_are_computed_with() -> None:
    proto, x = layers(), normal(5, 128)
    result = compile_model(proto, LowRank(ratio=1.5), calibration=[{"x": normal(600, 128, seed=3)}])
    compressed = result.model.to_proto()
    assert op_types(compressed).count("MatMul") == 3 + sum(record.changed for record in result.records)
    expected, found = run(proto, {"x": x})[0], run(compressed, {"x": x})[0]
    assert np.linalg.norm(found - expected) < 0.5 * np.linalg.norm(expected)
    fair = compile_model(proto, LowRank(ratio=1.5, rank="pela"), calibration=[{"x": normal(600, 128, seed=3)}])
    uniform = run(fair.model.to_proto(), {"x": x})[0]
    assert np.linalg.norm(found - expected) < 0.7 * np.linalg.norm(uniform - expected)


def test_weights_that_matter_to_the_model_get_more() -> None:
    weights = {str(index): falling(128, 128, 0.97, index) for index in range(2)}
    effects = {"0": 0.01, "1": 0.5}
    curves = {name: curve(surveyed(weight, effect=effects[name]), 2, always) for name, weight in weights.items()}
    found = ranks(curves, 2)
    assert found["0"].rank < (found["1"].rank or 128)
    assert sum((form.rank or 64) * 256 for form in found.values()) <= 2 * 128 * 128 / 2
    alike = ranks({name: curve(surveyed(weight), 2, always) for name, weight in weights.items()}, 2)
    assert abs(alike["0"].rank - alike["1"].rank) <= STEPS[0]


def test_outputs_count_by_their_own_energy() -> None:
    weight = falling(128, 128, 0.97, 0)
    loud = weight * np.where(np.arange(128) == 5, 1000, 1)[:, None].astype(np.float32)
    one, other = (curve(surveyed(values), 2, always) for values in (weight, loud))
    errors = [[cost.error for cost in found.costs.values()] for found in (one, other)]
    shares = [error / sum(found) for found in errors for error in found[:3]]
    np.testing.assert_allclose(shares[:3], shares[3:], rtol=0.25)


def test_weights_of_unknown_effect_count_as_the_others_do() -> None:
    costs = curve(surveyed(falling(64, 64, 0.9, 0)), 2, always).costs
    curves = {name: Curve(costs, worth, 64 * 64, 4) for name, worth in (("a", 3.0), ("b", None), ("c", 3.0))}
    assert len(set(ranks(curves, 2).values())) <= 2


def test_an_exact_weight_has_no_other_choice() -> None:
    weight = normal(128, 9) @ normal(9, 128, seed=1)
    found = curve(surveyed(weight, effect=0.1), 2, always)
    assert found.costs == {Form(9): Cost(9 * 256, 0.0)}
    result = compile_model(layers(last=weight), "low-rank{ratio=1.5}")
    assert result.records[2].after == "rank 9, exact (float32 x float32)"
    assert (result.records[2].error or 1) < 1e-6


@pytest.mark.parametrize(("shape", "ratio", "step"), [((128, 128), 2, 16), ((64, 16), 2, 4), ((12, 12), 5, 1)])
def test_ranks_have_the_steps_that_there_is_room_for(shape: tuple[int, int], ratio: float, step: int) -> None:
    forms = list(curve(surveyed(falling(*shape, 0.99, 0)), ratio, lambda rank: rank < 50).costs)
    assert forms[-1] == WHOLE
    most = forms[-2].rank
    assert forms[:-1] == [Form(rank) for rank in range(step, most + 1, step)]
    assert most * sum(shape) <= shape[0] * shape[1]
    assert most < 50


# --- convolutions -------------------------------------------------------------------------------------------


def kernels(**changes: Float32) -> onnx.ModelProto:
    """Two convolutions: one of few channels in between, one that is nearly separable into more."""
    noise = np.float32(0.05) * normal(32, 32, 3, 3, seed=9)
    through = np.einsum("nr,rchw->nchw", normal(32, 8), normal(8, 32, 3, 3, seed=1))
    along = np.einsum("nrw,rch->nchw", normal(32, 16, 3, seed=2), normal(16, 32, 3, seed=3))
    text = """g (float[n,32,9,9] x) => (float[n,32,h,w] y) {
        c = Conv<pads=[1,1,1,1]>(x, through) r = Relu(c) y = Conv<pads=[1,1,1,1]>(r, along) }"""
    return model(text, through=(through + noise).astype(np.float32), along=(along + noise).astype(np.float32))


def test_convolutions_get_the_split_that_loses_less_for_its_bytes() -> None:
    calibration = [{"x": normal(8, 32, 9, 9, seed=5)}]
    result = compile_model(kernels(), LowRank(ratio=1.8), calibration=calibration)
    words = {record.info.name: (record.after, record.decisions[0].allotted) for record in result.records}
    assert words["along"] == ("rank 16 by 3x1 and 1x3 (float32 x float32)", "rank=16, split=spatial")
    assert words["through"][1].endswith("split=channels")
    small, x = result.model.to_proto(), normal(2, 32, 9, 9, seed=6)
    onnx.checker.check_model(small, full_check=True)
    (expected,), (found,) = run(kernels(), {"x": x}), run(small, {"x": x})
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)
    asked = compile_model(kernels(), LowRank(ratio=1.8, split="channels"), calibration=calibration)
    assert [record.decisions[0].allotted for record in asked.records if record.info.name == "along"] != words["along"][
        1
    ]
    assert not any("3x1" in record.after for record in asked.records)


def test_a_separable_kernel_has_no_other_choice() -> None:
    weight = np.einsum("nrw,rch->nchw", normal(32, 10, 3), normal(10, 32, 3, seed=1)).reshape(32, -1)
    spatial = Spatial(weight.shape, (3, 3))
    found = curve(surveyed(np.ascontiguousarray(weight, np.float32), effect=0.1), 2, always, spatial)
    assert found.costs == {Form(10, "spatial"): Cost(10 * 6 * 32, 0.0)}


def test_both_splits_are_in_one_curve_unless_one_is_asked_for() -> None:
    weight, spatial = normal(32, 288), Spatial((32, 288), (3, 3), 2)
    splits = [
        {form.split for form in curve(surveyed(weight), 2, always, spatial, both=both).costs} for both in (True, False)
    ]
    assert splits == [{"channels", "spatial", None}, {"spatial", None}]
    found = curve(surveyed(weight), 2, always, spatial)
    assert found.costs[Form(16, "spatial")].values == 16 * 6 * 32
    ranks = [form.rank for form in found.costs if form.split == "spatial"]
    assert max(ranks) * (2 * 96 + 96) <= weight.size


@pytest.mark.parametrize("sequential", [True, False])
def test_effects_are_those_of_the_model(sequential: bool) -> None:
    proto, x = layers(), normal(200, 128, seed=3)
    seen: dict[str, float | None] = {}

    class Asking(LowRank):
        def plan(self, surveyed: Any) -> Any:
            for survey in surveyed:
                seen[survey.site.name] = survey.effect(survey.weight.values * np.float32(0.5))
                assert survey.effect(survey.weight.values) == 0
            return {}

    calibration = Calibration([{"x": part} for part in np.split(x, 10)], sequential=sequential)
    compile_model(proto, [Asking()], calibration=calibration)
    assert seen["thin"] == seen["last"] == pytest.approx(0.5, abs=1e-4)
    assert seen["plain"] == pytest.approx(0.5, abs=1e-4)


def test_an_effect_does_not_count_what_is_masked() -> None:
    text = "g (float[b,4,64] x, int64[b,4] m) => (float[b,4,64] y, int64[b,4] n) { y = MatMul(x, w) n = Neg(m) }"
    proto = model(text, w=normal(64, 64))
    x, mask = normal(8, 4, 64), np.ones((8, 4), np.int64)
    x[:, 3], mask[:, 3] = 1000, 0
    x[:, :3, 32:] = 0
    halved = normal(64, 64).copy()
    halved[32:] = 0
    seen: list[float | None] = []

    class Asking(LowRank):
        def plan(self, surveyed: Any) -> Any:
            seen.extend(survey.effect(np.ascontiguousarray(halved.T)) for survey in surveyed)
            return {}

    compile_model(proto, [Asking()], calibration=Calibration([{"x": x, "m": mask}], mask="m"))
    assert seen == [pytest.approx(0, abs=1e-6)]
