import numpy as np
import pytest

from regc.compiler.calibration import tally as module
from regc.compiler.calibration.tally import Tally
from regc.compiler.statistics import Statistics


def rows(count: int, inputs: int = 6, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, inputs)) * 3 + 1).astype(np.float32)


@pytest.mark.parametrize("needs", [{"moments"}, {"gram"}, {"gram", "quantiles"}])
def test_blocks_give_the_statistics_of_all_rows(needs: set[str]) -> None:
    x, tally = rows(500), Tally(6, needs)  # type: ignore[arg-type]
    for part in np.array_split(x, [1, 1, 90, 400]):
        tally.add(part)
    found, expected = tally.result(), Statistics.of(x)
    assert found.count == 500
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(found.second_moment, expected.second_moment, rtol=1e-5)
    np.testing.assert_allclose(found.peak, expected.peak)
    assert (found.gram is None) == ("gram" not in needs)
    assert (found.sample is None) == ("quantiles" not in needs)
    if found.gram is not None:
        np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-4)


def test_the_sample_is_bounded_and_gives_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 256)
    x, tally = rows(20_000), Tally(6, {"quantiles"})
    for part in np.array_split(x, 40):
        tally.add(part)
    found = tally.result()
    assert found.sample is not None
    assert found.sample.shape == (256, 6)
    assert {row.tobytes() for row in found.sample} <= {row.tobytes() for row in x}
    below = np.mean(x < found.quantiles(0.5), axis=0)
    np.testing.assert_allclose(below, 0.5, atol=5 * np.sqrt(0.25 / 256))


def test_the_sample_follows_the_seed() -> None:
    x = rows(5000)
    samples = []
    for seed in (1, 1, 2):
        tally = Tally(6, {"quantiles"}, seed)
        tally.add(x)
        samples.append(tally.result().sample)
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.array_equal(samples[0], samples[2])


def test_no_rows_are_no_statistics() -> None:
    tally = Tally(6, {"gram"})
    tally.add(rows(0))
    with pytest.raises(ValueError, match="no rows"):
        tally.result()


def test_pairs_give_the_product_with_what_was_there_before() -> None:
    x, before, tally = rows(300), rows(300, seed=1), Tally(6, {"gram"}, paired=True)
    for part, earlier in zip(np.array_split(x, 4), np.array_split(before, 4), strict=True):
        tally.add(part, earlier)
    found = tally.result()
    assert found.cross is not None
    np.testing.assert_allclose(found.cross, before.T @ x / 300, rtol=1e-4, atol=1e-4)
    assert found.mean_before is not None
    np.testing.assert_allclose(found.mean_before, before.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("odd", [None, rows(7)])
def test_rows_that_are_no_pairs_leave_the_rest_as_it_is(odd: np.ndarray | None) -> None:
    x, tally = rows(300), Tally(6, {"gram"}, paired=True)
    tally.add(x[:100], x[:100])
    tally.add(x[100:], odd)
    found = tally.result()
    assert found.cross is None and found.mean_before is None
    np.testing.assert_allclose(found.mean, Statistics.of(x).mean, rtol=1e-5)
    plain = Tally(6, {"gram"})
    plain.add(x, x)
    unpaired = plain.result()
    assert unpaired.cross is None and unpaired.mean_before is None


def test_pairs_without_a_gram_matrix_have_the_mean_alone() -> None:
    x, before, tally = rows(30), rows(30, seed=1), Tally(6, {"moments"}, paired=True)
    tally.add(x, before)
    found = tally.result()
    assert found.cross is None and found.mean_before is not None
    np.testing.assert_allclose(found.mean_before, before.mean(0), rtol=1e-5, atol=1e-6)


def test_a_mean_that_is_not_finite_is_not_known() -> None:
    tally = Tally(6, {"gram"}, paired=True)
    tally.add(rows(30), rows(30) * np.float32(np.inf))
    assert tally.result().mean_before is None
