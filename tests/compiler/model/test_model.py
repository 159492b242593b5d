"""Opening models and changing them: what is refused, and in which words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import ModelProto, helper

from onnx_models import MODELS, external, parsed
from regc.compiler.errors import ModelError, RegcError
from regc.compiler.model import from_proto, load, load_values, save
from support import run


def test_functions_are_added_once_with_their_imports() -> None:
    model = from_proto(parsed(MODELS["matmul"], ir=4))
    body = [helper.make_node("Neg", ["a"], ["b"])]
    made = helper.make_function("ai.regc", "Flip", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    model.add_functions([made])
    model.add_functions([made])
    node = model.graph.nodes[0]
    node.op, node.domain, node.inputs = "Flip", "ai.regc", node.inputs[:1]
    model.graph.outputs[0].shape = ["n", 2]
    model.unused.clear()
    back = model.to_proto()
    assert (back.ir_version, len(back.functions)) == (8, 1)
    assert {entry.domain: entry.version for entry in back.opset_import}["ai.regc"] == 1
    onnx.checker.check_model(back)
    np.testing.assert_array_equal(run(back, {"x": np.ones((1, 2), np.float32)})[0], -np.ones((1, 2)))


def test_functions_import_what_passes_put_into_them() -> None:
    model = from_proto(parsed(MODELS["function"]))
    node = model.graph.functions[0].nodes[-1]
    node.op, node.domain = "Special", "ai.regc"
    node.inputs.append(model.add_constant("weight", np.ones(2, np.float32)))
    function = model.to_proto().functions[0]
    assert {entry.domain for entry in function.opset_import} == {"", "ai.regc"}
    assert function.node[0].op_type == "Constant"
    assert list(function.node[0].output) == ["weight"]


def test_added_functions_come_before_those_that_call_them() -> None:
    model = from_proto(parsed(MODELS["function"]))
    body = [helper.make_node("Neg", ["a"], ["b"])]
    model.add_functions([helper.make_function("ai.regc", "Flip", ["a"], ["b"], body, [helper.make_opsetid("", 17)])])
    assert [function.name for function in model.to_proto().functions] == ["Flip", "Twice"]


def test_fresh_names_are_new_everywhere() -> None:
    model = from_proto(parsed(MODELS["if"]))
    assert [model.fresh_name("w"), model.fresh_name("w"), model.fresh_name("v")] == ["w_1", "w_2", "v"]


def test_one_constant_in_two_branches_is_written_for_both() -> None:
    model = from_proto(parsed(MODELS["if"]))
    constant = model.add_constant(model.fresh_name("tied"), np.array([10, 20], np.float32))
    for branch in model.graph.subgraphs():
        branch.nodes[0].inputs[1] = constant
    back = model.to_proto()
    onnx.checker.check_model(back)
    result = run(back, {"c": np.array(False), "x": np.zeros(2, np.float32)})[0]
    np.testing.assert_array_equal(result, [-10, -20])


def broken_producer(model: gs.Graph) -> None:
    model.nodes[0].outputs.clear()


def cyclic(model: gs.Graph) -> None:
    model.nodes[0].inputs[0] = model.outputs[0]


def written_twice(model: gs.Graph) -> None:
    model.nodes[1].outputs[0] = model.nodes[0].outputs[0]


def odd_attribute(model: gs.Graph) -> None:
    model.nodes[0].attrs["odd"] = object()


def same_name(model: gs.Graph) -> None:
    for node in model.nodes:
        node.inputs.append(gs.Constant("same", np.ones(2, np.float32)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (broken_producer, "which nothing produces"),
        (cyclic, "a cycle"),
        (written_twice, "another node writes too"),
        (odd_attribute, "attribute 'odd' cannot hold"),
        (same_name, "two constants are called 'same'"),
    ],
)
def test_what_passes_must_not_leave_behind(damage: Callable[[gs.Graph], None], words: str) -> None:
    model = from_proto(parsed("g (float[2] x) => (float[2] y) { z = Neg (x) y = Abs (z) }"))
    damage(model.graph)
    with pytest.raises(RegcError, match=words):
        model.to_proto()


def changed(change: Callable[[ModelProto], Any]) -> bytes:
    proto = parsed(MODELS["matmul"])
    change(proto)
    return proto.SerializeToString()


def ints(proto: ModelProto) -> None:
    proto.graph.initializer[0].raw_data = bytes(20)


BROKEN = {
    "text": (b"this is no model", "no ONNX file|no graph|cut short"),
    "nothing": (b"", "is empty"),
    "cut": (parsed(MODELS["matmul"]).SerializeToString()[:-9], "cut short"),
    "ort format": (b"\0\0\0\0ORTM" + bytes(20), "own format"),
    "no graph": (changed(lambda m: m.ClearField("graph")), "holds no graph"),
    "old ir": (changed(lambda m: setattr(m, "ir_version", 2)), "IR version 2 is older"),
    "new ir": (changed(lambda m: setattr(m, "ir_version", 99)), "IR version 99 is newer.*upgrade"),
    "new opset": (
        changed(lambda m: setattr(m.opset_import[0], "version", 999)),
        "opset 999 is newer.*upgrade",
    ),
    "two initializers": (
        changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "two initializers 'w'",
    ),
    "two inputs": (changed(lambda m: m.graph.input.append(m.graph.input[0])), "two inputs 'x'"),
    "typed payload": (
        changed(lambda m: m.graph.initializer[0].float_data.append(1)),
        "takes 6 values, but has 7",
    ),
    "raw payload": (changed(ints), r"'w': FLOAT \[2, 3\] takes 24 bytes, but has 20"),
    "element type": (changed(lambda m: setattr(m.graph.initializer[0], "data_type", 0)), "element type 0"),
    "nobody produces": (
        changed(lambda m: m.graph.node[0].input.append("ghost")),
        r"\(MatMul\): nothing produces 'ghost'",
    ),
    "no output": (changed(lambda m: m.graph.node.pop()), "output of graph 'g': nothing produces 'y'"),
    "cycle": (
        changed(lambda m: m.graph.node[0].input.append("y")),
        r"node 'y' \(MatMul\) waits for its own output",
    ),
    "written twice": (changed(lambda m: m.graph.node.append(m.graph.node[0])), "exists already, 'y'"),
    "missing data": (changed(external(location="gone.bin")), "gone.bin is missing"),
    "climbing data": (changed(external(location="../data.bin")), "not inside the model's folder"),
    "absolute data": (changed(external(location="/etc/passwd")), "not inside the model's folder"),
    "windows data": (changed(external(location="C:\\data.bin")), "not inside the model's folder"),
    "no location": (changed(external(offset="0")), "not inside the model's folder"),
    "linked data": (changed(external(location="link.bin")), "link out of the model's folder"),
    "short data": (
        changed(external(location="data.bin", offset="64")),
        "ends at byte 88 of data.bin, which has 80",
    ),
    "other length": (
        changed(external(location="data.bin", length="20")),
        "takes 24 bytes, but data.bin has 20 of it",
    ),
    "negative offset": (changed(external(location="data.bin", offset="-8")), "no byte count"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, words = BROKEN[name]
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "data.bin").write_bytes(bytes(80))
    (tmp_path / "outside.bin").write_bytes(bytes(80))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    path = folder / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match="is no file"):
        load(tmp_path)


def test_external_data_in_memory_needs_a_folder() -> None:
    proto = parsed(MODELS["matmul"])
    external(location="data.bin")(proto)
    with pytest.raises(ModelError, match="in which folder"):
        from_proto(proto)


def test_a_link_to_the_model_may_have_its_data_beside_either(tmp_path: Path) -> None:
    store, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    store.mkdir()
    snapshot.mkdir()
    (store / "1").write_bytes(changed(external(location="data.bin")))
    (store / "2").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    (snapshot / "model.onnx").symlink_to(store / "1")
    (snapshot / "data.bin").symlink_to(store / "2")
    model = load(snapshot / "model.onnx")
    np.testing.assert_array_equal(load_values(model.graph.tensors()["w"]), [[0, 1, 2], [3, 4, 5]])


def opaque_model() -> ModelProto:
    proto = parsed(MODELS["matmul"])
    graphs = [helper.make_graph([], "inner", [], [])]
    proto.graph.node.append(helper.make_node("Foreign", ["y"], ["z"], domain="local", name="odd", graphs=graphs))
    return proto


def test_old_opsets_are_left_as_they_are() -> None:
    opened = from_proto(_old())
    assert opened.opaque == "its opset 8 is older than 9; convert it with onnx.version_converter first"
    assert opened.to_proto() == _old()


def _old() -> ModelProto:
    return onnx.parser.parse_model(
        '<ir_version: 4, opset_import: ["" : 8]> g (float[2] x) => (float[2] y) { y = Neg(x) }'
    )


def test_opaque_models_are_copied_as_they_came(tmp_path: Path) -> None:
    path = tmp_path / "in.onnx"
    path.write_bytes(opaque_model().SerializeToString())
    model = load(path)
    assert model.opaque == "node 'odd' (Foreign) holds a list of graphs in attribute 'graphs'"
    save(model, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == path.read_bytes()
    save(from_proto(opaque_model()), tmp_path / "memory.onnx")
    assert onnx.load(tmp_path / "memory.onnx") == opaque_model()
    assert model.to_proto() == opaque_model()
