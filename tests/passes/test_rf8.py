from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.passes import Preview, Refusal, SiteInfo
from regc.compiler.terms import Dense
from regc.passes import RF8
from regc.passes.rf8 import fit, shaped
from regc.passes.rf8.term import RF8Term

from .fitting import gaussian

Float32 = npt.NDArray[np.float32]
Decode = Callable[[RF8Term], Float32]
MatMul = Callable[[RF8Term, Float32], Float32]
MakeSite = Callable[..., SiteInfo]


def encode(weight: Float32, kind: str = "row", thresholds: tuple[int, ...] = fit.AUTHORS) -> RF8Term:
    if kind == "fitted":
        scale = fit.fitted_scales(weight)
    else:
        scale = fit.octave_scales(weight, thresholds, per_row=kind == "row")
    return RF8Term(*fit.encode(weight, scale, thresholds), weight.shape[1])


# --- the term -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (16, 4), (37, 53), (3, 200)])
@pytest.mark.parametrize("size", [1, 1e-36, 1e-40, 1e38])
@pytest.mark.parametrize("scale", ["row", "fitted"])
def test_the_operator_decodes_to_the_dense_matrix(
    decode: Decode, shape: tuple[int, int], size: float, scale: str
) -> None:
    term = encode(gaussian(*shape).clip(-3, 3) * np.float32(size), scale)
    np.testing.assert_array_equal(decode(term), term.dense())
    assert term.dense().dtype == np.float32


def test_the_operator_multiplies_by_the_dense_matrix(matmul: MatMul) -> None:
    term, x = encode(gaussian(40, 96)), gaussian(5, 96, seed=1)
    np.testing.assert_allclose(matmul(term, x), x @ term.dense().T, rtol=1e-4, atol=1e-4)


# --- the pass -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (100, 501), (17, 300)])
@pytest.mark.parametrize(
    "options", [{}, {"scale": "row"}, {"scale": "tensor"}, {"rounding": "authors"}, {"rounding": "nearest"}]
)
def test_preview_and_fit_agree(site: MakeSite, shape: tuple[int, int], options: Any) -> None:
    pass_ = RF8(**options)
    term = pass_.fit(Dense(gaussian(*shape)), site(shape))
    assert pass_.preview(shape, site(shape)) == Preview(term.label, term.nbytes) == Preview("rf8", term.nbytes)
    assert term.nbytes == sum(values.nbytes for values in term.operands().values())
    assert term.shape == shape
    assert term.operands()["shape"].tolist() == [*shape]


@pytest.mark.parametrize(
    ("options", "kind", "thresholds"),
    [
        ({"rounding": "authors"}, "row", fit.AUTHORS),
        ({"rounding": "authors", "scale": "tensor"}, "tensor", fit.AUTHORS),
        ({"rounding": "authors", "scale": "fitted"}, "fitted", fit.AUTHORS),
        ({"rounding": "nearest"}, "fitted", fit.NEAREST),
        ({"rounding": "nearest", "scale": "row"}, "row", fit.NEAREST),
        ({"rounding": "nearest", "scale": "tensor"}, "tensor", fit.NEAREST),
        ({"scale": "tensor"}, "tensor", fit.NEAREST),
    ],
)
@pytest.mark.parametrize("kernel", [(), (3, 5)])
def test_options_reach_the_fit(
    site: MakeSite, options: Any, kind: str, thresholds: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    weight = gaussian(20, 30) * np.exp2(np.arange(20, dtype=np.float32))[:, None]
    assert_same(RF8(**options).fit(Dense(weight), site(weight.shape, kernel=kernel)), encode(weight, kind, thresholds))


def test_convolutions_are_shaped(site: MakeSite) -> None:
    weight = gaussian(20, 30)
    term = RF8().fit(Dense(weight), site(weight.shape, kernel=(3, 5)))
    assert_same(term, RF8Term(*shaped.encode(weight, (3, 5)), 30))
    assert not np.array_equal(term.codes, encode(weight, "fitted", fit.NEAREST).codes)


@pytest.mark.parametrize(
    ("shape", "whole", "kernel"),
    [
        ((20, 30), (20, 30), ()),
        ((20, 30), (20, 30), (1, 1)),
        ((20, 5), (20, 30), (3, 5)),  # the second factor of a kernel: its inputs are no taps
        ((2, 2049), (2, 2049), (2049,)),
    ],
)
def test_what_has_no_taps_to_shape_is_rounded_to_the_nearest(
    site: MakeSite, shape: tuple[int, int], whole: tuple[int, int], kernel: tuple[int, ...]
) -> None:
    weight = gaussian(*shape)
    term = RF8().fit(Dense(weight), site(whole, kernel=kernel))
    assert_same(term, encode(weight, "fitted", fit.NEAREST))


def assert_same(one: RF8Term, two: RF8Term) -> None:
    np.testing.assert_array_equal(one.codes, two.codes)
    np.testing.assert_array_equal(one.scale, two.scale)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((3, 3), np.float32, "3x3: too small to gain"),
        ((64, 64), np.int8, "too small to gain"),
        ((0, 64), np.float32, "no values"),
        ((64, 0), np.float32, "no values"),
    ],
)
def test_refusals(site: MakeSite, shape: tuple[int, int], dtype: Any, words: str) -> None:
    answer = RF8().preview(shape, site(shape, dtype))
    assert isinstance(answer, Refusal)
    assert words in answer.reason


def test_half_precision_gains(site: MakeSite) -> None:
    assert isinstance(RF8().preview((64, 64), site((64, 64), np.float16)), Preview)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": "group"}, "rf8: scale must be fitted or row or tensor, got 'group'"),
        ({"deepshape": 1.0}, "rf8: deepshape must be above 0 and below 1, got 1.0"),
        ({"deepshape": 0.0}, "got 0.0"),
        ({"rounding": "up"}, "rf8: rounding must be gptq or shaped or authors or nearest, got 'up'"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        RF8(**options)
    assert words in str(error.value)
