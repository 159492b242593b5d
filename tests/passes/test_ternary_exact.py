from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler.passes import SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, relative_error
from regc.passes import Ternary
from regc.passes.ternary import exact
from regc.passes.ternary.term import TernaryTerm

Float32 = npt.NDArray[np.float32]
MakeSite = Callable[..., SiteInfo]

FLOAT = np.dtype(np.float32)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"group": 64},
    {"group": 16, "method": "lloyd"},
    {"method": "median", "per": "tensor"},
    {"method": "mean", "refit": True},
    {"method": "gptq"},
]


def trits(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32)


def term_of(weight: Float32, dtype: npt.DTypeLike = np.float32) -> TernaryTerm | None:
    found = exact.find(weight, np.dtype(dtype))
    return found and TernaryTerm(*found.fitted, weight.shape[1], found.group)


def row_scales(rows: int, seed: int = 1) -> Float32:
    return np.exp(np.random.default_rng(seed).normal(-4, 2, (rows, 1))).astype(np.float32)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("per", ["tensor", "row", "group"])
def test_ternary_weights_stay_as_they_are_whatever_the_options(
    site: MakeSite, options: dict[str, Any], per: str
) -> None:
    scale = np.float32(0.0371) if per == "tensor" else row_scales(40)
    multipliers = np.random.default_rng(2).integers(1, 65, (40, 6)) if per == "group" else np.ones((40, 6), int)
    weight = trits(40, 192) * np.repeat(multipliers, 32, axis=1).astype(np.float32) * scale
    weight[3] = 0
    inputs = Statistics.of(np.random.default_rng(3).standard_normal((50, 192)))
    for statistics in (None, inputs):
        term = Ternary(**options).fit(Dense(weight), site(weight.shape), statistics)
        assert isinstance(term, TernaryTerm)
        np.testing.assert_array_equal(term.dense(), weight)
        assert term.label == ("ternary/32, exact" if per == "group" else "ternary, exact")


@given(st.integers(1, 33), st.integers(1, 200), st.sampled_from([16, 32, 48, 112]), st.integers(0, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_size_of_group_is_found(rows: int, columns: int, group: int, seed: int, half: bool) -> None:
    multipliers = np.random.default_rng(seed).integers(0, 65, (rows, -(-columns // group)))
    weight = trits(rows, columns, seed=seed) * np.repeat(multipliers, group, axis=1)[:, :columns].astype(np.float32)
    weight *= row_scales(rows)
    stored = np.float16 if half else np.float32
    weight = weight.astype(stored).astype(np.float32)
    term = term_of(weight, stored)
    if not weight.any():
        assert term is None
    else:
        assert term is not None
        assert relative_error(term, weight) <= (2e-3 if half else 0)


def test_a_scale_rounded_once_more_is_the_same_scale() -> None:
    scale = row_scales(24)
    weight = trits(24, 128) * scale
    noisy = np.where((trits(24, 128, seed=4) > 0) & (weight != 0), np.nextafter(weight, np.float32(1)), weight)
    term = term_of(noisy)
    assert term is not None
    assert 0 < relative_error(term, noisy) < 1e-7


@pytest.mark.parametrize("seed", range(4))
def test_float_weights_are_not_taken_for_ternary(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert term_of(random.standard_normal((20, 64)).astype(np.float32)) is None
    one_off = trits(20, 64) * row_scales(20)
    one_off[7, 9] = one_off[7].max() * 1.001
    assert term_of(one_off) is None
    assert term_of(np.zeros((4, 16), np.float32)) is None


def test_group_scales_without_a_common_measure_are_not_exact() -> None:
    scales = np.random.default_rng(0).uniform(0.1, 1, (20, 4)).astype(np.float32)
    assert term_of(trits(20, 64) * np.repeat(scales, 16, axis=1)) is None


def test_large_weights_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = trits(100, 64) * row_scales(100)
    whole = term_of(weight)
    monkeypatch.setattr(exact, "_CHUNK", 1024)
    parts = term_of(weight)
    assert whole is not None
    assert parts is not None
    np.testing.assert_array_equal(whole.codes, parts.codes)
    weight[99, np.argmax(weight[99])] *= 1.5
    assert term_of(weight) is None


def test_many_inputs_in_groups_stay_as_they_are(site: MakeSite) -> None:
    weight = trits(2, 131088)
    weight[:, :16] *= 2
    term = Ternary().fit(Dense(weight), site(weight.shape))
    assert isinstance(term, TernaryTerm)
    assert term.label == "ternary/16, exact"
    np.testing.assert_array_equal(term.dense(), weight)
