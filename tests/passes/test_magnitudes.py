"""Weights near the ends of float32, without overflow on the way."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from regc.compiler.passes import Pass, SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Term
from regc.passes import RF8, Int, Ternary
from support import normal

INPUTS = Statistics.of(normal(300, 64))
PAIRED = replace(INPUTS, cross=INPUTS.gram * np.float32(0.9) if INPUTS.gram is not None else None)
SITE = SiteInfo("w", ("MatMul",), ("node",), (48, 64), np.dtype(np.float32), True, True)


@pytest.mark.parametrize("magnitude", [3e38, 1e37, 1e-30])
@pytest.mark.parametrize("inputs", [None, INPUTS, PAIRED], ids=["blind", "seen", "paired"])
@pytest.mark.parametrize("pass_", [Ternary(), Ternary(group=16), RF8(), Int(bits=4), Int()], ids=str)
def test_fits_of_any_magnitude(pass_: Pass, inputs: Statistics | None, magnitude: float) -> None:
    """They lose hardly more than those of magnitude one, and warn of nothing."""
    weight = np.random.default_rng(0).uniform(-1, 1, (48, 64)).astype(np.float32)
    weight[3] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, great = (pass_.fit(Dense(weight * np.float32(m)), SITE, inputs) for m in (1, magnitude))
        assert isinstance(one, Term)
        assert isinstance(great, Term)
        lost = INPUTS.output_error(great, weight * np.float32(magnitude))
        expected = INPUTS.output_error(one, weight)
    assert lost is not None
    assert expected is not None
    assert lost < 1.5 * expected < 0.6
