"""What goes in comes out again, also where GraphSurgeon cannot hold it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_models import MODELS, feeds, parsed
from regc.compiler.model import from_proto, load_values, save
from support import run


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_gives_the_same_bytes_and_values(name: str, tmp_path: Path) -> None:
    proto = parsed(MODELS[name])
    before = proto.SerializeToString(deterministic=True)
    model = from_proto(proto)
    assert model.opaque is None
    assert model.to_proto().SerializeToString(deterministic=True) == before
    assert proto.SerializeToString(deterministic=True) == before
    saved = save(model, tmp_path / "m.onnx")
    np.testing.assert_equal(run(saved.model, feeds(proto)), run(proto, feeds(proto)))


def decorated() -> ModelProto:
    """A model with something in every corner that GraphSurgeon does not know."""
    proto = parsed(MODELS["matmul"], ir=10)
    proto.domain, proto.model_version, proto.doc_string = "org.example", 7, "model words"
    proto.producer_name, proto.producer_version = "tool", "2"
    helper.set_model_props(proto, {"author": "me"})
    graph, node = proto.graph, proto.graph.node[0]
    graph.doc_string, node.doc_string = "graph words", "node words"
    for holder in (graph, node, graph.initializer[0], graph.input[0]):
        holder.metadata_props.add(key="k", value="v")
    node.overload = ""
    node.attribute.add(name="types", type=onnx.AttributeProto.TYPE_PROTO).tp.tensor_type.elem_type = 1
    node.attribute.add(name="raw", type=onnx.AttributeProto.STRING, s=b"\xff\xfe")
    node.attribute.add(name="none", type=onnx.AttributeProto.INTS, doc_string="empty")
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("v", 1, [1], [2.0]), helper.make_tensor("i", 7, [1], [3]), [4]
    )
    node.attribute.append(helper.make_attribute("sparse", sparse))
    tensors = [helper.make_tensor("t", 1, [1], [2.0])]
    node.attribute.append(helper.make_attribute("tensors", tensors))
    graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    graph.input[0].doc_string = "input words"
    graph.value_info.append(helper.make_tensor_value_info("w", 1, [2, 3]))
    note = graph.quantization_annotation.add(tensor_name="y")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    graph.quantization_annotation.add(tensor_name="gone")
    return proto


def test_what_graphsurgeon_cannot_hold_comes_back() -> None:
    proto = decorated()
    back = from_proto(proto).to_proto()
    del proto.graph.quantization_annotation[1]
    assert back == proto


def test_a_changed_tensor_loses_its_old_description() -> None:
    model = from_proto(decorated())
    model.graph.inputs[0].shape = [5, 2]
    info = model.to_proto().graph.input[0]
    assert [dim.dim_value for dim in info.type.tensor_type.shape.dim] == [5, 2]
    assert not info.doc_string


def test_a_replaced_node_does_not_inherit() -> None:
    model = from_proto(decorated())
    node = model.graph.nodes[0]
    node.op, node.attrs = "Gemm", {"alpha": 2.0}
    exported = model.to_proto().graph.node[0]
    assert (exported.op_type, exported.doc_string, len(exported.attribute)) == ("Gemm", "", 1)


def test_maps_in_sequences_pass_through() -> None:
    proto = parsed(MODELS["matmul"])
    map_type = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    proto.graph.output.append(helper.make_value_info("z", helper.make_sequence_type_proto(map_type)))
    proto.graph.node.append(helper.make_node("Foreign", ["y"], ["z"], domain="local"))
    assert from_proto(proto).to_proto() == proto


def with_inputs(ir: int) -> ModelProto:
    text = """g (float[2] x) => (float[2] y) <float[2] a = {1, 2}, float[2] b = {3, 4}> {
        z = Add (x, a)
        y = Mul (z, b)
    }"""
    proto = parsed(text, ir)
    x, a, b = (
        proto.graph.input.pop(),
        helper.make_tensor_value_info("a", 1, [2]),
        helper.make_tensor_value_info("b", 1, [2]),
    )
    proto.graph.input.extend([b, x, a])
    return proto


def test_overridable_initializers_stay_inputs_in_their_order() -> None:
    model = from_proto(with_inputs(ir=8))
    assert model.overridable == {"a", "b"}
    back = model.to_proto()
    assert [info.name for info in back.graph.input] == ["b", "x", "a"]
    inputs = {"x": np.ones(2, np.float32), "a": np.zeros(2, np.float32)}
    result = ort.InferenceSession(back.SerializeToString()).run(None, inputs)
    np.testing.assert_array_equal(result[0], [3, 4])


def test_inputs_by_convention_go_when_the_ir_version_is_raised() -> None:
    model = from_proto(with_inputs(ir=3))
    assert not model.overridable
    assert [info.name for info in model.to_proto().graph.input] == ["b", "x", "a"]
    model.require_ir(8)
    back = model.to_proto()
    assert [info.name for info in back.graph.input] == ["x"]
    onnx.checker.check_model(back)


def test_new_constants_are_inputs_while_the_ir_version_asks_for_it() -> None:
    model = from_proto(with_inputs(ir=3))
    model.graph.nodes[0].inputs[1] = model.add_constant("fresh", np.zeros(2, np.float32))
    back = model.to_proto()
    assert [info.name for info in back.graph.input] == ["b", "x", "fresh"]
    onnx.checker.check_model(back)


def test_unused_initializers_are_kept_until_taken_off_the_list() -> None:
    proto = parsed(MODELS["matmul"])
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "idle"))
    model = from_proto(proto)
    assert [constant.name for constant in model.unused] == ["idle"]
    assert model.to_proto() == proto
    model.unused.clear()
    assert [tensor.name for tensor in model.to_proto().graph.initializer] == ["w"]


def test_unsorted_graphs_come_out_sorted() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { z = Neg (x) y = Abs (z) }")
    proto.graph.node.reverse()
    back = from_proto(proto).to_proto()
    assert [node.op_type for node in back.graph.node] == ["Neg", "Abs"]
    onnx.checker.check_model(back)


def test_captures_count_when_sorting() -> None:
    proto = parsed(MODELS["if"])
    proto.graph.node.reverse()
    back = from_proto(proto).to_proto()
    assert [node.op_type for node in back.graph.node] == ["Neg", "If"]


def test_sparse_initializers() -> None:
    proto = parsed("g (float[2, 2] x) => (float[2, 2] y) { y = MatMul (x, s) }")
    values = helper.make_tensor("s", 1, [2], [5.0, 7.0])
    for indices in (
        helper.make_tensor("i", 7, [2], [1, 2]),
        helper.make_tensor("i", 7, [2, 2], [0, 1, 1, 0]),
    ):
        del proto.graph.sparse_initializer[:]
        proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 2]))
        model = from_proto(proto)
        np.testing.assert_array_equal(load_values(model.graph.tensors()["s"]), [[0, 5], [7, 0]])
        assert model.to_proto() == proto


def test_metadata_is_kept_and_extended() -> None:
    model = from_proto(decorated())
    model.metadata["regc.version"] = "1"
    kept = {entry.key: entry.value for entry in model.to_proto().metadata_props}
    assert kept == {"author": "me", "regc.version": "1"}
