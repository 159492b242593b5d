from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from regc.compiler.distribution import describe
from regc.compiler.passes import Refusal, SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, relative_error
from regc.passes import RF8
from regc.passes.rf8 import deepshape, fit, second_order, shaped
from regc.passes.rf8.term import RF8Term

from .fitting import gaussian, gram_of, inputs

Float32 = npt.NDArray[np.float32]
Decode = Callable[[RF8Term], Float32]
MakeSite = Callable[..., SiteInfo]


def nearest(weight: Float32) -> RF8Term:
    return RF8Term(*fit.encode(weight, fit.fitted_scales(weight), fit.NEAREST), weight.shape[1])


def second(weight: Float32, statistics: Statistics) -> RF8Term:
    scale = fit.fitted_scales(weight)
    return RF8Term(*second_order.encode(weight, scale, gram_of(statistics)), weight.shape[1])


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (37, 53), (33, 200)])
@pytest.mark.parametrize("size", [1e-36, 1, 1e37])
def test_the_outputs_are_better_kept_than_by_the_nearest(decode: Decode, shape: tuple[int, int], size: float) -> None:
    weight, seen = gaussian(*shape) * np.float32(size), inputs(shape[1])
    term = second(weight, seen)
    np.testing.assert_array_equal(decode(term), term.dense())
    if size == 1:
        error, plain_error = (seen.output_error(t, weight) for t in (term, nearest(weight)))
        assert error is not None
        assert plain_error is not None
        assert error <= plain_error * (1 if shape[1] < 40 else 0.8)


def test_new_inputs_gain_as_well() -> None:
    weight, seen, others = gaussian(64, 96), inputs(96, 2000), inputs(96, 2000, seed=1)
    error, plain_error = (others.output_error(t, weight) for t in (second(weight, seen), nearest(weight)))
    assert error is not None
    assert plain_error is not None
    assert error < 0.7 * plain_error


def test_rows_are_fitted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, seen = gaussian(50, 96), inputs(96)
    whole = seen.output_error(second(weight, seen), weight)
    monkeypatch.setattr(second_order, "_CHUNK", 96 * 16)
    assert seen.output_error(second(weight, seen), weight) == pytest.approx(whole, rel=0.02)


# --- the pass -----------------------------------------------------------------------------------------------


def test_the_best_rounding_for_what_is_known(site: MakeSite) -> None:
    weight, seen = gaussian(32, 45), inputs(45)

    def codes(statistics: Statistics | None, kernel: tuple[int, ...] = (), **options: Any) -> npt.NDArray[np.uint8]:
        term = RF8(**options).fit(Dense(weight), site(weight.shape, kernel=kernel), statistics)
        assert isinstance(term, RF8Term)
        return term.codes

    gptq = second(weight, seen).codes
    smooth = shaped.encode(weight, (3, 5)).codes
    for kernel in ((), (3, 5)):
        np.testing.assert_array_equal(codes(seen, kernel), gptq)
        np.testing.assert_array_equal(codes(seen, kernel, rounding="gptq"), gptq)
        np.testing.assert_array_equal(codes(seen, kernel, rounding="nearest"), nearest(weight).codes)
    np.testing.assert_array_equal(codes(None), nearest(weight).codes)
    np.testing.assert_array_equal(codes(None, (3, 5)), smooth)
    np.testing.assert_array_equal(codes(seen, (3, 5), rounding="shaped"), smooth)
    octave = second_order.encode(weight, fit.octave_scales(weight, fit.NEAREST), gram_of(seen))
    np.testing.assert_array_equal(codes(seen, scale="row"), octave.codes)


def test_what_was_lost_before_is_made_up_for(site: MakeSite) -> None:
    weight, seen = gaussian(32, 64), inputs(64)
    kept, halved = (dataclasses.replace(seen, cross=gram_of(seen) * np.float32(factor)) for factor in (1, 2))
    terms = [RF8().fit(Dense(weight), site(weight.shape), statistics) for statistics in (seen, kept, halved)]
    plain, same, doubled = (term.dense() for term in terms if isinstance(term, RF8Term))
    assert np.linalg.norm(same - plain) < 0.1 * np.linalg.norm(plain)
    assert np.sum(doubled * plain) > 1.2 * np.sum(plain * plain)


def test_gptq_without_inputs_is_refused_in_words(site: MakeSite) -> None:
    answer = RF8(rounding="gptq").fit(Dense(gaussian(32, 64)), site((32, 64)))
    assert isinstance(answer, Refusal)
    assert "needs calibration inputs" in answer.reason


@pytest.mark.parametrize(("rounding", "needs"), [(None, {"gram"}), ("gptq", {"gram"}), ("authors", set())])
def test_only_what_a_rounding_uses_is_gathered(site: MakeSite, rounding: Any, needs: set[str]) -> None:
    assert RF8(rounding=rounding).needs((32, 64), site((32, 64))) == needs


# --- deepshape ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["normal", "laplace"])
def test_narrowed_weights_have_the_shape_asked_for_and_keep_their_order(law: str) -> None:
    weight = getattr(np.random.default_rng(0), law)(0.01, 0.3, (1, 200_000)).astype(np.float32)
    moved = deepshape.narrowed(weight, 0.8)
    assert describe(moved).shape == pytest.approx(0.8 * describe(weight).shape, rel=0.1)
    order = np.argsort(weight[0], kind="stable")
    assert np.all(np.diff(moved[0][order]) >= -1e-4)


def test_rows_keep_their_function_as_well_as_a_scale_can() -> None:
    weight = gaussian(20, 500) * np.geomspace(0.1, 10, 20, dtype=np.float32)[:, None]
    moved = deepshape.narrowed(weight, 0.8)
    slope = np.einsum("nk,nk->n", moved, weight) / np.einsum("nk,nk->n", moved, moved)
    np.testing.assert_allclose(slope, 1, rtol=1e-4)


def test_weights_without_a_law_stay_as_they_are() -> None:
    for weight in (np.zeros((4, 8), np.float32), np.full((4, 8), 0.1, np.float32)):
        np.testing.assert_array_equal(deepshape.narrowed(weight, 0.8), weight)
    lonely = np.zeros((4, 8), np.float32)
    lonely[1, 2] = 3
    assert np.isfinite(deepshape.narrowed(lonely, 0.8)).all()
    outlier = gaussian(1, 256)
    outlier[0, 0] = 1e6  # all the others are within one level of zero
    np.testing.assert_array_equal(deepshape.narrowed(outlier, 0.8), outlier)


def test_deepshape_shows_its_cost_and_its_gain(site: MakeSite) -> None:
    weight = gaussian(64, 512)
    plain, narrow = (RF8(deepshape=d).fit(Dense(weight), site(weight.shape)) for d in (None, 0.7))
    assert isinstance(plain, RF8Term)
    assert isinstance(narrow, RF8Term)
    linear, narrow_linear, codes, narrow_codes = map(float, re.findall(r"\d+\.\d+", narrow.label))
    assert 4 < narrow_linear < linear < 8
    assert 6 < codes < narrow_codes < 7
    assert relative_error(narrow, weight) > relative_error(plain, weight)
    assert narrow.nbytes == plain.nbytes
