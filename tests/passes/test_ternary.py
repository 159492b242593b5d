from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.passes import Preview, Refusal, SiteInfo
from regc.compiler.terms import Dense, relative_error
from regc.passes import Ternary
from regc.passes.rounding import halved
from regc.passes.ternary import fit
from regc.passes.ternary.term import TernaryTerm

from .fitting import gaussian

Float32 = npt.NDArray[np.float32]
Decode = Callable[[TernaryTerm], Float32]
MatMul = Callable[[TernaryTerm, Float32], Float32]
MakeSite = Callable[..., SiteInfo]

METHODS: tuple[fit.Method, ...] = ("lloyd", "mean", "median")


def term_of(fitted: fit.Fitted, columns: int, group: int | None = None) -> TernaryTerm:
    return TernaryTerm(*fitted, columns, min(group or columns, columns))


def snr(weight: Float32, term: TernaryTerm) -> float:
    return -20 * math.log10(relative_error(term, weight))


# --- the term -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "method"), list(product([(1, 1), (16, 16), (37, 53), (8, 200)], METHODS)))
@pytest.mark.parametrize("group", [None, 16, 32])
def test_the_operator_decodes_to_the_dense_matrix(
    decode: Decode, shape: tuple[int, int], method: fit.Method, group: int | None
) -> None:
    term = term_of(fit.fit_rows(gaussian(*shape), method, group=group), shape[1], group)
    np.testing.assert_array_equal(decode(term), term.dense())
    assert term.dense().dtype == np.float32


@pytest.mark.parametrize(("act", "tolerance"), [("int8", 0.02), ("float32", 1e-6)])
def test_the_operator_multiplies_by_the_dense_matrix(
    matmul: MatMul, site: MakeSite, act: Any, tolerance: float
) -> None:
    weight, x = gaussian(40, 96), gaussian(5, 96, seed=1)
    term = Ternary(group=32, act=act).fit(Dense(weight), site(weight.shape))
    expected = x @ term.dense().T
    assert np.linalg.norm(matmul(term, x) - expected) < tolerance * np.linalg.norm(expected)


# --- how good it is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "refit", "law", "expected"),
    [
        ("mean", False, "normal", 5.79),
        ("mean", True, "normal", 6.71),
        ("median", False, "normal", 4.97),
        ("median", True, "normal", 6.42),
        ("lloyd", False, "normal", 7.20),
        ("mean", False, "laplace", 4.05),
        ("mean", True, "laplace", 4.99),
        ("median", False, "laplace", 2.93),
        ("median", True, "laplace", 4.46),
        ("lloyd", False, "laplace", 5.79),
    ],
)
def test_signal_to_noise_ratio_per_tensor(method: fit.Method, refit: bool, law: str, expected: float) -> None:
    weight = getattr(np.random.default_rng(1), law)(size=(500, 1000)).astype(np.float32)
    term = term_of(fit.fit_tensor(weight, method, refit=refit), 1000)
    assert snr(weight, term) == pytest.approx(expected, abs=0.1)


def test_smaller_groups_are_better() -> None:
    weight = gaussian(64, 1024)
    ratios = [snr(weight, term_of(fit.fit_rows(weight, "lloyd", group=g), 1024, g)) for g in (None, 128, 64, 32)]
    assert ratios == sorted(ratios)
    assert ratios[0] == pytest.approx(7.2, abs=0.1)
    assert ratios[-1] == pytest.approx(7.5, abs=0.1)


# --- the pass -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (100, 500), (17, 300)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"group": 64},
        {"method": "median", "per": "tensor"},
        {"storage": "1.6bit"},
        {"storage": "1.6bit", "group": 40},
    ],
)
def test_preview_and_fit_agree(site: MakeSite, shape: tuple[int, int], options: dict[str, Any]) -> None:
    pass_ = Ternary(**options)
    preview = pass_.preview(shape, site(shape))
    term = pass_.fit(Dense(gaussian(*shape)), site(shape))
    assert preview == Preview(term.label, term.nbytes)
    assert term.nbytes == sum(values.nbytes for values in term.operands().values())
    assert term.shape == shape
    assert term.operands()["shape"].tolist() == [*shape, min(options.get("group", shape[1]), shape[1])]


def test_labels_and_operators(site: MakeSite) -> None:
    weight = Dense(gaussian(64, 128))
    terms = [p.fit(weight, site((64, 128))) for p in (Ternary(), Ternary(group=64), Ternary(act="float32"))]
    assert [t.label for t in terms] == ["ternary", "ternary/64", "ternary"]
    assert [t.matmuls[0] for t in terms] == ["TernaryMatMul", "TernaryMatMul", "TernaryMatMulFloat"]
    five = Ternary(storage="1.6bit", group=40).fit(weight, site((64, 128)))
    assert five.label == "ternary 1.6/40"
    assert five.matmuls == ("Ternary5MatMul", "Ternary5MatMulFloat")
    assert five.decoder == "Ternary5Decode"


@pytest.mark.parametrize("group", [None, 80])
def test_storage_changes_the_bytes_and_nothing_else(site: MakeSite, group: int | None) -> None:
    weight = Dense(gaussian(64, 640))
    two, five = (Ternary(storage=s, group=group).fit(weight, site((64, 640))) for s in ("2bit", "1.6bit"))
    np.testing.assert_array_equal(five.dense(), two.dense())
    assert five.codes.nbytes * 5 == two.codes.nbytes * 4


def test_groups_that_five_trits_a_byte_cannot_have(site: MakeSite) -> None:
    """They are refused as an option; a weight that was ternary in such groups keeps them, in two bits."""
    with pytest.raises(UsageError, match=r"group must be a multiple of 20 with storage=1.6bit, 20 or more, got 64"):
        Ternary(storage="1.6bit", group=64)
    scales = np.repeat(np.array([1, 2, 3, 4], np.float32), 64)
    weight = Dense(np.sign(gaussian(64, 256)) * scales)
    term = Ternary(storage="1.6bit").fit(weight, site((64, 256)))
    assert term.label == "ternary/64, exact"
    np.testing.assert_array_equal(term.dense(), weight.values)


def test_options_reach_the_fit(site: MakeSite) -> None:
    weight = Dense(gaussian(64, 128))
    term = Ternary(method="median", refit=True, group=32).fit(weight, site((64, 128)))
    expected = fit.fit_rows(weight.values, "median", group=32, refit=True)
    np.testing.assert_array_equal(term.scale, halved(expected.scale))
    np.testing.assert_array_equal(term.codes, expected.codes)


@pytest.mark.parametrize(
    ("shape", "dtype", "group", "words"),
    [
        ((3, 3), np.float32, None, "3x3: too small to gain"),
        ((1000, 1), np.float16, None, "too small to gain"),
        ((0, 64), np.float32, None, "no values"),
        ((64, 0), np.float32, 64, "no values"),
    ],
)
def test_refusals(site: MakeSite, shape: tuple[int, int], dtype: Any, group: int | None, words: str) -> None:
    answer = Ternary(group=group).preview(shape, site(shape, dtype))
    assert isinstance(answer, Refusal)
    assert words in answer.reason


def test_activations_stay_float32_where_integer_sums_have_no_room(site: MakeSite) -> None:
    nothing, scale = np.zeros((1, 1, 16, 4), np.uint8), np.ones(16, np.float32)
    for inputs, operators in ((131072, ("TernaryMatMul", "TernaryMatMulFloat")), (131073, ("TernaryMatMulFloat",))):
        assert isinstance(Ternary(group=64).preview((16, inputs), site((16, inputs))), Preview)
        assert TernaryTerm(nothing, nothing, scale, inputs, inputs).matmuls == operators


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 33}, "ternary: group must be a multiple of 16 with storage=2bit, 16 or more, got 33"),
        ({"group": 0}, "got 0"),
        ({"group": -16}, "got -16"),
        ({"method": "max"}, "ternary: method must be gptq or lloyd or mean or median, got 'max'"),
        ({"per": "group"}, "ternary: per must be row or tensor, got 'group'"),
        ({"act": "int4"}, "ternary: act must be int8 or float32, got 'int4'"),
        ({"group": 64, "per": "tensor"}, "per=tensor has one scale"),
        ({"refit": True}, "refit is for method=mean or median"),
        ({"method": "gptq", "per": "tensor"}, "per=tensor takes method=lloyd, mean or median"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        Ternary(**options)
    assert words in str(error.value)
