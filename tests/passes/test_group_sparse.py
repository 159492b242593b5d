from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler.errors import UsageError
from regc.compiler.passes import Preview, Refusal, SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, relative_error
from regc.passes import RF8, GroupSparse, Ternary
from regc.passes.group_sparse import eliminate, proximal
from regc.passes.group_sparse.envelope import largest
from regc.passes.group_sparse.term import BlockSparse
from regc.passes.ternary.term import TernaryTerm

Float32 = npt.NDArray[np.float32]
MakeSite = Callable[..., SiteInfo]
SHAPES = st.tuples(st.integers(1, 70), st.integers(2, 90))


def gaussian(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rows(inputs: int, count: int = 400) -> Float32:
    """Correlated inputs of very different energies."""
    mixed = gaussian(count, inputs, seed=1) @ gaussian(inputs, inputs, seed=2)
    return (mixed * np.logspace(0, -1.5, inputs)).astype(np.float32)


def lost(weight: Float32, found: Float32, x: Float32) -> float:
    return float(np.linalg.norm(x @ (found - weight).T) / np.linalg.norm(x @ weight.T))


def kept_blocks(found: Float32, block: int) -> npt.NDArray[np.bool_]:
    padded = np.pad(found, ((0, -found.shape[0] % 16), (0, -found.shape[1] % block)))
    return (padded.reshape(len(padded) // 16, 16, -1, block) != 0).any((1, 3))


# --- fit ----------------------------------------------------------------------------------------------------


def test_a_block_costs_what_taking_it_away_costs() -> None:
    weight, x = gaussian(16, 24), rows(24)
    gram = eliminate.damped((x.T @ x / len(x)).astype(np.float32))
    prices = eliminate.eliminate(weight, gram, 4, floor=5 / 6)
    cheapest = int(np.argmin(prices))
    keep = np.ones((1, 6), np.bool_)
    keep[0, cheapest] = False
    change = eliminate.refit(weight, keep, gram, 4).astype(np.float64) - weight
    assert prices[0, cheapest] == pytest.approx(np.trace(change @ gram @ change.T), rel=1e-4)


def test_the_kept_weights_make_up_for_the_others() -> None:
    weight, x = gaussian(40, 30), rows(30)
    gram = eliminate.damped((x.T @ x / len(x)).astype(np.float32))
    keep = np.random.default_rng(0).random((3, 30)) < 0.5
    found = eliminate.refit(weight, keep, gram, 1)
    assert np.array_equal(kept_blocks(found, 1), keep)
    for tile in range(3):
        inputs, outputs = np.flatnonzero(keep[tile]), slice(16 * tile, 16 * tile + 16)
        slope = ((found - weight)[outputs] @ gram)[:, inputs]
        assert np.abs(slope).max() < 1e-4 * np.abs(weight @ gram).max()


@pytest.mark.parametrize("block", [1, 4])
def test_what_looks_at_the_inputs_loses_less(block: int) -> None:
    weight, x = gaussian(48, 64), rows(64)
    gram = eliminate.damped((x.T @ x / len(x)).astype(np.float32))
    errors = []
    for prices in (
        eliminate.eliminate(weight, gram, block, 0.2),
        proximal.prices(weight, gram, block, 3 * 64 // block // 2),
        eliminate.energies(weight, None, block),
    ):
        keep = largest(prices.reshape(-1), prices.size // 2).reshape(prices.shape)
        errors.append(lost(weight, eliminate.refit(weight, keep, gram, block), x))
    assert errors[0] <= errors[1] < errors[2]


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from([1, 2, 4, 8, 16, 32]), st.floats(0.1, 0.9))
def test_any_shape(shape: tuple[int, int], block: int, floor: float) -> None:
    weight, x = gaussian(*shape), rows(shape[1], 50)
    gram = eliminate.damped((x.T @ x / len(x)).astype(np.float32))
    prices = eliminate.eliminate(weight, gram, block, floor)
    assert prices.shape == (-(-shape[0] // 16), -(-shape[1] // block)) == eliminate.energies(weight, None, block).shape
    assert not np.isnan(prices).any()
    assert (np.isinf(prices).sum(1) == max(1, int(prices.shape[1] * floor))).all()
    assert np.isfinite(eliminate.refit(weight, np.isinf(prices), gram, block)).all()


def test_inputs_that_never_come_go_first() -> None:
    weight, x = gaussian(16, 20), gaussian(400, 20, seed=1)
    x[:, 5:15] = 0
    gram = eliminate.damped((x.T @ x / len(x)).astype(np.float32))
    prices = eliminate.eliminate(weight, gram, 1, 0.1)[0]
    assert set(np.argsort(prices)[:10]) == set(range(5, 15))


# --- the pass -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [None, "eliminate", "prox", "energy", "pst"])
@pytest.mark.parametrize("block", [1, 8])
def test_half_of_the_blocks_stay(
    method: Any, block: int, site: MakeSite, decode: Callable[..., Float32], matmul: Callable[..., Float32]
) -> None:
    weight, x = gaussian(70, 101), rows(101)
    pass_ = GroupSparse(groups=f"blocks(16x{block})", method=method)
    preview, place = pass_.preview(weight.shape, site(weight.shape)), site(weight.shape)
    term = pass_.fit(Dense(weight), place, Statistics.of(x))
    assert isinstance(term, BlockSparse)
    assert isinstance(preview, Preview)
    assert term.keep.sum() == round(term.keep.size / 2)
    assert (preview.nbytes, term.nbytes) == (term.nbytes, sum(v.nbytes for v in term.operands().values()))
    assert not (kept_blocks(term.dense(), block) & ~term.keep).any()
    np.testing.assert_array_equal(decode(term), term.dense())
    np.testing.assert_allclose(matmul(term, x[:3]), x[:3] @ term.dense().T, rtol=1e-4, atol=1e-4)
    assert lost(weight, term.dense(), x) < 0.6


def test_without_inputs_the_largest_blocks_stay_as_they_are(site: MakeSite) -> None:
    weight = gaussian(32, 40)
    term = GroupSparse(sparsity=0.75).fit(Dense(weight), site(weight.shape))
    assert isinstance(term, BlockSparse)
    found = term.dense()
    np.testing.assert_array_equal(found[found != 0], weight[found != 0])
    energy = np.square(weight).reshape(2, 16, 40).sum(1)
    assert energy[term.keep].min() > energy[~term.keep].max()


def test_rf8_codes_the_kept_values(site: MakeSite, decode: Callable[..., Float32]) -> None:
    weight, x = gaussian(64, 80), rows(80)
    pruned = GroupSparse().fit(Dense(weight), site(weight.shape), Statistics.of(x))
    assert isinstance(pruned, BlockSparse)
    term = pruned.map_leaves(lambda leaf, path: RF8().fit(leaf, site(weight.shape), Statistics.of(x)))  # type: ignore[arg-type]
    assert isinstance(term, BlockSparse)
    assert term.label == "50% sparse 16x1 (rf8)"
    assert term.matmuls == ("BlockSparseRF8MatMul",)
    assert term.nbytes < 0.5 * pruned.nbytes
    assert not term.dense()[pruned.dense() == 0].any()
    assert relative_error(term, pruned.dense()) < 0.05
    np.testing.assert_array_equal(decode(term), term.dense())


def test_codes_without_a_sparse_form_take_the_whole_place(site: MakeSite) -> None:
    pruned = GroupSparse().fit(Dense(gaussian(64, 80)), site((64, 80)))
    assert isinstance(pruned, BlockSparse)
    term = pruned.map_leaves(lambda leaf, path: Ternary().fit(leaf, site((64, 80))))  # type: ignore[arg-type]
    assert isinstance(term, TernaryTerm)


def test_refusals(site: MakeSite) -> None:
    conv = SiteInfo("w", ("Conv",), ("node",), (64, 80), np.dtype(np.float32), False, False)
    answers = [
        GroupSparse().preview((64, 80), conv),
        GroupSparse().preview((64, 80), site((64, 80), np.float16)),
        GroupSparse().preview((2, 3), site((2, 3))),
        GroupSparse(method="prox").fit(Dense(gaussian(64, 80)), site((64, 80))),
    ]
    for answer, words in zip(answers, ("nothing would be skipped", "float16", "too small", "calibration"), strict=True):
        assert isinstance(answer, Refusal)
        assert words in answer.reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 0.0}, "above 0 and below 1"),
        ({"sparsity": 1.0}, "above 0 and below 1"),
        ({"groups": "blocks(16x3)"}, "groups must be one of"),
        ({"groups": "rows"}, "groups must be one of"),
        ({"method": "magic"}, "method must be"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GroupSparse(**options)
