from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from regc.compiler import compile_model
from regc.compiler.passes import Refusal, SiteInfo, Surveyed
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense
from regc.passes import NeuronMask
from regc.passes.neuron_mask.allocate import Curve, curve, levels
from support import model, normal

Float32 = npt.NDArray[np.float32]


def survey(name: str = "w", effect: float | None = 0.1, rows: int | None = None) -> Surveyed:
    weight = normal(24, 40)
    site = SiteInfo(name, ("MatMul",), ("node",), (24, 40), np.dtype(np.float32), True, True, rows=rows)
    return Surveyed(
        site,
        Dense(weight),
        Statistics.of(normal(300, 40, seed=1), sample=True),
        lambda matrix: effect,
        lambda: Dense(weight),
    )


def test_levels_spend_the_whole_budget_where_errors_count_least() -> None:
    errors = {level / 10: level**2 / 100 for level in range(1, 10)}
    curves = {"dear": Curve(errors, 10.0, 1000), "cheap": Curve(errors, 1.0, 1000), "small": Curve(errors, 1.0, 10)}
    found = levels(curves, 0.5)
    assert found["dear"] < found["cheap"]
    assert found["small"] < found["cheap"]  # it saves less work at the same error
    skipped = sum(found[name] * curves[name].work for name in curves)
    assert skipped == pytest.approx(0.5 * 2010, rel=0.1)
    assert skipped >= 0.5 * 2010 - 1


def test_the_error_of_each_level_is_that_of_the_skipped_inputs_and_counts_by_the_effect() -> None:
    found, twice = (
        curve(survey(effect=e), normal(300, 40, seed=1), (0.25, 0.5), wina=True, centred=False) for e in (0.1, 0.2)
    )
    assert found is not None
    assert twice is not None
    assert 0 < found.errors[0.25] < found.errors[0.5] < 0.5
    assert twice.worth == pytest.approx(4 * found.worth)
    assert found.work == 24 * 40


def test_without_an_effect_a_weight_keeps_the_sparsity_of_the_pass() -> None:
    pass_ = NeuronMask(sparsity=0.6)
    assert pass_.plan(iter([survey(effect=None)])) == {"w": pass_}


def test_plan_answers_for_every_weight() -> None:
    unseen = survey("unseen")._replace(inputs=None)
    answers = NeuronMask(sparsity=0.5).plan(iter([survey("a"), survey("b", 0.001), survey("many", rows=9), unseen]))
    assert isinstance(answers["b"], NeuronMask)
    assert answers["b"].sparsity > 0.5
    for name, words in {"many": "a product has 9", "unseen": "needs calibration inputs"}.items():
        answer = answers[name]
        assert isinstance(answer, Refusal)
        assert words in answer.reason


def test_a_layer_that_matters_less_skips_more() -> None:
    proto = model(
        "g (float[n,64] x) => (float[n,64] y) { a = MatMul(x, first) b = MatMul(x, second) y = Add(a, b) }",
        first=normal(64, 64),
        second=normal(64, 64, seed=1) * np.float32(0.1),
    )
    feeds = [{"x": row[None]} for row in normal(200, 64, seed=2)]
    result = compile_model(proto, "neuron-mask{sparsity=0.5}", calibration=feeds)
    skipped = {r.info.name: 1 - r.activities[0].share if r.activities else 0.0 for r in result.records}
    assert skipped["first"] < 0.35
    assert skipped["second"] > 0.65
    assert sum(skipped.values()) == pytest.approx(1.0, abs=0.06)
