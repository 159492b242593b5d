from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.passes.feedback import DAMPING, NOISE, damped, descend, feedback, in_turn, towards

Float32 = npt.NDArray[np.float32]


def gram_of(inputs: int, seed: int = 0, rows: int = 200) -> Float32:
    """The Gram matrix of correlated inputs, some of which carry far more than others."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, inputs)) @ random.standard_normal((inputs, inputs)) * np.geomspace(1, 10, inputs)
    gram: Float32 = (x.T @ x / rows).astype(np.float32)
    return gram


def to_integer(_: int, wanted: Float32) -> Float32:
    return np.rint(wanted)


def loss(missed: Float32, gram: Float32) -> npt.NDArray[np.float64]:
    wide = missed.astype(np.float64)
    return np.einsum("kn,kn->n", wide, gram @ wide)


def weights(inputs: int, outputs: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(0, 1.5, (inputs, outputs)).astype(np.float32)


def test_the_factor_gives_back_the_damped_matrix_in_its_order() -> None:
    gram = gram_of(24)
    given_ = feedback(gram)
    power = np.trace(gram) / 24
    np.testing.assert_allclose(given_.gram, gram / power + DAMPING * np.eye(24), rtol=1e-5, atol=1e-6)
    ordered = given_.gram[np.ix_(given_.order, given_.order)].astype(np.float64)
    inverse = np.linalg.inv(given_.asked.astype(np.float64))
    rest = inverse @ ordered @ inverse.T
    np.testing.assert_allclose(rest, np.diag(np.diagonal(rest)), atol=1e-3)
    assert np.all(np.diff(np.diagonal(ordered)) <= 0)


@given(st.integers(1, 150), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_each_step_makes_the_outputs_better_than_rounding(inputs: int, seed: int) -> None:
    weight, prepared = weights(inputs, 9, seed), feedback(gram_of(inputs, seed))
    rounded = in_turn(weight, prepared, to_integer)
    assert np.array_equal(rounded, np.rint(rounded))
    plain, turned = (loss(weight - q, prepared.gram) for q in (np.rint(weight), rounded))
    assert turned.sum() <= plain.sum() * (1 + 1e-5)
    missed = weight - rounded
    descend(rounded, missed, prepared, to_integer)
    assert np.array_equal(rounded, np.rint(rounded))
    np.testing.assert_allclose(missed, weight - rounded, atol=1e-4)
    assert np.all(loss(missed, prepared.gram) <= turned * (1 + 1e-4) + 1e-4)


def test_it_comes_near_to_the_best_of_all_roundings() -> None:
    weight, prepared = weights(8, 30), feedback(gram_of(8))
    corners = np.array(list(itertools.product((0, 1), repeat=8)), np.float32)[:, :, None] + np.floor(weight)
    best = sum(np.min([loss(weight - corner, prepared.gram) for corner in corners], axis=0))
    rounded = in_turn(weight, prepared, to_integer)
    missed = weight - rounded
    for _ in range(3):
        descend(rounded, missed, prepared, to_integer)
    assert loss(weight - np.rint(weight), prepared.gram).sum() > 1.7 * best
    assert loss(missed, prepared.gram).sum() < 1.5 * best


def test_only_the_inputs_named_move() -> None:
    weight, prepared = weights(70, 5), feedback(gram_of(70))
    rounded = np.zeros_like(weight)
    descend(rounded, weight.copy(), prepared, to_integer, slice(10, 30))
    assert not rounded[:10].any()
    assert not rounded[30:].any()
    assert rounded[10:30].any()


def test_uncorrelated_inputs_are_rounded_alone() -> None:
    weight = weights(40, 6)
    prepared = feedback(np.diag(np.arange(1, 41)).astype(np.float32))
    np.testing.assert_array_equal(in_turn(weight, prepared, to_integer), np.rint(weight))


def test_inputs_that_never_speak() -> None:
    weight = weights(20, 4)
    silent = gram_of(20)
    silent[5] = silent[:, 5] = 0
    rounded = in_turn(weight, feedback(silent), to_integer)
    np.testing.assert_array_equal(rounded[5], np.rint(weight[5]))
    nothing = np.zeros((20, 20), np.float32)
    np.testing.assert_array_equal(in_turn(weight, feedback(nothing), to_integer), np.rint(weight))
    assert np.array_equal(damped(np.zeros(3)), np.ones(3))


def test_a_gram_matrix_of_less_than_full_rank() -> None:
    weight, prepared = weights(64, 5), feedback(gram_of(64, rows=3))
    assert np.isfinite(in_turn(weight, prepared, to_integer)).all()


def test_infinite_inputs_are_an_error() -> None:
    gram = gram_of(4)
    gram[1, 1] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        feedback(gram)


def test_second_moments_are_damped_in_units_of_their_mean() -> None:
    np.testing.assert_allclose(damped(np.array([0.0, 2.0, 4.0])), np.array([0, 1, 2]) + DAMPING, rtol=1e-6)


def test_the_weight_to_round_to_makes_up_for_what_was_lost_before() -> None:
    random = np.random.default_rng(0)
    before = (random.standard_normal((2000, 12)) @ random.standard_normal((12, 12))).astype(np.float32)
    after = (before @ random.normal(0, 0.2, (12, 12)) + 0.7 * before).astype(np.float32)
    weight = weights(5, 12)
    gram, cross = after.T @ after / 2000, before.T @ after / 2000
    wanted = towards(weight, gram, cross)
    outputs = before @ weight.T
    missed, passed_on = np.linalg.norm(after @ wanted.T - outputs), np.linalg.norm(after @ weight.T - outputs)
    assert missed < 0.6 * passed_on
    noisy = gram + NOISE * np.trace(gram) / 12 * np.eye(12)
    np.testing.assert_allclose((wanted - weight) @ noisy, weight @ (cross - gram), rtol=1e-2, atol=1e-2)


def test_without_anything_lost_the_weight_stays() -> None:
    weight, gram = weights(5, 12), gram_of(12)
    np.testing.assert_array_equal(towards(weight, gram, None), weight)
    np.testing.assert_allclose(towards(weight, gram, gram), weight, atol=1e-6)
    nothing = np.zeros((12, 12), np.float32)
    np.testing.assert_array_equal(towards(weight, nothing, nothing), weight)
    with pytest.raises(ValueError, match="NaN or infinity"):
        towards(weight, gram, np.full_like(gram, np.nan))
