import onnx
import pytest

from regc.compiler import (
    UsageError,
    compile_model,
)
from regc.passes import RF8, LowRank, Ternary
from support import two_layers


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
