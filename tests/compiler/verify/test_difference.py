import math
from typing import Any

import numpy as np
import pytest

from regc.compiler.verify import OutputError, Verification
from regc.compiler.verify.difference import Tally


def measured(*pairs: tuple[Any, Any]) -> OutputError:
    tally = Tally("y")
    for original, compressed in pairs:
        tally.add(original, compressed)
    return tally.result()


def test_the_figures_follow_their_formulas_over_all_feeds() -> None:
    y = [np.float32([[3, 4]]), np.float32([[0, 12]])]
    z = [np.float32([[3, 5]]), np.float32([[2, 12]])]
    error = measured(*zip(y, z, strict=True))
    assert (error.count, error.differ) == (4, 2)
    assert error.max_abs == 2
    assert error.mean_abs == 3 / 4
    assert error.sqnr_db == pytest.approx(10 * math.log10((9 + 16 + 144) / (1 + 4)))
    assert error.cosine == pytest.approx((9 + 20 + 144) / math.sqrt(169 * (9 + 25 + 4 + 144)))
    assert error.comparable


def test_equal_outputs_are_exact_also_where_both_are_nan_or_infinite() -> None:
    y = np.float32([1, np.nan, np.inf, -np.inf])
    error = measured((y, y.copy()))
    assert (error.differ, error.max_abs, error.mean_abs, error.sqnr_db, error.cosine) == (
        0,
        0,
        0,
        math.inf,
        1,
    )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e38])
def test_a_value_that_stops_being_finite_is_an_infinite_error(wrong: float) -> None:
    error = measured((np.float32([1, 2, np.inf]), np.float32([1, wrong, -np.inf])))
    assert error.differ == 2
    assert (error.max_abs, error.mean_abs, error.sqnr_db) == (math.inf, math.inf, -math.inf)


def test_outputs_without_a_finite_value_are_not_exact() -> None:
    lost = measured((np.full(4, np.nan), np.full(4, np.nan)))
    assert (lost.count, lost.finite, lost.differ) == (4, 0, 0)
    assert lost.note == "no finite value to compare"
    assert math.isnan(lost.sqnr_db)
    assert math.isnan(lost.cosine)
    check = Verification("1 feed given", (lost,), (), "ok", "ok")
    assert check.missed(1e9, None) == check.missed(None, -1e9) == ["y: no finite value to compare"]
    assert check.doubts == "warning: y: no finite value to compare"


def test_values_that_stop_being_finite_have_no_cosine() -> None:
    error = measured((np.ones(4), np.full(4, np.nan)))
    assert (error.finite, error.differ, error.max_abs, error.sqnr_db) == (0, 4, math.inf, -math.inf)
    assert math.isnan(error.cosine)


def test_empty_outputs_are_not_exact_either() -> None:
    assert measured((np.zeros((0, 4)), np.zeros((0, 4)))).note == "no value to compare"


@pytest.mark.parametrize(("after", "doubtful"), [([1, 0.9], False), ([1, -1], True), ([2.2, 1.8], True)])
def test_outputs_with_little_in_common_are_warned_of(after: list[float], doubtful: bool) -> None:
    check = Verification("1 feed given", (measured((np.ones(2), np.array(after))),), (), "ok", "ok")
    assert check.doubts.startswith("warning: y has little in common") == doubtful
    assert ("--exclude" in check.doubts) == doubtful
    assert check.verdict() == (0, "")


def test_zero_outputs_that_become_something_have_no_signal() -> None:
    error = measured((np.zeros(3), np.ones(3)))
    assert (error.sqnr_db, error.cosine, error.max_abs) == (-math.inf, 0, 1)


def test_booleans_and_strings_count_the_share_that_differs() -> None:
    flags = measured((np.array([True, False, True, True]), np.array([True, True, True, True])))
    words = measured((np.array(["a", "b"], object), np.array(["a", "c"], object)))
    assert (flags.differ, flags.mean_abs, flags.max_abs) == (1, 0.25, 1)
    assert (words.differ, words.mean_abs, words.max_abs) == (1, 0.5, 1)


def test_sequences_of_maps_are_compared_by_keys_and_values() -> None:
    same = measured(([{0: 0.5, 1: 0.25}], [{0: 0.5, 1: 0.25}]))
    other = measured(([{0: 0.5, 1: 0.25}], [{0: 0.5, 2: 0.5}]))
    assert (same.count, same.differ) == (4, 0)
    assert (other.differ, other.max_abs) == (2, 1)


def test_another_shape_is_not_compared_and_said() -> None:
    error = measured((np.zeros((5, 4)), np.zeros((6, 4))))
    assert error.note == "shape [5, 4] became [6, 4]: not compared"
    assert not error.comparable
    assert math.isnan(error.sqnr_db)
