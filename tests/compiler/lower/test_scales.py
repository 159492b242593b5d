"""Scales of two bytes, where these hold all of them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from regc import runtime_ops
from regc.passes import RF8, Ternary
from regc.passes.rounding import halved
from support import Array, model, normal, run

from .same import compile_proto

W = normal(80, 256)
X = normal(5, 80, seed=7)
FORMS = {"rf8": RF8(), "ternary": Ternary(), "groups": Ternary(group=16)}


def product(weight: Array) -> onnx.ModelProto:
    return model("g (float[5,80] x) => (float[5,n] y) { y = MatMul(x, w) }", w=weight)


def scale(proto: onnx.ModelProto) -> Array:
    """The one tensor of scales that a model stores."""
    (found,) = [tensor for tensor in proto.graph.initializer if tensor.name.endswith(".scale")]
    return onnx.numpy_helper.to_array(found)


def operators(proto: onnx.ModelProto) -> list[str]:
    """All of them, in order."""
    return [node.op_type for node in proto.graph.node]


def widened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with scales of four bytes."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    casts = [node for node in copy.graph.node if node.op_type == "Cast"]
    for node in casts:
        (stored,) = [tensor for tensor in copy.graph.initializer if tensor.name == node.input[0]]
        wide = onnx.numpy_helper.to_array(stored).astype(np.float32)
        stored.CopyFrom(onnx.numpy_helper.from_array(wide, node.output[0]))
        copy.graph.node.remove(node)
    return copy


@pytest.mark.parametrize("form", FORMS)
def test_scales_take_two_bytes_and_nothing_changes(form: str) -> None:
    compiled = compile_proto(product(W), FORMS[form])
    assert operators(compiled)[0] == "Cast" and len(operators(compiled)) == 2
    assert scale(compiled).dtype == np.float16
    wide = widened(compiled)
    assert len(compiled.SerializeToString()) < len(wide.SerializeToString()) - 256
    for library in (True, False):
        (ours,), (theirs,) = (run(proto, {"x": X}, library=library) for proto in (compiled, wide))
        np.testing.assert_array_equal(ours, theirs)


def test_onnx_runtime_widens_them_at_load(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    runtime_ops.register(options)
    ort.InferenceSession(compile_proto(product(W)).SerializeToString(), options)
    assert operators(onnx.load(tmp_path / "loaded.onnx")) == ["RF8MatMul"]


@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_is_optimized_they_are_widened_in_every_run(form: str) -> None:
    compiled = compile_proto(product(W), FORMS[form])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    runtime_ops.register(options)
    (y,) = ort.InferenceSession(compiled.SerializeToString(), options).run(None, {"x": X})
    np.testing.assert_array_equal(y, run(compiled, {"x": X}, library=True)[0])


@pytest.mark.parametrize("weight", [W[:, :127], W * np.float32(1e-6), W * np.float32(1e6)])
def test_few_scales_and_those_that_float16_lacks_keep_four_bytes(weight: Array) -> None:
    compiled = compile_proto(product(weight))
    assert operators(compiled) == ["RF8MatMul"]
    assert scale(compiled).dtype == np.float32


def test_scales_of_rows_that_are_looked_up() -> None:
    proto = model("g (int64[n] i) => (float[n,80] y) { y = Gather(w, i) }", w=np.ascontiguousarray(W.T))
    compiled = compile_proto(proto)
    assert operators(compiled) == ["Cast", "RF8Gather"]
    for library in (True, False):
        (y,) = run(compiled, {"i": np.array([3, 255])}, library=library)
        np.testing.assert_allclose(y, W.T[[3, 255]], atol=0.2)


def test_one_table_that_is_looked_up_and_multiplied_by_is_stored_once() -> None:
    nodes = "e = Gather(w, i) t = Transpose<perm=[1,0]>(w) y = MatMul(e, t)"
    proto = model(f"g (int64[n] i) => (float[n,256] y) {{ {nodes} }}", w=np.ascontiguousarray(W.T))
    compiled = compile_proto(proto)
    assert sorted(operators(compiled)) == ["Cast", "RF8MatMul", "RF8TiledGather"]
    assert scale(compiled).dtype == np.float16
    ours, theirs = (run(compiled, {"i": np.array([3, 255])}, library=library)[0] for library in (True, False))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=0.1)


def test_the_papers_measures_are_left_as_they_are() -> None:
    proto = product(W)
    assert scale(compile_proto(proto, Ternary(method="median"))).dtype == np.float32
    assert scale(compile_proto(proto, Ternary(method="median", refit=True))).dtype == np.float16


def test_halves_are_near_or_none() -> None:
    values = np.abs(normal(100)) + np.float32(0.01)
    halves = halved(values)
    assert (halves == halves.astype(np.float16)).all()
    assert (np.abs(halves - values) <= values * 2.0**-11).all()
    for odd in (1e-7, 1e5, 3e38):
        mixed = np.append(values, np.float32(odd)).astype(np.float32)
        assert halved(mixed) is mixed
    assert halved(np.append(values, np.float32(0)))[-1] == 0
