import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest

from regc.compiler import (
    Calibration,
    Dense,
    Need,
    Pass,
    PassManager,
    Preview,
    Product,
    Progress,
    Refusal,
    SiteInfo,
    Statistics,
    Surveyed,
    Term,
    UsageError,
    compile_model,
    option,
)
from regc.compiler.model import from_proto
from regc.compiler.pipeline.planning import LEFT_OUT
from regc.passes import RF8, LowRank
from support import model, normal, run

THREE_LAYERS = """g (float[n,256] x) => (float[n,256] y) {
    h = MatMul(x, first)
    r = Relu(h)
    s = MatMul(r, second)
    y = MatMul(s, third)
}"""


def three_layers(**changes: np.ndarray) -> onnx.ModelProto:
    weights = {"first": normal(256, 512), "second": 2 * normal(512, 256, seed=1), "third": normal(256, 256, seed=2) / 2}
    return model(THREE_LAYERS, **(weights | changes))


@dataclass(frozen=True, kw_only=True)
class KeepLargest(Pass):
    """Inputs of one budget, shared out by the size of weights; weights that get none are refused."""

    name: ClassVar[str] = "keep-largest"
    summary: ClassVar[str] = "keeps some inputs"
    structural: ClassVar[bool] = True
    seen: ClassVar[dict[str, Surveyed]] = {}
    budget: int | None = option(None, "inputs that are kept in all weights")
    kept: int | None = option(None, "inputs that are kept in each weight")

    @property
    def shares(self) -> bool:
        return self.budget is not None

    def plan(self, surveyed: Iterator[Surveyed]) -> Mapping[str, Pass | Refusal]:
        self.seen.clear()
        self.seen.update((survey.site.name, survey) for survey in surveyed)
        norms = {name: float(np.linalg.norm(weight.values)) for name, (_, weight, *_) in self.seen.items()}
        answer: dict[str, Pass | Refusal] = {}
        for name, norm in norms.items():
            kept = int((self.budget or 0) * norm / sum(norms.values()))
            answer[name] = replace(self, budget=None, kept=kept) if kept > 30 else Refusal("it would keep too little")
        return answer

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:
        return Preview("cut", None) if site.splittable else Refusal("cannot be split")

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:
        return frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term:
        eye = np.eye(self.kept, weight.shape[1], dtype=np.float32)
        return Product(Dense(np.ascontiguousarray(weight.values[:, : self.kept])), Dense(eye))


def test_each_weight_gets_its_share_and_the_report_tells() -> None:
    proto = three_layers()
    result = compile_model(proto, [KeepLargest(budget=150), RF8(include=("first",))])
    onnx.checker.check_model(result.model.to_proto())
    norms = [np.linalg.norm(onnx.numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer]
    kept = [int(150 * norm / sum(norms)) for norm in norms]
    assert min(kept[:2]) > 30 > kept[2]
    first, second, third = result.records
    assert first.after == f"rank {kept[0]} (rf8 x rf8, exact)"
    assert second.after == f"rank {kept[1]} (float32 x float32)"
    assert [decision.allotted for decision in second.decisions] == [f"kept={kept[1]}", ""]
    assert not third.changed
    assert third.decisions[0].reason == "it would keep too little"
    assert json.loads(result.report.to_json())["weights"][1]["decisions"][0]["allotted"] == f"kept={kept[1]}"
    assert result.pipeline == "keep-largest{budget=150},rf8{include=first}"


def test_the_shares_are_what_is_computed() -> None:
    proto, x = three_layers(), normal(3, 256)
    result = compile_model(proto, [KeepLargest(budget=150)])
    weights = [onnx.numpy_helper.to_array(tensor).copy() for tensor in proto.graph.initializer]
    for weight, record in zip(weights, result.records, strict=True):
        for decision in record.decisions:
            weight[int(decision.allotted.removeprefix("kept=") or len(weight)) :] = 0
    expected = np.maximum(x @ weights[0], 0) @ weights[1] @ weights[2]
    np.testing.assert_allclose(run(result.model.to_proto(), {"x": x})[0], expected, atol=1e-4)


def test_a_plan_sees_all_weights_that_the_pass_may_take_as_they_came() -> None:
    proto = three_layers()
    seen: list[Progress] = []
    compile_model(proto, [KeepLargest(budget=150, exclude=("third",))], exclude=["first"], callback=seen.append)
    assert [p.item for p in seen if p.stage == "plan"] == ["second"]
    ((name, survey),) = KeepLargest.seen.items()
    assert name == survey.site.name == "second"
    np.testing.assert_array_equal(survey.weight.values, onnx.numpy_helper.to_array(proto.graph.initializer[1]).T)
    assert survey.inputs is None
    assert survey.effect(survey.weight.values) is None


@pytest.mark.parametrize("sequential", [True, False])
def test_a_plan_sees_the_inputs_of_the_original_model(sequential: bool) -> None:
    x = normal(300, 256)
    proto = three_layers()
    calibration = Calibration([{"x": x}], sequential=sequential)
    result = compile_model(proto, [KeepLargest(budget=100)], calibration=calibration)
    first, second, _ = (onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer)
    hidden = np.maximum(x @ first, 0)
    for name, rows in (("first", x), ("second", hidden), ("third", hidden @ second)):
        inputs = KeepLargest.seen[name].inputs
        assert inputs is not None and inputs.gram is not None
        assert inputs.cross is None
        np.testing.assert_allclose(inputs.gram, rows.T @ rows / 300, atol=1e-3)
    assert result.records[1].output_error is not None
    assert calibration.effort.runs == (2 if sequential else 1)


def test_weights_that_are_not_finite_have_no_share() -> None:
    weight = normal(256, 512)
    weight[0, 0] = np.nan
    records = compile_model(three_layers(first=weight), [KeepLargest(budget=150)]).records
    assert set(KeepLargest.seen) == {"second", "third"}
    assert records[0].decisions[0].reason == "holds NaN or infinite values"
    assert records[1].changed


def test_what_an_earlier_pass_may_take_has_no_share() -> None:
    records = compile_model(three_layers(), [LowRank(include=("first",), rank="pela"), KeepLargest(budget=150)]).records
    assert set(KeepLargest.seen) == {"second", "third"}
    assert records[0].after.startswith("rank 80 (")
    assert records[0].decisions[-1].reason == LEFT_OUT


@pytest.mark.parametrize("earlier", [RF8(), LowRank(rank="pela")])
def test_a_budget_is_shared_out_before_anything_is_changed(earlier: Pass) -> None:
    with pytest.raises(UsageError, match=f"keep-largest cannot follow {earlier.name}: it .*put keep-largest first"):
        PassManager([earlier, KeepLargest(budget=100)])


def test_nothing_is_looked_through_without_a_budget() -> None:
    KeepLargest.seen.clear()
    stages: set[str] = set()
    opened: Any = from_proto(three_layers())
    PassManager([KeepLargest(kept=40)], callback=lambda progress: stages.add(progress.stage)).run(opened)
    assert not KeepLargest.seen
    assert stages == {"compress"}
