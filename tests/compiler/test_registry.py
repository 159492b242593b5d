from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from third_party import KeepHalf

from regc.compiler import (
    Pass,
    compile_model,
    registry,
)
from support import normal, run, two_layers


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
