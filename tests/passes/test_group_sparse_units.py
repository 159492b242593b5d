"""Neurons, filters and heads as groups: removed from the graph, under one budget, in multiples that pay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler import Calibration, Statistics, compile_model
from regc.compiler.errors import UsageError
from regc.compiler.passes import Consumer, Kept, Refusal, Units
from regc.passes import GroupSparse, NeuronMask
from regc.passes.group_sparse import structured
from tests.support import Array, model, normal, run

LAYERS = """g (float[n, 16] x) => (float[n, 8] y) {
    a = Gemm (x, up_w, up_b)
    r = Relu (a)
    b = MatMul (r, middle)
    s = Relu (b)
    y = MatMul (s, down)
}"""
FILTERS = """g (float[n, 2, 6, 6] x) => (float[n, 3, 2, 2] y) {
    a = Conv (x, c1_w)
    r = Relu (a)
    y = Conv (r, c2_w)
}"""


def layers() -> onnx.ModelProto:
    few = normal(32, 24, seed=2) * np.where(np.arange(24) < 8, 1, 0.02).astype(np.float32)
    return model(LAYERS, up_w=normal(16, 32), up_b=0.1 * normal(32, seed=1), middle=few, down=normal(24, 8, seed=3))


def filters() -> onnx.ModelProto:
    return model(FILTERS, c1_w=normal(32, 2, 3, 3), c2_w=normal(3, 32, 3, 3))


def feeds(*shape: int, count: int = 20) -> list[dict[str, Array]]:
    return [{"x": 4 * normal(*shape, seed=seed)} for seed in range(count)]


def lost(before: onnx.ModelProto, after: onnx.ModelProto, x: Array) -> float:
    was, now = run(before, {"x": x})[0], run(after, {"x": x})[0]
    return float(np.linalg.norm(now - was) / np.linalg.norm(was))


def kept(proto: onnx.ModelProto, text: str, calibration: Any = None) -> tuple[onnx.ModelProto, dict[str, int]]:
    result = compile_model(proto, text, calibration=calibration)
    smaller = result.model.to_proto()
    onnx.checker.check_model(smaller, full_check=True)
    assert {node.domain for node in smaller.graph.node} == {""}
    return smaller, {record.name: record.kept for record in result.report.removed}


def surveyed(name: str, scale: float, units: int = 32, kind: str = "neurons", inner: int = 1) -> Units:
    weight, rows = normal(8, units * inner), normal(400, units * inner, seed=1)
    consumer = Consumer(weight, Statistics.of(rows))
    whole = float(np.linalg.norm(weight))
    return Units(
        name=name,
        kind=kind,
        units=units,
        scales=np.ones(units),
        alike=np.arange(units),
        consumers=(consumer,),
        nbytes=units * 100,
        work=units * 400 if name == "b" else units * 100,
        effect=lambda new: scale * float(np.linalg.norm(new[0] - weight)) / whole,
    )


@pytest.mark.parametrize("method", ["eliminate", "prox", "energy", "pst"])
def test_the_same_share_of_each_layer(method: str) -> None:
    proto = layers()
    text = f"group-sparse{{groups=neurons,sparsity=0.25,scope=weight,method={method}}}"
    smaller, left = kept(proto, text, feeds(8, 16))
    assert left == {"up_w": 24, "middle": 18}
    assert lost(proto, smaller, feeds(8, 16)[0]["x"]) < 0.4


def test_one_budget_spares_the_layer_that_matters() -> None:
    proto, x = layers(), feeds(8, 16)[0]["x"]
    shared, left = kept(proto, "group-sparse{groups=channels,sparsity=0.25,measure=count}", feeds(8, 16))
    alike, _ = kept(proto, "group-sparse{groups=channels,sparsity=0.25,scope=weight}", feeds(8, 16))
    assert left["middle"] < 12
    assert 40 <= left.get("up_w", 32) + left["middle"] <= 42
    assert lost(proto, shared, x) < lost(proto, alike, x)


def test_a_limit_beyond_the_inputs_that_there_are_leaves_the_budget_shared() -> None:
    few = feeds(8, 16)
    _, left = kept(
        layers(),
        "group-sparse{groups=channels,sparsity=0.25,measure=count}",
        Calibration(lambda: iter(few), samples=10000),
    )
    assert left["middle"] < 12


def test_budgets_by_size_and_by_cost() -> None:
    removal = structured.Removal(0.25, None, None)
    units = [surveyed("a", 0.1), surveyed("b", 0.1)]
    size, cost = (structured.shared(removal, iter(units), measure) for measure in ("size", "cost"))  # type: ignore[arg-type]
    shares = {name: share if isinstance(share, float) else 0.0 for name, share in size.items()}
    assert shares["a"] == shares["b"] == pytest.approx(0.25, abs=0.05)
    shares = {name: share if isinstance(share, float) else 0.0 for name, share in cost.items()}
    assert shares["b"] > shares["a"]
    assert (4 * shares["b"] + shares["a"]) / 5 == pytest.approx(0.25, abs=0.06)


def test_filters_stay_in_multiples_within_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured, "channels_at_a_time", lambda: 16)
    removal = structured.Removal(0.3, None, None)
    sets = [surveyed("a", 0.1, 64, "filters", 9), surveyed("b", 0.4, 64, "filters", 9), surveyed("c", 1, 16, "filters")]
    found = structured.shared(removal, iter(sets), "size")
    assert set(found) == {"a", "b"}
    numbers = {name: 64 if isinstance(share, Refusal) else round((1 - share) * 64) for name, share in found.items()}
    assert all(number % 16 == 0 for number in numbers.values())
    assert numbers["a"] < numbers["b"]
    assert 64 <= sum(numbers.values()) <= 90
    refused = GroupSparse(groups="filters").choose(sets[-1])
    assert isinstance(refused, Refusal)
    assert "16 filters: ONNX Runtime convolves 16 channels at a time" in refused.reason


def test_filters_without_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured, "channels_at_a_time", lambda: 8)
    assert kept(filters(), "group-sparse{groups=filters,sparsity=0.3}")[1] == {"c1_w": 24}
    assert kept(filters(), "group-sparse{groups=filters,sparsity=0.3,multiple=1}")[1] == {"c1_w": 22}


def test_effects_of_filters_are_those_of_the_model() -> None:
    seen: list[float | None] = []

    class Asking(GroupSparse):
        def apportion(self, surveyed: Any) -> Any:
            for units in surveyed:
                weights = [consumer.weight for consumer in units.consumers]
                seen.extend(units.effect([factor * weight for weight in weights]) for factor in (1.0, 0.5))
            return {}

    compile_model(filters(), [Asking(groups="filters", multiple=1)], calibration=feeds(4, 2, 6, 6))
    assert seen == [0, pytest.approx(0.5, abs=1e-4)]


@pytest.mark.parametrize(("flags", "channels"), [("avx2 avx512f", 16), ("avx2", 8), ("", 8)])
def test_channels_follow_the_cpu(flags: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured.cpu, "flags", lambda: frozenset(flags.split()))
    assert structured.channels_at_a_time() == channels


def test_other_kinds_stay() -> None:
    result = compile_model(layers(), "group-sparse{groups=heads}", calibration=feeds(4, 16))
    words = "they are neurons, which groups=heads leaves; groups=neurons or all takes them"
    assert not result.changed and words in {record.reason for record in result.units}
    assert isinstance(GroupSparse(groups="channels").choose(surveyed("a", 0.1)), Kept)


def test_neuron_mask_takes_heads_when_asked() -> None:
    heads = surveyed("a", 0.1, units=4, kind="heads", inner=8)
    words = "they are heads, which groups=channels leaves; groups=heads or all takes them"
    assert NeuronMask(keep=0.5).leaves("heads") == words
    for groups in ("heads", "all"):
        asked = NeuronMask(keep=0.5, groups=groups)
        assert asked.leaves("heads") is None and isinstance(asked.choose(heads), Kept)
    assert NeuronMask(keep=1).leaves("heads") is None


def test_zero_blocks_and_dead_units_go_without_a_loss() -> None:
    weights = {"up_w": normal(16, 64), "up_b": normal(64, seed=1), "middle": normal(64, 96, seed=2)}
    weights["middle"][5] = 0  # unread
    weights["middle"][np.arange(64) % 4 != 0, :48] = 0
    proto = model(LAYERS, **weights, down=normal(96, 8, seed=3))
    result = compile_model(proto, "group-sparse{exact=true}")
    assert [(record.name, record.kept) for record in result.report.removed] == [("up_w", 63)]
    changed = {record.info.name: record for record in result.records if record.changed}
    assert list(changed) == ["middle"]
    assert changed["middle"].error == 0
    x = feeds(8, 16)[0]["x"]
    found = run(result.model.to_proto(), {"x": x}, library=True)[0]
    np.testing.assert_allclose(found, run(proto, {"x": x})[0], rtol=1e-4, atol=1e-5)


def test_blocks_that_are_zero_already_are_all_that_goes() -> None:
    weights = {"up_w": normal(16, 64), "up_b": normal(64, seed=1), "middle": normal(64, 96, seed=2)}
    weights["middle"][np.arange(64) % 2 == 0] = 0
    weights["up_w"][:8] = 0
    weights["down"] = normal(96, 8, seed=3)
    weights["down"][::2] = 0
    for calibration in (None, feeds(8, 16, count=4)):
        result = compile_model(model(LAYERS, **weights), "group-sparse{sparsity=0.5}", calibration=calibration)
        changed = [record for record in result.records if record.changed]
        assert "middle" in [record.info.name for record in changed]
        assert all(record.error == 0 for record in changed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"multiple": 8}, "multiple and measure are for units"),
        ({"measure": "cost"}, "multiple and measure are for units"),
        ({"groups": "filters", "multiple": 0}, "multiple must be 1 or more"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GroupSparse(**options)
