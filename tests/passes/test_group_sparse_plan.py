"""One budget of blocks for all weights of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler import Dense, SiteInfo, Statistics, Surveyed, compile_model
from regc.passes import GroupSparse
from regc.passes.group_sparse.plan import WHOLE, choices, curve, levels
from support import model, normal, run

LAYERS = """g (float[n,96] x) => (float[n,96] y) {
    h = MatMul(x, easy)
    r = Relu(h)
    y = MatMul(r, hard)
}"""


def layers() -> onnx.ModelProto:
    easy = normal(96, 256) * np.where(np.arange(96)[:, None] < 20, 1, 0.05).astype(np.float32)
    return model(LAYERS, easy=easy, hard=normal(256, 96, seed=1))


def surveyed(weight: Any, rows: Any, effect: float | None) -> Surveyed:
    info = SiteInfo("w", ("MatMul",), ("node",), (len(weight), weight.shape[1]), np.dtype(np.float32), True, True)
    return Surveyed(
        info, Dense(weight), None if rows is None else Statistics.of(rows), lambda matrix: effect, lambda: Dense(weight)
    )


@pytest.mark.parametrize("block", [1, 4])
def test_the_errors_of_a_curve_are_those_of_elimination(block: int) -> None:
    weight, rows = normal(70, 101), normal(500, 101, seed=1)
    points = curve(surveyed(weight, rows, 0.5), 0.5, block)
    assert points is not None
    assert [point.choice for point in points] == [*range(10, 90, 5), WHOLE]
    errors = [point.error for point in points[:-1]]
    assert errors == sorted(errors)
    some = GroupSparse(groups=f"blocks(16x{block})", scope="weight", sparsity=0.6).fit(
        Dense(weight), surveyed(weight, rows, 0.5).site, Statistics.of(rows)
    )
    most = GroupSparse(groups=f"blocks(16x{block})", scope="weight", sparsity=0.8).fit(
        Dense(weight), surveyed(weight, rows, 0.5).site, Statistics.of(rows)
    )
    assert not isinstance(some, str) and not isinstance(most, str)
    lost = [np.square(rows @ (term.dense() - weight).T).sum() for term in (some, most)]  # type: ignore[union-attr]
    at = {point.choice: point.error for point in points}
    assert at[60] / at[80] == pytest.approx(lost[0] / lost[1], rel=0.15)


def test_what_nothing_is_known_of_has_no_curve() -> None:
    weight, rows = normal(64, 96), normal(300, 96, seed=1)
    assert curve(surveyed(weight, rows, None), 0.5, 1) is None
    assert curve(surveyed(weight, None, 0.5), 0.5, 1) is None
    assert curve(surveyed(np.zeros_like(weight), rows, 0.0), 0.5, 1) is None


def test_weights_that_matter_keep_more() -> None:
    weight, rows = normal(64, 96), normal(300, 96, seed=1)
    found = {name: curve(surveyed(weight, rows, effect), 0.5, 1) for name, effect in (("a", 0.1), ("b", 0.4))}
    shares = levels({name: points for name, points in found.items() if points is not None}, 0.5)
    assert shares["b"] < 50 < shares["a"]
    assert sum(shares.values()) / 2 < 54


def test_of_many_weights_none_has_a_share_that_is_slower_than_the_whole() -> None:
    rows = normal(300, 96, seed=1)
    found = {str(n): curve(surveyed(normal(32, 96, seed=n), rows, 0.02 * (1 + n)), 0.5, 1) for n in range(24)}
    shares = levels({name: points for name, points in found.items() if points is not None}, 0.5)
    assert all(share == WHOLE or share >= 60 for share in shares.values())
    assert 0.5 <= sum(shares.values()) / 2400 < 0.52


@pytest.mark.parametrize(("sparsity", "top"), [(0.1, 85), (0.7, 85), (0.8, 90), (0.91, 96), (0.97, 97)])
def test_there_are_choices_beyond_what_is_asked_for(sparsity: float, top: int) -> None:
    found = choices(sparsity)
    assert (found[0], found[-1]) == (10, top)
    assert found == sorted(set(found))
    assert found[-1] >= 100 * sparsity


def test_what_is_too_sparse_to_share_out_is_alike() -> None:
    assert curve(surveyed(normal(64, 96), normal(300, 96, seed=1), 0.5), 0.98, 1) is None


def test_levels_follow_the_weights_and_the_model_gains() -> None:
    proto, x = layers(), normal(20, 96, seed=5)
    inputs = [{"x": part} for part in np.split(normal(800, 96, seed=3), 8)]
    shared = compile_model(proto, "group-sparse", calibration=inputs)
    onnx.checker.check_model(shared.model.to_proto())
    alike = compile_model(proto, "group-sparse{scope=weight}", calibration=inputs)
    assert [record.after for record in alike.records] == ["50% sparse 16x1 (float32)"] * 2
    easy, hard = shared.records
    assert easy.decisions[0].allotted.startswith("sparsity=0.")
    share = float(easy.decisions[0].allotted.partition("sparsity=")[2].split(",")[0])
    assert share > 0.6
    assert easy.after == f"{100 * share:.3g}% sparse 16x1 (float32)"
    assert hard.nbytes_after > alike.records[1].nbytes_after
    kept = sum(record.nbytes_after for record in shared.records) / sum(r.nbytes_after for r in alike.records)
    assert 0.9 < kept < 1.1
    expected = run(proto, {"x": x})[0]
    lost = [np.linalg.norm(run(r.model.to_proto(), {"x": x}, library=True)[0] - expected) for r in (shared, alike)]
    assert lost[0] < 0.9 * lost[1]


def test_without_inputs_all_weights_have_the_same_share() -> None:
    records = compile_model(layers(), "group-sparse{sparsity=0.6}").records
    assert [record.after for record in records] == ["60% sparse 16x1 (float32)"] * 2
    assert [record.decisions[0].allotted for record in records] == ["scope=weight"] * 2
