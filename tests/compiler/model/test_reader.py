"""Model files are read as protobuf reads them, but for large weights, which stay where they are."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from onnx_models import sums, weights
from regc.compiler.errors import ModelError
from regc.compiler.model import load, load_values, save
from regc.compiler.model.reader import read
from regc.compiler.model.storage import FileValues, ParsedValues
from regc.compiler.model.wire import prefix

LARGE = {"big", "page", "odd"}


def written(content: bytes, folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(content)
    return folder / "m.onnx"


def read_whole(path: Path) -> ModelProto:
    proto = read(path)
    load_external_data_for_model(proto, str(path.parent))
    for tensor in proto.graph.initializer:
        tensor.ClearField("data_location")
    return proto


def test_large_weights_stay_in_the_file(tmp_path: Path) -> None:
    path = written(sums().SerializeToString(), tmp_path)
    model = load(path)
    assert (model.files, model.has_external_data, model.nbytes) == ((path,), False, path.stat().st_size)
    values = {name: tensor._values for name, tensor in model.graph.tensors().items() if hasattr(tensor, "_values")}
    assert {name for name, found in values.items() if isinstance(found, FileValues)} == LARGE
    assert isinstance(values["small"], ParsedValues)
    for name, expected in weights().items():
        np.testing.assert_array_equal(load_values(model.graph.tensors()[name]), expected)
    assert onnx.load(save(model, tmp_path / "again.onnx").model) == onnx.load(path) == read_whole(path)


@pytest.mark.parametrize("shift", range(4))
def test_what_is_read_is_aligned_wherever_it_lies(shift: int, tmp_path: Path) -> None:
    proto = sums()
    proto.producer_name = "p" * shift
    constant = load(written(proto.SerializeToString(), tmp_path)).graph.tensors()["big"]
    assert load_values(constant).flags.aligned
    np.testing.assert_array_equal(load_values(constant, aligned=False), weights()["big"])


def test_fields_may_have_any_order_and_come_in_pieces(tmp_path: Path) -> None:
    whole = sums()
    first = whole.graph.initializer[0]
    raw, rest = TensorProto(raw_data=first.raw_data), TensorProto()
    rest.CopyFrom(first)
    rest.ClearField("raw_data")
    tensor = raw.SerializeToString() + rest.SerializeToString()
    graph = prefix(type(whole.graph), "initializer", len(tensor)) + tensor
    del whole.graph.initializer[:]
    path = written(prefix(ModelProto, "graph", len(graph)) + graph + whole.SerializeToString(), tmp_path)
    assert {tensor.name for tensor in read(path).graph.initializer} == {"big"}
    assert read_whole(path) == onnx.load(path)


def test_what_is_no_single_block_of_raw_bytes_is_left_to_protobuf(tmp_path: Path) -> None:
    proto = sums()
    big, page, odd = proto.graph.initializer[:3]
    big.CopyFrom(onnx.helper.make_tensor("big", TensorProto.FLOAT, big.dims, weights()["big"]))
    twice = TensorProto(raw_data=bytes(len(page.raw_data))).SerializeToString() + page.SerializeToString()
    odd.data_type = TensorProto.STRING
    del proto.graph.initializer[1]
    graph = prefix(type(proto.graph), "initializer", len(twice)) + twice
    path = written(proto.SerializeToString() + prefix(ModelProto, "graph", len(graph)) + graph, tmp_path)
    found = read(path)
    assert found == onnx.load(path)
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[-1]), weights()["page"])


def unweighted() -> bytes:
    """The model with one large weight, of 1,204 bytes."""
    proto = sums()
    del proto.graph.initializer[:2]
    content: bytes = proto.SerializeToString()
    return content


CONTENT = unweighted()


@given(size=st.integers(1, len(CONTENT)), place=st.integers(0, len(CONTENT) - 1), mask=st.integers(0, 255))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_as_protobuf_reads_them_or_refused(
    size: int, place: int, mask: int, tmp_path: Path
) -> None:
    damaged = bytearray(CONTENT)
    damaged[place] ^= mask
    path = written(bytes(damaged[:size]), tmp_path)
    try:
        found = read(path)
    except ModelError:
        return
    expected = ModelProto.FromString(path.read_bytes())
    assert [tensor.name for tensor in found.graph.initializer] == [t.name for t in expected.graph.initializer]
    assert found.graph.node == expected.graph.node


def test_a_file_that_changes_while_it_is_in_use_is_an_error(tmp_path: Path) -> None:
    path = written(sums().SerializeToString(), tmp_path)
    model = load(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx: was changed or removed while the model was in use"):
        load_values(model.graph.tensors()["big"])
    path.unlink()
    with pytest.raises(ModelError, match="was changed or removed"):
        save(model, tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())
