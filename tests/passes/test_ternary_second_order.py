from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from regc.compiler.passes import Refusal, SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from regc.passes import Ternary
from regc.passes.feedback import damped
from regc.passes.rounding import halved
from regc.passes.ternary import fit, second_order
from regc.passes.ternary.term import TernaryTerm
from regc.runtime_ops.formats import ternary

from .fitting import gaussian, gram_of, inputs

Float32 = npt.NDArray[np.float32]
Decode = Callable[[TernaryTerm], Float32]
MakeSite = Callable[..., SiteInfo]


def term_of(fitted: fit.Fitted, columns: int, group: int | None) -> TernaryTerm:
    return TernaryTerm(*fitted, columns, min(group or columns, columns))


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (37, 53), (33, 200)])
@pytest.mark.parametrize("group", [None, 16, 64])
def test_the_outputs_are_better_kept_than_by_least_squares(
    decode: Decode, shape: tuple[int, int], group: int | None
) -> None:
    weight, seen = gaussian(*shape), inputs(shape[1])
    plain = term_of(fit.fit_rows(weight, "lloyd", group=group), shape[1], group)
    term = term_of(second_order.fit_rows(weight, gram_of(seen), group=group), shape[1], group)
    np.testing.assert_array_equal(decode(term), term.dense())
    error, plain_error = seen.output_error(term, weight), seen.output_error(plain, weight)
    assert error is not None
    assert plain_error is not None
    assert error <= plain_error * (1 + 1e-5)
    if shape[1] > 100:
        assert error < 0.7 * plain_error


def test_new_inputs_gain_as_well() -> None:
    weight, seen, others = gaussian(64, 96), inputs(96, 2000), inputs(96, 4000, seed=1)
    plain = term_of(fit.fit_rows(weight, "lloyd", group=32), 96, 32)
    term = term_of(second_order.fit_rows(weight, gram_of(seen), group=32), 96, 32)
    error, plain_error = others.output_error(term, weight), others.output_error(plain, weight)
    assert error is not None
    assert plain_error is not None
    assert error < 0.7 * plain_error


@pytest.mark.parametrize("group", [None, 32])
def test_rows_are_fitted_alone_and_in_chunks(monkeypatch: pytest.MonkeyPatch, group: int | None) -> None:
    weight, gram = gaussian(50, 96), gram_of(inputs(96))
    whole = term_of(second_order.fit_rows(weight, gram, group=group), 96, group).dense()
    monkeypatch.setattr(second_order, "_CHUNK", 96 * 16)
    parts = term_of(second_order.fit_rows(weight, gram, group=group), 96, group).dense()
    assert np.mean(np.sign(whole) == np.sign(parts)) > 0.99  # products of other sizes are summed in other orders
    np.testing.assert_allclose(np.abs(whole).max(axis=1), np.abs(parts).max(axis=1), rtol=0.02)


@pytest.mark.parametrize("magnitude", [1e-38, 1e-30, 1e30, 3e38])
@pytest.mark.parametrize("group", [None, 16])
def test_weights_at_the_ends_of_float32(magnitude: float, group: int | None) -> None:
    ordinary = gaussian(16, 48) / np.float32(8)
    weight = np.clip(ordinary, -1, 1) * np.float32(magnitude)
    weight[4] = 0
    term = term_of(second_order.fit_rows(weight, gram_of(inputs(48)), group=group), 48, group)
    assert np.isfinite(term.dense()).all()
    assert np.linalg.norm((term.dense() / magnitude - weight / magnitude).astype(np.float64)) < 8
    assert not term.dense()[4].any()
    assert group is None or (term.scale >= np.finfo(np.float32).tiny).all()


def test_infinite_weights_are_an_error() -> None:
    weight = gaussian(4, 16)
    weight[1, 2] = np.nan
    with pytest.raises(ValueError, match="the weight has NaN or infinity"):
        second_order.fit_rows(weight, np.eye(16, dtype=np.float32))


def test_multipliers_use_their_whole_range() -> None:
    fitted = second_order.fit_rows(gaussian(20, 128), gram_of(inputs(128)), group=32)
    multipliers = ternary.unpack_multipliers(fitted.multiplier, 20)
    assert (multipliers.max(axis=1) == ternary.MAX_MULTIPLIER).all()


# --- least squares weighted by second moments ---------------------------------------------------------------


def test_weighted_lloyd_is_lloyd_on_repeated_weights() -> None:
    magnitudes, times = np.abs(gaussian(50)), np.random.default_rng(1).integers(1, 6, 50)
    repeated = fit.lloyd(np.repeat(magnitudes, times))
    assert fit.lloyd(magnitudes, times.astype(np.float32)) == pytest.approx(repeated, rel=1e-6)


@pytest.mark.parametrize("group", [None, 48])
def test_weighted_least_squares_has_less_weighted_error(group: int | None) -> None:
    weight, moments = gaussian(40, 100), np.geomspace(0.01, 10, 100).astype(np.float32)
    found = [fit.fit_rows(weight, "lloyd", group=group, moments=m) for m in (None, moments)]
    plain, weighted = (np.square(term_of(f, 100, group).dense() - weight) @ moments for f in found)
    assert np.all(weighted.sum() < plain.sum())


# --- the pass -----------------------------------------------------------------------------------------------


def test_the_best_method_for_what_is_known(site: MakeSite) -> None:
    weight, seen = gaussian(32, 64), inputs(64)
    moments_only = Statistics(seen.count, seen.mean, seen.peak, seen.second_moment)
    place = site(weight.shape)

    def dense(statistics: Statistics | None, **options: Any) -> Float32:
        term = Ternary(group=32, **options).fit(Dense(weight), place, statistics)
        assert isinstance(term, TernaryTerm)
        return term.dense()

    def expected(fitted: fit.Fitted, *, halves: bool = True) -> Float32:
        scale = halved(fitted.scale) if halves else fitted.scale
        return term_of(fitted._replace(scale=scale), 64, 32).dense()

    second = expected(second_order.fit_rows(weight, gram_of(seen), group=32))
    plain = expected(fit.fit_rows(weight, "lloyd", group=32))
    weighted = expected(fit.fit_rows(weight, "lloyd", group=32, moments=damped(seen.second_moment)))
    np.testing.assert_array_equal(dense(seen), second)
    np.testing.assert_array_equal(dense(seen, method="gptq"), second)
    np.testing.assert_array_equal(dense(None), plain)
    np.testing.assert_array_equal(dense(moments_only), weighted)
    np.testing.assert_array_equal(dense(seen, method="lloyd"), weighted)
    mean = expected(fit.fit_rows(weight, "mean", group=32), halves=False)
    np.testing.assert_array_equal(dense(seen, method="mean"), mean)


def test_what_was_lost_before_is_made_up_for(site: MakeSite) -> None:
    weight, seen = gaussian(32, 64), inputs(64)
    kept, halved = (dataclasses.replace(seen, cross=gram_of(seen) * np.float32(factor)) for factor in (1, 2))
    terms = [
        Ternary(group=32).fit(Dense(weight), site(weight.shape), statistics) for statistics in (seen, kept, halved)
    ]
    plain, same, doubled = (term.dense() for term in terms if isinstance(term, TernaryTerm))
    assert np.linalg.norm(same - plain) < 0.1 * np.linalg.norm(plain)
    assert np.sum(doubled * plain) > 1.2 * np.sum(plain * plain)


def test_gptq_without_inputs_is_refused_in_words(site: MakeSite) -> None:
    answer = Ternary(method="gptq").fit(Dense(gaussian(32, 64)), site((32, 64)))
    assert isinstance(answer, Refusal)
    assert "needs calibration inputs" in answer.reason


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({}, {"gram"}),
        ({"method": "gptq"}, {"gram"}),
        ({"method": "lloyd"}, {"moments"}),
        ({"method": "mean"}, set()),
        ({"per": "tensor"}, set()),
    ],
)
def test_only_what_a_method_uses_is_gathered(site: MakeSite, options: dict[str, Any], needs: set[str]) -> None:
    assert Ternary(**options).needs((32, 64), site((32, 64))) == needs
