from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

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
    Term,
    UsageError,
    compile_model,
    option,
    registry,
)
from regc.compiler.model import from_proto
from regc.passes import RF8, LowRank, Ternary
from support import model, normal, op_types, run

TWO_LAYERS = """g (float[n,256] x) => (float[n,256] y) {
    h = MatMul(x, first)
    r = Relu(h)
    y = MatMul(r, second)
}"""


def two_layers(**changes: np.ndarray) -> onnx.ModelProto:
    return model(TWO_LAYERS, **({"first": normal(256, 512), "second": normal(512, 256, seed=1)} | changes))


def test_every_site_has_a_record_with_bytes_and_error() -> None:
    result = compile_model(two_layers(), [LowRank(rank=85), RF8()])
    assert [record.info.name for record in result.records] == ["first", "second"]
    for record in result.records:
        assert record.changed
        assert record.after == "rank 85 (rf8 x rf8)"
        assert record.before == "float32"
        assert record.nbytes_after < record.nbytes_before / 6
        assert record.error is not None
        assert 0.3 < record.error < 1
        assert [d.leaf for d in record.decisions] == ["", "A", "B"]
    product, with_relu = "ai.regc::RF8MatMul", "ai.regc::RF8MatMulRelu"
    assert [record.emitted for record in result.records] == [f"{product}; {with_relu}", product]


def test_the_proto_given_is_not_touched() -> None:
    proto = two_layers()
    before = proto.SerializeToString()
    compile_model(proto, "rf8")
    assert proto.SerializeToString() == before


def test_text_and_objects_give_the_same_model() -> None:
    objects = compile_model(two_layers(), [LowRank(ratio=2), Ternary(group=64)])
    text = compile_model(two_layers(), "low-rank{ratio=2},ternary{group=64}")
    assert objects.pipeline == text.pipeline == "low-rank{ratio=2},ternary{group=64}"
    assert objects.model.to_proto().SerializeToString() == text.model.to_proto().SerializeToString()


def test_metadata_tells_how_the_model_was_made() -> None:
    proto = two_layers()
    onnx.helper.set_model_props(proto, {"author": "us"})
    compiled = compile_model(proto, "ternary{group=64}").model.to_proto()
    values = {entry.key: entry.value for entry in compiled.metadata_props}
    assert values["author"] == "us"
    assert values["regc.passes"] == "ternary{group=64}"
    assert len(values["regc.source_sha256"]) == 64
    assert set(values) == {"author", "regc.passes", "regc.target", "regc.version", "regc.source_sha256"}


def test_metadata_keeps_what_earlier_runs_did() -> None:
    first = compile_model(two_layers(), "ternary", include=["first"]).model.to_proto()
    values = {e.key: e.value for e in compile_model(first, "rf8").model.to_proto().metadata_props}
    assert values["regc.passes"] == "ternary ; rf8"
    assert values["regc.include"] == "first"


@pytest.mark.parametrize("passes", [["rf8"], [RF8], []])
def test_what_is_no_list_of_passes_is_an_error(passes: list[object]) -> None:
    with pytest.raises(UsageError, match="pass"):
        compile_model(two_layers(), passes)  # type: ignore[arg-type]


def test_one_pass_and_one_selector_need_no_list() -> None:
    records = compile_model(two_layers(), RF8(), include="second").records  # type: ignore[arg-type]
    assert [record.changed for record in records] == [False, True]


def test_selectors_choose_for_all_passes_and_for_one() -> None:
    records = compile_model(two_layers(), "rf8", exclude=["first"]).records
    assert [r.changed for r in records] == [False, True]
    assert records[0].reason == 'excluded by "first"'
    records = compile_model(two_layers(), "ternary{include=second},rf8").records
    assert [r.after for r in records] == ["rf8", "ternary"]
    with pytest.raises(UsageError, match='"secnd" matches no weight; did you mean "second"'):
        compile_model(two_layers(), "ternary{include=secnd},rf8")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused_by_name(bad: float) -> None:
    weight = normal(256, 512)
    weight[3, 5] = bad
    records = compile_model(two_layers(first=weight), "rf8").records
    assert [r.changed for r in records] == [False, True]
    assert records[0].reason == "holds NaN or infinite values"


def test_a_structural_pass_after_codes_is_an_error_before_any_work() -> None:
    with pytest.raises(UsageError, match="low-rank cannot follow ternary"):
        PassManager([Ternary(), LowRank(ratio=2)])
    PassManager([Ternary(include=("head",)), LowRank(ratio=2)])


def test_no_passes_is_an_error() -> None:
    with pytest.raises(UsageError, match="at least one pass"):
        PassManager([])


def test_progress_counts_bytes_to_the_end() -> None:
    seen: list[Progress] = []
    compile_model(two_layers(), "rf8", callback=seen.append)
    assert [p.item for p in seen] == ["first", "second", ""]
    assert seen[0].done == 0
    assert seen[-1].done == seen[-1].total == 2 * 4 * 256 * 512


def test_the_manager_works_on_its_own() -> None:
    opened = from_proto(two_layers())
    records = PassManager([RF8()]).run(opened)
    assert all(record.changed for record in records)
    assert op_types(opened.to_proto()) == ["ai.regc::RF8MatMulRelu", "ai.regc::RF8MatMul"]


@dataclass(frozen=True, kw_only=True)
class KeepHalf(Pass):
    """A pass as a third party would write it: W = W * I cut to the first inputs."""

    name: ClassVar[str] = "keep-half"
    summary: ClassVar[str] = "keeps the first inputs"
    structural: ClassVar[bool] = True
    share: float = option(0.25, "share of the inputs that is kept", "0..1")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:
        return Preview("cut", None) if site.splittable else Refusal("cannot be split")

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term:
        kept = int(weight.shape[1] * self.share)
        eye = np.eye(kept, weight.shape[1], dtype=np.float32)
        return Product(Dense(np.ascontiguousarray(weight.values[:, :kept])), Dense(eye))


class _Point:
    name, value, dist = "keep-half", "third.party:KeepHalf", None

    def load(self) -> type[Pass]:
        return KeepHalf


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ours = registry.importlib.metadata.entry_points(group="regc.passes")  # type: ignore[attr-defined]
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [*ours, _Point()])  # type: ignore[attr-defined]
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


@pytest.mark.usefixtures("third_party")
def test_a_third_party_pass_is_found_by_name_and_composes() -> None:
    proto = two_layers()
    result = compile_model(proto, "keep-half{share=0.25},rf8{include=first}")
    first = result.records[0]
    assert first.after.startswith("rank 64 (")
    assert result.pipeline == "keep-half,rf8{include=first}"
    x = normal(3, 256)
    cut = two_layers(
        first=np.where(np.arange(256)[:, None] < 64, proto_weight(proto, 0), 0),
        second=np.where(np.arange(512)[:, None] < 128, proto_weight(proto, 1), 0),
    )
    expected, ours = run(cut, {"x": x})[0], run(result.model.to_proto(), {"x": x})[0]
    assert np.linalg.norm(ours - expected) < 0.1 * np.linalg.norm(expected)


def proto_weight(proto: onnx.ModelProto, index: int) -> np.ndarray:
    return onnx.numpy_helper.to_array(proto.graph.initializer[index])


@dataclass(frozen=True, kw_only=True)
class Recorder(KeepHalf):
    """Keeps what flows into the leaves that it sees."""

    name: ClassVar[str] = "recorder"
    seen: ClassVar[list[Statistics | None]] = []

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:
        return frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term:
        self.seen.append(inputs)
        return super().fit(weight, site, inputs)


def test_passes_get_what_flows_into_the_leaf() -> None:
    Recorder.seen.clear()
    x = normal(300, 256)
    manager = PassManager([Recorder(include=("first",)), Recorder(include=("first",))])
    records = manager.run(from_proto(two_layers()), {"first": Statistics.of(x)})
    whole, first, second = Recorder.seen
    assert whole is second
    assert whole is not None
    assert first is not None
    np.testing.assert_allclose(first.mean, whole.mean[:64], rtol=1e-6)
    applied = [decision for decision in records[0].decisions if decision.after is not None]
    assert all(decision.output_error is not None for decision in applied)
    assert records[0].output_error == pytest.approx(np.sqrt(15 / 16), abs=0.02)
    assert records[1].output_error is None


def test_what_passes_need_is_gathered_and_told() -> None:
    Recorder.seen.clear()
    x = normal(300, 256)
    result = compile_model(
        two_layers(),
        [Recorder(include=("second",)), RF8(include=("first",), rounding="nearest")],
        calibration=Calibration([{"x": x}], sequential=False),
    )
    (inputs,) = Recorder.seen
    assert inputs is not None
    hidden = np.maximum(x @ normal(256, 512), 0)
    np.testing.assert_allclose(inputs.mean, hidden.mean(axis=0), rtol=1e-3, atol=1e-5)
    first, second = result.records
    assert first.output_error is None
    assert second.output_error is not None
    assert first.unseen == second.unseen == ""
    assert result.calibration is not None
    assert result.calibration.startswith("1 feed given: 1 tensor, up to 300 rows each")
    assert "calibration" in str(result.report)


def test_weights_that_calibration_does_not_reach_are_told() -> None:
    proto = model("g (float[2,b,256] x) => (float[2,b,256] y) { y = MatMul(x, several) }", several=normal(2, 256, 256))
    result = compile_model(proto, [Blind()], calibration=[{"x": normal(2, 3, 256)}])
    assert "several matrices" in result.records[0].unseen
    assert "1 weight: node" in " ".join(str(result.report).split())
    assert "several matrices" in result.report.to_html()


@dataclass(frozen=True, kw_only=True)
class Blind(Recorder):
    """The same, for weights that cannot be split."""

    name: ClassVar[str] = "blind"

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:
        return Preview("cut", None)


def test_passes_that_ask_for_nothing_go_along_with_sequential_calibration() -> None:
    Recorder.seen.clear()
    x = normal(300, 256)
    passes = [RF8(include=("first",), rounding="nearest"), Recorder(include=("second",))]
    result = compile_model(two_layers(), passes, calibration=Calibration([{"x": x}], sequential=True))
    assert all(record.changed for record in result.records)
    (inputs,) = Recorder.seen
    assert inputs is not None
    assert inputs.cross is not None
