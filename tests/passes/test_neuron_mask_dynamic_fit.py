from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler.filters import BINS, Activity
from regc.passes.neuron_mask.thresholds import Gate, compensate, gate_for
from support import normal

Float32 = npt.NDArray[np.float32]


def heavy_tailed(count: int, inputs: int, seed: int = 0) -> Float32:
    """Rows as a trained layer sees them: a few large values, inputs of unlike sizes, which share a part."""
    random = np.random.default_rng(seed)
    rows = random.standard_t(4, (count, inputs)) * np.logspace(0, -0.7, inputs)
    return (rows + 0.5 * random.standard_normal((count, 4)) @ random.standard_normal((4, inputs))).astype(np.float32)


def error(weight: Float32, rows: Float32, sparsity: float, *, wina: bool, seen: Float32 | None = None) -> float:
    """Of the outputs of rows; with ``seen``, rows to fit on, centred and compensated."""
    fitted = rows if seen is None else seen
    gate = gate_for(weight, fitted, sparsity, wina=wina, topk=False, centred=seen is not None)
    found = compensate(weight, gate, fitted, refit=seen is not None)
    outputs = gate.enter(rows) @ found.weight.T + (0 if found.offset is None else found.offset)
    return float(np.linalg.norm(outputs - rows @ weight.T) / np.linalg.norm(rows @ weight.T))


@pytest.mark.parametrize("seed", range(4))
def test_random_layers_lose_less_by_wina_than_by_magnitude_and_least_by_ours(seed: int) -> None:
    weight = normal(96, 128, seed=seed) * np.random.default_rng(seed).lognormal(0, 0.6, 128).astype(np.float32)
    every = heavy_tailed(1024, 128, seed)
    seen, rows = every[:768], every[768:]
    teal, wina = error(weight, rows, 0.65, wina=False), error(weight, rows, 0.65, wina=True)
    assert wina < 0.9 * teal
    assert error(weight, rows, 0.65, wina=True, seen=seen) < 0.8 * teal


def test_the_error_is_that_of_the_skipped_inputs_for_orthogonal_columns() -> None:
    weight = np.linalg.qr(normal(64, 64))[0].astype(np.float32) * np.linspace(0.2, 3, 64, dtype=np.float32)
    rows = normal(200, 64, seed=1)
    gate = gate_for(weight, rows, 0.5, wina=True, topk=True, centred=False)
    lost = np.square((rows - gate.enter(rows)) @ weight.T).sum(1)
    scores = np.sort(np.square(rows) * np.square(weight).sum(0), axis=1)
    np.testing.assert_allclose(lost, scores[:, :32].sum(1), rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(2, 60), st.floats(0.01, 0.99), st.booleans(), st.booleans())
def test_any_shape(outputs: int, inputs: int, sparsity: float, topk: bool, centred: bool) -> None:
    weight, rows = normal(outputs, inputs), heavy_tailed(80, inputs)
    gate = gate_for(weight, rows, sparsity, wina=True, topk=topk, centred=centred)
    found = compensate(weight, gate, rows, refit=True)
    assert found.weight.shape == weight.shape
    assert np.isfinite(found.weight).all()
    used = gate.used(rows)
    if topk:
        assert (used.sum(1) >= max(1, inputs - round(sparsity * inputs))).all()
    else:
        assert abs(used.mean() - (1 - sparsity)) <= 1 / used.size + 1e-9


def test_an_input_that_stays_where_it_is_is_skipped_and_counts_in_full() -> None:
    weight, rows = normal(20, 30), normal(400, 30, seed=1)
    rows[:, 7] = 5 + 0.01 * rows[:, 7]
    gate = gate_for(weight, rows, 0.3, wina=True, topk=False, centred=True)
    assert gate.centre is not None
    assert gate.centre[7] == pytest.approx(5, abs=0.01)
    assert not gate.used(rows)[:, 7].any()
    found = compensate(weight, gate, rows, refit=False)
    np.testing.assert_array_equal(found.weight, weight)
    assert found.offset is not None
    np.testing.assert_allclose(found.offset, weight @ gate.centre, rtol=1e-5)


def test_inputs_around_zero_get_no_centre_and_independent_ones_no_compensation() -> None:
    weight, rows = normal(20, 30), normal(1024, 30, seed=1)
    gate = gate_for(weight, rows, 0.5, wina=True, topk=False, centred=True)
    found = compensate(weight, gate, rows, refit=True)
    assert gate.centre is None
    assert found.offset is None
    np.testing.assert_array_equal(found.weight, weight)


def test_zeros_are_skipped_though_half_of_the_inputs_are_zero() -> None:
    rows = np.maximum(normal(100, 30), 0)
    gate = gate_for(normal(20, 30), rows, 0.2, wina=True, topk=False, centred=False)
    np.testing.assert_array_equal(gate.used(rows), rows > 0)


def test_what_is_no_number_is_used() -> None:
    gate = Gate(np.ones(3, np.float32), 10.0)
    np.testing.assert_array_equal(gate.used(np.float32([[np.nan, np.inf, 1]])), [[True, True, False]])


def test_outputs_that_are_zero_and_rows_that_are_alike_are_no_trouble() -> None:
    rows = np.ones((50, 8), np.float32)
    for weight in (np.zeros((4, 8), np.float32), normal(4, 8)):
        gate = gate_for(weight, rows, 0.5, wina=True, topk=False, centred=True)
        assert np.isfinite(compensate(weight, gate, rows, refit=True).weight).all()


def test_activity_has_the_rows_by_how_much_they_use() -> None:
    found = Activity.of(np.array([[True] * 10, [True] * 5 + [False] * 5, [False] * 10, [True] + [False] * 9]))
    assert found.share == pytest.approx(0.4)
    assert len(found.histogram) == BINS
    assert found.histogram == (0.25, 0.25, 0, 0, 0, 0.25, 0, 0, 0, 0.25)
