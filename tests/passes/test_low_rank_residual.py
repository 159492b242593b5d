"""What two factors miss of a weight, kept beside them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.compiler.passes import SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Product, Sum, relative_error
from regc.passes import LowRank
from regc.passes.group_sparse.term import BlockSparse
from regc.passes.low_rank.residual import KINDS, Residual, Seen, in_turn, with_residual
from regc.passes.low_rank.speed import beside_share
from regc.passes.ternary.term import TernaryTerm
from support import model, normal, op_types, run

Float32 = npt.NDArray[np.float32]


def blocky(blocks: int) -> Float32:
    """Low rank and a few large blocks of 16x1, 256 x 320."""
    weight = normal(256, 8) @ normal(8, 320, seed=1) * np.float32(4)
    rng = np.random.default_rng(2)
    for tile, column in zip(rng.integers(0, 16, blocks), rng.integers(0, 320, blocks), strict=True):
        weight[tile * 16 : tile * 16 + 16, column] += rng.standard_normal(16).astype(np.float32) * 5
    return weight


def falling(rows: int = 256, columns: int = 320, power: float = 1.0) -> Float32:
    """A weight whose singular values fall."""
    left = np.linalg.qr(normal(rows, rows))[0][:, : min(rows, columns)]
    right = np.linalg.qr(normal(columns, columns, seed=1))[0][: min(rows, columns)]
    return ((left * (1 + np.arange(len(right))) ** -power) @ right).astype(np.float32)


def site_of(weight: Float32, *, biased: bool = False) -> SiteInfo:
    shape = (weight.shape[0], weight.shape[1])
    return SiteInfo("w", ("MatMul",), ("n",), shape, np.dtype(np.float32), True, True, rows=32, biased=biased)


def fitted(weight: Float32, pass_: LowRank, x: Float32 | None = None) -> Product | Sum:
    term = pass_.fit(Dense(weight), site_of(weight), None if x is None else Statistics.of(x))
    assert isinstance(term, Product | Sum)
    return term


@pytest.mark.parametrize("seen", [False, True])
def test_low_rank_and_large_blocks_are_told_apart(seen: bool) -> None:
    weight, x = blocky(60), normal(800, 320, seed=5) if seen else None
    alone = fitted(weight, LowRank(rank=48), x)
    term = fitted(weight, LowRank(rank=48, residual="blocks", refine=12), x)
    assert isinstance(term, Sum) and isinstance(term.second, BlockSparse)
    assert term.nbytes <= alone.nbytes
    assert relative_error(alone, weight) > 0.1
    assert relative_error(term, weight) < 0.02


def test_what_rank_buys_is_left_to_rank() -> None:
    weight = falling()
    assert isinstance(fitted(weight, LowRank(rank=64, residual="blocks")), Product)
    assert isinstance(fitted(weight, LowRank(rank=64, residual="blocks"), normal(800, 320, seed=5)), Product)


@pytest.mark.parametrize("seen", [False, True])
def test_auto_takes_the_better(seen: bool) -> None:
    x = normal(800, 320, seed=5) if seen else None
    for weight in (falling(power=0.4), sparse := blocky(200)):
        terms = [fitted(weight, LowRank(rank=64, residual=form, refine=2), x) for form in ("blocks", "ternary", "auto")]
        best = min(terms[:2], key=lambda term: relative_error(term, weight))
        assert type(terms[2].second) is type(best.second)
        assert type(best.second) is (BlockSparse if weight is sparse else TernaryTerm)


@pytest.mark.parametrize("form", ["blocks", "ternary"])
def test_in_turn_is_better_than_one_after_the_other(form: str) -> None:
    weight, x = falling(power=0.4), normal(800, 40, seed=5) @ normal(40, 320, seed=6) + normal(800, 320, seed=7)
    terms = [fitted(weight, LowRank(rank=64, residual=form, refine=n, force=True), x) for n in (1, 6)]  # type: ignore[arg-type]
    errors = [Statistics.of(x).output_error(term, weight) for term in terms]
    assert errors[0] is not None and errors[1] is not None
    assert errors[1] <= errors[0] and (errors[1] < 0.97 * errors[0] or form == "blocks")


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(20, 90), columns=st.integers(20, 90), rank=st.integers(2, 16), seed=st.integers(0, 99),
    known=st.booleans(),
)  # fmt: skip
def test_the_budget_is_never_exceeded(rows: int, columns: int, rank: int, seed: int, known: bool) -> None:
    weight = normal(rows, columns, seed=seed)
    gram = Statistics.of(normal(60, columns, seed=seed + 1)).gram if known else None
    seen = Seen(weight, 4, gram)
    for forms in (("blocks",), ("ternary",)):
        found = with_residual(seen, min(rank, rows, columns), Residual(forms, 2, lambda rank, beside: True))  # type: ignore[arg-type]
        if found is not None:
            assert found.residual.nbytes + seen.nbytes(found.first.shape[1]) <= seen.nbytes(rank)
            left = found.first @ found.second + found.residual.dense()
            assert seen.error(left) == pytest.approx(found.error, rel=1e-3, abs=1e-6)
            alone = np.matmul(*seen.factors(None, min(rank, rows, columns)))
            assert found.error < seen.error(alone)


def test_a_slow_residual_is_left_out() -> None:
    weight = falling(power=0.3)
    asked: list[tuple[int, float]] = []

    def pays(rank: int, beside: float) -> bool:
        asked.append((rank, beside))
        return rank * 576 / weight.size + beside <= 0.5

    found = with_residual(Seen(weight, 4, None), 64, Residual(("ternary",), 1, pays))
    assert found is not None
    most = max(rank for rank, beside in asked if rank * 576 / weight.size + beside <= 0.5)
    assert most - 4 < found.first.shape[1] <= most
    assert with_residual(Seen(weight, 4, None), 64, Residual(KINDS, 1, lambda *_: False)) is None


def test_rounds_keep_the_best() -> None:
    weight = falling(64, 80, 0.4)
    seen = Seen(weight, 4, None)
    residuals = [Dense(np.zeros_like(weight)), Dense(weight), Dense(-weight)]
    found = in_turn(seen, 3, 3, lambda missed, product: residuals.pop(0))  # type: ignore[arg-type, return-value]
    assert found.error < 1e-6 and not residuals


@pytest.mark.parametrize("form", ["blocks", "ternary"])
@pytest.mark.parametrize(
    "nodes", ["{ y = MatMul(x, w) }", "{ p = MatMul(x, w) y = Add(p, b) }", "{ y = Gemm(x, w, b) }"]
)
def test_models_compute_it(form: str, nodes: str) -> None:
    weight = blocky(60) if form == "blocks" else falling(power=0.4)
    weights = {"w": np.ascontiguousarray(weight.T)} | ({"b": normal(256, seed=3)} if "b)" in nodes else {})
    proto = model(f"g (float[n,320] x) => (float[n,256] y) {nodes}", **weights)
    x = normal(400, 320, seed=5) + np.float32(0.02)
    passes = f"low-rank{{rank=48,residual={form},refine=12}}"
    result = compile_model(proto, passes, calibration=[{"x": x}])
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    label = result.records[0].after
    assert label is not None and label.startswith("(rank ")
    ours = "BlockSparseMatMul" if form == "blocks" else "TernaryMatMul"
    assert op_types(small) == ["MatMul", "MatMul", f"ai.regc::{ours}Add"]
    fresh = normal(50, 320, seed=8) + np.float32(0.02)
    (y,) = run(proto, {"x": fresh})
    for library in (False, True):
        (z,) = run(small, {"x": fresh}, library=library)
        assert np.linalg.norm(z - y) < (0.03 if form == "blocks" else 0.5) * np.linalg.norm(y)


def test_later_passes_take_the_factors() -> None:
    weight = falling(power=0.4)
    proto = model(
        "g (float[n,320] x) => (float[n,256] y) { p = MatMul(x, w) y = Add(p, b) }",
        w=np.ascontiguousarray(weight.T),
        b=normal(256, seed=3),
    )
    result = compile_model(proto, "low-rank{rank=64,residual=ternary},rf8", calibration=[{"x": normal(400, 320)}])
    label = result.records[0].after
    assert label is not None and label.count("rf8") == 2 and "ternary" in label
    x = normal(50, 320, seed=8)
    (y,), (z,) = run(proto, {"x": x}), run(result.model.to_proto(), {"x": x}, library=True)
    assert np.linalg.norm(z - y) < 0.5 * np.linalg.norm(y)


@pytest.mark.parametrize("seen", [False, True])
def test_stock_has_nothing_fast_for_it(seen: bool) -> None:
    weights = {"w": np.ascontiguousarray(falling(power=0.4).T), "b": normal(256)}
    proto = model("g (float[n,320] x) => (float[n,256] y) { y = Gemm(x, w, b) }", **weights)
    inputs = [{"x": normal(400, 320)}] if seen else None
    result = compile_model(proto, "low-rank{rank=64,residual=ternary}", target="stock", calibration=inputs)
    assert not result.changed
    (decision,) = result.records[0].decisions
    assert decision.reason is not None and "leave residual out" in decision.reason


@pytest.mark.parametrize("options", [{"refine": -1}, {"refine": 0, "residual": "auto"}, {"residual": "sparse"}])
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="low-rank: re"):
        LowRank(**options)  # type: ignore[arg-type]


def test_what_is_beside_factors_takes_as_long_as_its_operator_does() -> None:
    times = [beside_share("TernaryMatMul", rows) for rows in (1, 8, 32, 128)]
    assert times == sorted(times)
    assert beside_share("TernaryMatMul", None) == times[2]
    assert beside_share("BlockSparseMatMul", 1, 0.25) < 0.5 * beside_share("BlockSparseMatMul", 1, 0.75)
    assert beside_share("RF8MatMul", 1, 0.25) == 0.25  # not known
