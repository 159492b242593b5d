"""Where values live, and that reading them leaves nothing behind."""

import gc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper, numpy_helper

from regc.compiler.errors import ModelError, RegcError
from regc.compiler.model import dtypes, from_proto, load_values
from regc.compiler.model.scratch import SMALL, Store
from regc.compiler.model.storage import FileValues, ParsedValues, Region, StoredValues, stored

TYPES = [
    *(np.dtype(name) for name in ("float16", "float32", "float64", "int8", "uint16", "int64", "bool", "complex64")),
    *(np.dtype(kind) for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4, ml_dtypes.uint4)),
]


def sample(dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    return (np.arange(count).reshape(-1, 3) % 7).astype(dtype)


def external(array: npt.NDArray[Any], path: Path, offset: int = 0) -> gs.Constant:
    """A constant whose values are in a file, as the importer makes them."""
    raw = numpy_helper.from_array(array).raw_data
    path.write_bytes(bytes(offset) + raw)
    header = TensorProto(name="w", data_type=dtypes.onnx_type(array.dtype), dims=array.shape)
    return gs.Constant("w", FileValues(header, Region(path, offset, len(raw))))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 1, 4096])
def test_external_values_read_as_they_were_written(dtype: np.dtype[Any], offset: int, tmp_path: Path) -> None:
    array = sample(dtype, 15)
    constant = external(array, tmp_path / "data", offset)
    read = load_values(constant)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == constant.dtype == dtype
    assert constant.shape == (5, 3)
    np.testing.assert_array_equal(numpy_helper.to_array(constant._values.tensor), array)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("count", [3, SMALL * 3])
def test_spilled_values_come_back(dtype: np.dtype[Any], count: int) -> None:
    array = sample(dtype, count)
    values = Store().spill(array)
    array_before = array.copy()
    array[:] = np.zeros((), dtype)
    np.testing.assert_array_equal(values.read(), array_before)
    assert (values.shape, values.dtype) == (array.shape, array.dtype)
    assert sum(len(chunk) for chunk in values.chunks()) == values.nbytes


@pytest.mark.parametrize("array", [np.ones((0, 4), np.float32), np.float32(3), np.arange(6.0).reshape(2, 3).T])
def test_odd_arrays(array: npt.NDArray[Any]) -> None:
    values = Store().spill(array)
    np.testing.assert_array_equal(values.read(), array)
    np.testing.assert_array_equal(numpy_helper.to_array(values.tensor), array)


@pytest.mark.parametrize("count", [3, SMALL])
def test_what_is_read_is_no_way_to_write(count: int) -> None:
    with pytest.raises(ValueError, match="read-only"):
        Store().spill(np.zeros(count, np.float32)).read()[0] = 1


def test_big_endian_arrays_are_stored_little_endian() -> None:
    values = Store().spill(np.arange(5, dtype=">f4"))
    np.testing.assert_array_equal(numpy_helper.to_array(values.tensor), np.arange(5))


def test_strings() -> None:
    words = np.array(["a", "ü"], object)
    values = Store().spill(words)
    assert list(values.tensor.string_data) == [b"a", "ü".encode()]
    np.testing.assert_array_equal(load_values(gs.Constant("s", values)), words)


def test_typed_fields_and_raw_data_read_alike() -> None:
    typed = ParsedValues(helper.make_tensor("t", TensorProto.BFLOAT16, [2], [1.5, 2.0]))
    raw = ParsedValues(numpy_helper.from_array(np.array([1.5, 2.0], ml_dtypes.bfloat16), "t"))
    np.testing.assert_array_equal(typed.read(), raw.read())
    assert b"".join(typed.chunks()) == b"".join(raw.chunks())
    assert typed.read().dtype == ml_dtypes.bfloat16


def test_load_values_takes_whatever_a_constant_holds() -> None:
    array = np.arange(4.0, dtype=np.float32)
    lazy = gs.ir.tensor.LazyValues(numpy_helper.from_array(array, "w"))
    for held in (array, lazy, Store().spill(array)):
        constant = gs.Constant("w", held)
        np.testing.assert_array_equal(load_values(constant), array)
        assert constant._values is held


def test_an_array_gets_its_values_through_graphsurgeon_too() -> None:
    constant = gs.Constant("w", Store().spill(np.zeros(SMALL, np.float32)))
    constant.values[0] = 5
    assert isinstance(constant._values, np.ndarray)
    assert stored(constant._values).read()[0] == 5


def test_graphsurgeon_exports_our_values(tmp_path: Path) -> None:
    array = sample(np.dtype(np.float32), 9)
    x, y = gs.Variable("x", np.float32, [2, 3]), gs.Variable("y", np.float32, [2, 3])
    weight = external(array, tmp_path / "data")
    graph = gs.Graph([gs.Node("MatMul", inputs=[x, weight], outputs=[y])], [x], [y], opset=17)
    proto = gs.export_onnx(graph)
    np.testing.assert_array_equal(numpy_helper.to_array(proto.graph.initializer[0]), array)


def test_a_changed_data_file_is_noticed(tmp_path: Path) -> None:
    constant = external(sample(np.dtype(np.float32), 15), tmp_path / "data")
    (tmp_path / "data").write_bytes(b"short")
    with pytest.raises(ModelError, match="was changed or removed"):
        load_values(constant)
    with pytest.raises(ModelError, match="was changed or removed"):
        list(constant._values.chunks())
    (tmp_path / "data").unlink()
    with pytest.raises(ModelError, match="was changed or removed"):
        list(constant._values.chunks())


def test_the_temporary_file_goes_with_its_last_reader() -> None:
    def parked() -> int:
        gc.collect()
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum("(deleted)" in str(link.readlink()) for link in links)

    if not Path("/proc/self/fd").exists():
        pytest.skip("counts open files in /proc")
    before = parked()
    values: StoredValues | None = Store().spill(np.zeros(SMALL, np.float32))
    assert parked() == before + 1
    values = None
    assert values is None
    assert parked() == before


def test_no_room_to_spill(tmp_path: Path) -> None:
    with pytest.raises(RegcError, match="set TMPDIR"):
        Store(tmp_path / "gone").spill(np.zeros(SMALL, np.float32))


def test_reading_a_model_keeps_nothing() -> None:
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", 1, [9])],
            [helper.make_tensor_value_info("y", 1, [9])],
            [numpy_helper.from_array(np.ones(9, np.float32), "w")],
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    weight = from_proto(proto).graph.tensors()["w"]
    assert load_values(weight).sum() == 9
    assert isinstance(weight._values, ParsedValues)
