"""When low rank is used, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.passes import Preview, Refusal, SiteInfo
from regc.compiler.terms import Dense, Product, relative_error
from regc.passes import LowRank

from .fitting import gaussian

Float32 = npt.NDArray[np.float32]
MakeSite = Callable[..., SiteInfo]


def factorize(pass_: LowRank, weight: Float32, site: SiteInfo) -> tuple[Product, Dense, Dense]:
    """The product that the pass finds, and its two factors."""
    term = pass_.fit(Dense(weight, site.dtype), site)
    assert isinstance(term, Product)
    assert isinstance(term.first, Dense) and isinstance(term.second, Dense)
    return term, term.first, term.second


@pytest.mark.parametrize("options", [{"rank": "pela"}, {"ratio": 3.0, "rank": "pela"}, {"rank": 7}])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_preview_and_fit_agree(site: MakeSite, options: dict[str, Any], dtype: Any) -> None:
    shape, pass_ = (64, 96), LowRank(**options)
    term, first, second = factorize(pass_, gaussian(*shape), site(shape, dtype))
    assert pass_.preview(shape, site(shape, dtype)) == Preview(term.label, term.nbytes)
    assert term.shape == shape
    assert first.dtype == second.dtype == np.dtype(dtype)
    assert term.work == term.rank * sum(shape) < 64 * 96


def test_pela_halves_the_weight(site: MakeSite) -> None:
    term, _, _ = factorize(LowRank(rank="pela"), gaussian(64, 96), site((64, 96)))
    assert term.rank == 20  # 19.2
    assert term.nbytes <= 64 * 96 * 4 / 1.9
    assert relative_error(term, gaussian(64, 96)) < 0.75


def test_factors_hold_what_their_type_holds(site: MakeSite) -> None:
    _, *factors = factorize(LowRank(), gaussian(64, 96), site((64, 96), np.float16))
    for factor in factors:
        np.testing.assert_array_equal(factor.values.astype(np.float16).astype(np.float32), factor.values)
        assert factor.values.dtype == np.float32


def test_energy_chooses_the_rank(site: MakeSite) -> None:
    weight = gaussian(64, 5) @ gaussian(5, 96, seed=1)
    pass_ = LowRank(energy=0.9999)
    assert pass_.preview((64, 96), site((64, 96))) == Preview("rank for 0.9999 of the energy", None)
    assert factorize(pass_, weight, site((64, 96)))[0].rank == 5


def test_energy_that_needs_too_high_a_rank_is_refused(site: MakeSite) -> None:
    answer = LowRank(energy=0.99).fit(Dense(gaussian(64, 64)), site((64, 64)))
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith("rank ") and "of 64x64 takes" in answer.reason


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((64, 64), {"rank": 32}, "rank 32 of 64x64 takes 4096 values, the weight 4096"),
        ((64, 64), {"ratio": 40.0, "rank": "pela"}, "64x64: too small, the rank would be 0"),
        ((9, 512), {}, "9 outputs, fewer than min_outputs=10 (PELA's rule)"),
        ((10, 10), {"rank": 4, "force": True}, "10x10: too small to gain"),
        ((512, 512), {"rank": 240}, "rank 240 of 512x512: two products take about 0.94 times as long as one"),
        ((0, 64), {}, "no values"),
        ((64, 0), {"energy": 0.5}, "no values"),
        ((0, 0), {"ratio": 3.0}, "no values"),
    ],
)
def test_refusals(site: MakeSite, shape: tuple[int, int], options: dict[str, Any], words: str) -> None:
    answer = LowRank(**options).preview(shape, site(shape))
    assert isinstance(answer, Refusal)
    assert words in answer.reason


def test_few_outputs_when_asked(site: MakeSite) -> None:
    assert isinstance(LowRank(min_outputs=1).preview((9, 512), site((9, 512))), Preview)


def test_a_node_that_cannot_be_split(site: MakeSite) -> None:
    shape = (64, 96)
    whole = site(shape, splittable=False)
    answer = LowRank().preview(shape, whole)
    assert isinstance(answer, Refusal)
    assert "multiplied back at load" in answer.reason and "stored=true" in answer.reason
    assert isinstance(LowRank(stored=True).preview(shape, whole), Preview)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 2.0, "rank": 4}, "low-rank: at most one of ratio, rank and energy, got ratio and rank"),
        ({"ratio": 1.0}, "low-rank: ratio must be above 1, got 1.0"),
        ({"ratio": float("nan")}, "got nan"),
        ({"ratio": float("inf")}, "got inf"),
        ({"rank": "some"}, "low-rank: rank must be auto or pela, got 'some'"),
        ({"rank": "pela", "energy": 0.5}, "rank=pela is for a ratio"),
        ({"rank": 0}, "low-rank: rank must be 1 or more, got 0"),
        ({"energy": 0.0}, "low-rank: energy must be between 0 and 1, got 0.0"),
        ({"energy": 1.0}, "got 1.0"),
        ({"min_outputs": -1}, "low-rank: min_outputs must be 0 or more, got -1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        LowRank(**options)
    assert words in str(error.value)


# --- ranks that kernels like ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options", "rank"),
    [
        ((1536, 384), {"ratio": 1.5, "rank": "pela"}, 208),  # 204.8
        ((1536, 384), {"rank": "pela"}, 160),  # 153.6
        ((416, 416), {"rank": "pela"}, 112),  # 104
        ((96, 96), {"rank": "pela"}, 24),
        ((24, 24), {"rank": "pela", "force": True}, 6),  # 4 and 8 are too far
        ((384, 384), {"rank": 100}, 100),
    ],
)
def test_found_ranks_are_multiples_and_given_ones_are_not(
    site: MakeSite, shape: tuple[int, int], options: dict[str, Any], rank: int
) -> None:
    preview = LowRank(**options).preview(shape, site(shape))
    assert preview == Preview(f"rank {rank} (float32 x float32)", rank * sum(shape) * 4)


def test_a_rank_for_energy_keeps_at_least_that(site: MakeSite) -> None:
    weight = np.diag(np.where(np.arange(128) < 59, 1, 1e-3)).astype(np.float32)
    wide = np.concatenate([weight, np.zeros_like(weight)], axis=1)
    assert factorize(LowRank(energy=0.99), wide, site((128, 256)))[0].rank == 64
    assert factorize(LowRank(energy=0.99, force=True), weight, site((128, 128)))[0].rank == 60  # 64 does not pay


# --- low rank to within rounding ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"rank": "pela"}, {"ratio": 20.0, "rank": "pela"}, {"energy": 0.5}, {"rank": 13}])
def test_low_rank_is_kept_whatever_is_asked_for(site: MakeSite, options: dict[str, Any]) -> None:
    weight = gaussian(64, 7) @ gaussian(7, 96, seed=1)
    term, _, _ = factorize(LowRank(**options), weight, site((64, 96)))
    assert term.label == "rank 7, exact (float32 x float32)"
    assert relative_error(term, weight) < 1e-6
    assert term.map_leaves(lambda leaf, path: Dense(leaf.dense().copy())).label == "rank 7 (float32 x float32)"


def test_a_lower_rank_asked_for_by_number_is_not_exact(site: MakeSite) -> None:
    weight = gaussian(64, 7) @ gaussian(7, 96, seed=1)
    assert factorize(LowRank(rank=5), weight, site((64, 96)))[0].label == "rank 5 (float32 x float32)"


# --- the time of two products -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "rank", "rows", "pays"),
    [
        ((1536, 384), 272, None, True),
        ((1536, 384), 280, None, False),
        ((384, 384), 144, 1, False),
        ((384, 384), 112, 1, True),
        ((384, 384), 160, 128, True),
        ((64, 256), 20, 1, False),
        ((64, 256), 32, 100, True),
    ],
)
def test_small_products_of_few_rows_do_not_pay(
    site: MakeSite, shape: tuple[int, int], rank: int, rows: int | None, pays: bool
) -> None:
    place = replace(site(shape), rows=rows)
    answer = LowRank(rank=rank).preview(shape, place)
    assert isinstance(answer, Preview) == pays
    assert isinstance(LowRank(rank=rank, force=True).preview(shape, place), Preview)
    if isinstance(answer, Refusal):
        assert "times as long as one" in answer.reason and "force=true" in answer.reason


def test_what_is_multiplied_back_takes_no_time(site: MakeSite) -> None:
    shape = (512, 512)
    assert isinstance(LowRank(rank=250).preview(shape, site(shape)), Refusal)
    assert isinstance(LowRank(rank=250, stored=True).preview(shape, site(shape, splittable=False)), Preview)
