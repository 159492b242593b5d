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
from regc.passes.rf8 import fit
from regc.passes.rf8.term import RF8Term

Float32 = npt.NDArray[np.float32]
Decode = Callable[[RF8Term], Float32]
MatMul = Callable[[RF8Term, Float32], Float32]
MakeSite = Callable[..., SiteInfo]


def gaussian(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def encode(weight: Float32, *, per_row: bool = True, nearest: bool = False) -> RF8Term:
    return RF8Term(*fit.encode(weight, per_row=per_row, nearest=nearest), weight.shape[1])


# --- the term -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (16, 4), (37, 53), (3, 200)])
@pytest.mark.parametrize("size", [1, 1e-36, 1e-40, 1e38])
def test_the_operator_decodes_to_the_dense_matrix(
    decode: Decode, shape: tuple[int, int], size: float
) -> None:
    term = encode(gaussian(*shape).clip(-3, 3) * np.float32(size))
    np.testing.assert_array_equal(decode(term), term.dense())
    assert term.dense().dtype == np.float32


def test_the_operator_multiplies_by_the_dense_matrix(matmul: MatMul) -> None:
    term, x = encode(gaussian(40, 96)), gaussian(5, 96, seed=1)
    np.testing.assert_allclose(matmul(term, x), x @ term.dense().T, rtol=1e-4, atol=1e-4)


# --- the pass -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (100, 501), (17, 300)])
@pytest.mark.parametrize("scale", ["row", "tensor"])
def test_preview_and_fit_agree(site: MakeSite, shape: tuple[int, int], scale: Any) -> None:
    pass_ = RF8(scale=scale)
    term = pass_.fit(Dense(gaussian(*shape)), site(shape))
    assert (
        pass_.preview(shape, site(shape)) == Preview(term.label, term.nbytes) == Preview("rf8", term.nbytes)
    )
    assert term.nbytes == sum(values.nbytes for values in term.operands().values())
    assert term.shape == shape
    assert term.operands()["shape"].tolist() == [*shape]


def test_options_reach_the_fit(site: MakeSite) -> None:
    weight = gaussian(20, 30) * np.exp2(np.arange(20, dtype=np.float32))[:, None]
    term = RF8(scale="tensor", rounding="nearest").fit(Dense(weight), site(weight.shape))
    expected = encode(weight, per_row=False, nearest=True)
    np.testing.assert_array_equal(term.codes, expected.codes)
    np.testing.assert_array_equal(term.scale, expected.scale)


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
        ({"scale": "group"}, "rf8: scale must be row or tensor, got 'group'"),
        ({"rounding": "up"}, "rf8: rounding must be authors or nearest, got 'up'"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        RF8(**options)
    assert words in str(error.value)
