import dataclasses

import numpy as np
import pytest

from regc.compiler.statistics import Statistics, inputs_at
from regc.compiler.terms import Dense, Product, Sum
from support import normal


def rows(count: int = 200, inputs: int = 12, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, inputs)) @ rng.standard_normal((inputs, inputs)) + 0.5).astype(np.float32)


def test_of_rows() -> None:
    x = np.array([[1, -4], [3, 2]], np.float32)
    found = Statistics.of(x)
    assert found.count == 2
    np.testing.assert_array_equal(found.mean, [2, -1])
    np.testing.assert_array_equal(found.peak, [3, 4])
    np.testing.assert_array_equal(found.second_moment, [5, 10])
    np.testing.assert_array_equal(found.gram, [[5, 1], [1, 10]])
    assert found.sample is None


@pytest.mark.parametrize("sample", [False, True])
def test_through_a_factor_is_what_its_outputs_have(sample: bool) -> None:
    x, factor = rows(), normal(5, 12)
    expected, found = Statistics.of(x @ factor.T, sample=sample), Statistics.of(x, sample=sample).through(factor)
    assert found.count == expected.count
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.second_moment, expected.second_moment, rtol=1e-4)
    np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-4, atol=1e-5)
    assert (found.peak >= expected.peak * (1 - 1e-6)).all()
    if sample:
        np.testing.assert_allclose(found.sample, expected.sample, rtol=1e-4, atol=1e-5)


def test_what_was_there_before_goes_through_a_factor_too() -> None:
    x, before, factor = rows(), rows(seed=4), normal(5, 12)
    cross = (before.T @ x / len(x)).astype(np.float32)
    seen = dataclasses.replace(Statistics.of(x), cross=cross, mean_before=before.mean(0))
    expected = (before @ factor.T).T @ (x @ factor.T) / len(x)
    np.testing.assert_allclose(seen.through(factor).cross, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen.through(factor).mean_before, (before @ factor.T).mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen.of_inputs(np.array([3, 1])).mean_before, before.mean(0)[[3, 1]])


def test_through_without_a_gram_matrix_takes_the_inputs_for_uncorrelated() -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 6)) + np.arange(6)
    found = Statistics.of(x, gram=False).through(normal(3, 6))
    assert found.gram is None
    np.testing.assert_allclose(found.second_moment, Statistics.of(x @ normal(3, 6).T).second_moment, rtol=0.05)


def test_the_output_error_is_that_of_the_products() -> None:
    x, before, after = rows(), normal(7, 12), normal(7, 12, seed=1)
    expected = np.linalg.norm(x @ (after - before).T) / np.linalg.norm(x @ before.T)
    assert Statistics.of(x).output_error(Dense(after), before) == pytest.approx(expected, rel=1e-4)
    assert Statistics.of(x, gram=False).output_error(Dense(after), before) is None


def test_the_output_error_of_outputs_of_zero() -> None:
    x = rows()
    x[:, 5:] = 0
    before = normal(3, 12)
    before[:, :5] = 0
    assert Statistics.of(x).output_error(Dense(before), before) == 0
    assert Statistics.of(x).output_error(Dense(normal(3, 12, seed=1)), before) == np.inf


def test_quantiles_come_from_the_sample() -> None:
    x = rows(1001)
    found = Statistics.of(x, sample=True).quantiles([0.1, 0.5])
    np.testing.assert_allclose(found, np.quantile(x, [0.1, 0.5], axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match="quantiles"):
        Statistics.of(x).quantiles(0.5)


def test_what_flows_into_the_leaves_of_a_term() -> None:
    first, second, third = Dense(normal(4, 3)), Dense(normal(3, 12)), Dense(normal(4, 12))
    term, whole = Sum(Product(first, second), third), Statistics.of(rows())
    assert inputs_at(term, "", whole) is whole
    assert inputs_at(term, "B", whole) is whole
    assert inputs_at(term, "A.B", whole) is whole
    found = inputs_at(term, "A.A", whole)
    assert found is not None
    np.testing.assert_allclose(found.mean, second.values @ whole.mean, rtol=1e-6)
    assert inputs_at(term, "A.A", None) is None
    with pytest.raises(KeyError):
        inputs_at(term, "B.A", whole)


def test_statistics_of_some_inputs() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 7))
    part, own = Statistics.of(rows, sample=True).of_inputs(slice(2, 5)), Statistics.of(rows[:, 2:5], sample=True)
    for name in ("mean", "peak", "second_moment", "gram", "sample"):
        np.testing.assert_allclose(getattr(part, name), getattr(own, name), rtol=1e-6)
