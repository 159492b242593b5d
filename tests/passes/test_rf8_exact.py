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
from regc.passes import RF8
from regc.passes.rf8 import exact, fit
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import rf8

Float32 = npt.NDArray[np.float32]
MakeSite = Callable[..., SiteInfo]

FLOAT = np.dtype(np.float32)


def members(*shape: int, seed: int = 0) -> Float32:
    codes = np.random.default_rng(seed).choice(np.flatnonzero(np.arange(256) & 7 != 7), shape)
    weight: Float32 = rf8.VALUES[codes]
    return weight


def scales(rows: int, seed: int = 1) -> Float32:
    return np.exp(np.random.default_rng(seed).normal(-3, 3, (rows, 1))).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"rounding": "nearest"}, {"rounding": "gptq"}, {"scale": "fitted"}])
@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_weights_that_are_rf8_at_any_scale_stay_as_they_are(
    site: MakeSite, options: dict[str, Any], kernel: tuple[int, ...]
) -> None:
    weight = members(40, 90) * scales(40)
    weight[3] = 0
    seen = Statistics.of(np.random.default_rng(0).standard_normal((50, 90)))
    for statistics in [seen] if options.get("rounding") == "gptq" else [None, seen]:
        term = RF8(**options).fit(Dense(weight), site(weight.shape, kernel=kernel), statistics)
        assert isinstance(term, RF8Term)
        np.testing.assert_array_equal(term.dense(), weight)
        assert term.label == "rf8, exact"


@given(st.integers(1, 40), st.integers(1, 150), st.integers(0, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_scales_are_found_in_any_shape_and_type(rows: int, columns: int, seed: int, half: bool) -> None:
    weight = members(rows, columns, seed=seed) * scales(rows).clip(0.1, 10)
    # float16 rounds what is small to fewer digits, so that it is no member any more.
    weight[np.abs(weight) < 1e-3] = 0
    stored = np.float16 if half else np.float32
    weight = weight.astype(stored).astype(np.float32)
    found = exact.scales(weight, np.dtype(stored))
    assert found is not None
    term = RF8Term(*fit.encode(weight, found, fit.NEAREST), columns)
    assert relative_error(term, weight) <= (1e-3 if half else 0)


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_weights_are_not_taken_for_rf8(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert exact.scales(random.standard_normal((20, 64)).astype(np.float32), FLOAT) is None
    weight = members(40, 90) * scales(40)
    weight[37, 80] = np.abs(weight[37]).max() * 0.8
    assert exact.scales(weight, FLOAT) is None


def test_large_weights_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = members(100, 64) * scales(100)
    whole = exact.scales(weight, FLOAT)
    monkeypatch.setattr(exact, "_CHUNK", 2048)
    parts = exact.scales(weight, FLOAT)
    assert whole is not None
    assert parts is not None
    np.testing.assert_array_equal(whole, parts)


def test_scales_of_another_kind_are_taken_when_asked_for(site: MakeSite) -> None:
    weight = members(16, 64) * scales(16)
    term = RF8(scale="row").fit(Dense(weight), site(weight.shape))
    assert isinstance(term, RF8Term)
    assert term.label == "rf8"
    assert set(np.frexp(term.scale)[0].tolist()) == {0.5}
