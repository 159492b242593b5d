"""Two factors that a pass codes, fitted in turn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.compiler.passes import SiteInfo
from regc.compiler.pipeline.refining import refined
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Product, Sum, Term, relative_error
from regc.passes import RF8, LowRank, Ternary
from support import model, normal, run

Float32 = npt.NDArray[np.float32]

WEIGHT = normal(48, 12) @ normal(12, 64, seed=1)
ROWS = normal(300, 20, seed=2) @ normal(20, 64, seed=3) + np.float32(0.3) * normal(300, 64, seed=4)


def layer() -> onnx.ModelProto:
    text = "g (float[n,64] x) => (float[n,48] y) { p = MatMul(x, w) y = Add(p, b) }"
    return model(text, w=np.ascontiguousarray(WEIGHT.T), b=normal(48, seed=5))


def coded(pass_: RF8 | Ternary, leaf: Term, inputs: Statistics | None) -> Term:
    assert isinstance(leaf, Dense)
    site = SiteInfo("w", ("MatMul",), ("n",), leaf.shape, np.dtype(np.float32), True, True)
    term = pass_.fit(leaf, site, inputs)
    assert isinstance(term, Term)
    return term


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("after", "most"), [("ternary{act=float32}", 0.95), ("rf8", 1.0)])
def test_rounds_lower_the_error(known: bool, after: str, most: float) -> None:
    calibration = [{"x": ROWS}] if known else None
    proto = layer()
    errors = []
    for rounds in (0, 3):
        passes = f"low-rank{{rank=12,force=true,min_outputs=1,refine={rounds}}},{after}"
        result = compile_model(proto, passes, calibration=calibration)
        (record,) = result.records
        assert [decision.leaf for decision in record.decisions] == ["", "A", "B"]
        error = record.output_error if known else record.error
        assert error is not None
        errors.append(error)
        small = result.model.to_proto()
        onnx.checker.check_model(small, full_check=True)
        (y,), (z,) = run(proto, {"x": ROWS}), run(small, {"x": ROWS})
        if known:
            assert error == pytest.approx(np.linalg.norm(z - y) / np.linalg.norm(ROWS @ WEIGHT.T), rel=1e-2)
    assert errors[1] < most * errors[0]


def test_never_worse_than_at_first() -> None:
    inputs = Statistics.of(ROWS)
    before = Product(Dense(normal(48, 12)), Dense(normal(12, 64, seed=1)), rounds=4)
    now = Product(coded(RF8(), before.first, None), coded(RF8(), before.second, None))
    worse = iter(range(100))

    def code(leaf: Dense, path: str, flow: Statistics | None) -> Term:
        assert path in ("A", "B") and flow is not None and flow.gram is not None
        return Dense(normal(*leaf.shape, seed=50 + next(worse)))

    assert refined(before, now, WEIGHT, inputs, code) is now


@pytest.mark.parametrize("rounds", [0, 2])
def test_what_is_beside_the_factors_stays(rounds: int) -> None:
    beside = Dense(normal(48, 64, seed=9))
    before = Sum(Product(Dense(normal(48, 12, seed=6)), Dense(normal(12, 64, seed=7)), rounds=rounds), beside)
    now = before.map_leaves(lambda leaf, path: leaf if path == "B" else coded(Ternary(), leaf, None))
    asked: list[str] = []

    def code(leaf: Dense, path: str, flow: Statistics | None) -> Term:
        asked.append(path)
        return coded(Ternary(), leaf, flow)

    found = refined(before, now, WEIGHT + beside.values, None, code)
    assert isinstance(found, Sum) and found.second is beside
    assert asked == ["A.B", "A.A"] * rounds
    if rounds:
        assert relative_error(found.first, WEIGHT) < 0.8
    else:
        assert found is now


def test_a_factor_that_stays_dense_leaves_nothing_to_fit() -> None:
    before = Product(Dense(normal(48, 12)), Dense(normal(12, 64)), rounds=3)
    half = Product(before.first, coded(RF8(), before.second, None))
    assert refined(before, half, WEIGHT, None, lambda leaf, path, flow: pytest.fail("nothing to fit")) is half


def test_options_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="refine must be 0 or more"):
        LowRank(refine=-1)
