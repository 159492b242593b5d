"""The operators that look up rows of packed tables: body, library and NumPy agree bit for bit; mistakes are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from regc.runtime_ops.formats import rows

from .packed import Array, assert_same_bits, session
from .tables import GATHERS, NODE, in_two_bytes, model, table
from .test_types import TYPES, rounded


def look_up(proto: onnx.ModelProto, indices: Array, *, library: bool, threads: int = 1, **feeds: Array) -> Array:
    (y,) = session(proto, library=library, threads=threads).run(None, {"indices": indices, **feeds})
    return np.asarray(y)


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("op", GATHERS)
def test_body_and_library_give_the_rows_bit_for_bit(op: str, opset: int) -> None:
    operands, matrix = table(op, (37, 50))
    proto = model(op, operands, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    indices = np.array([0, 36, -1, -37, 16, 15, 15])
    for library in (True, False):
        assert_same_bits(look_up(proto, indices, library=library), matrix[indices])


@settings(max_examples=40, deadline=None)
@given(
    op=st.sampled_from(GATHERS),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    group=st.sampled_from([16, 32, 64, 128]),
    leading=st.lists(st.integers(0, 3), max_size=3),
    index=st.sampled_from(["int32", "int64"]),
    library=st.booleans(),
)
def test_any_shape(op: str, shape: tuple[int, int], group: int, leading: list[int], index: str, library: bool) -> None:
    """Scalars, no indices at all, and tables that end within a tile, a block or a group."""
    operands, matrix = table(op, shape, group, seed=sum(shape))
    indices = np.random.default_rng(1).integers(-shape[0], shape[0], leading).astype(index)
    y = look_up(model(op, operands, len(leading), index=index), indices, library=library)
    assert y.shape == (*leading, shape[1])
    assert_same_bits(y, matrix[indices])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("opset", [15, 21])
@pytest.mark.parametrize("op", GATHERS)
def test_rows_of_two_bytes_are_rounded_once(op: str, opset: int, kind: int) -> None:
    operands, matrix = table(op, (37, 50))
    proto = in_two_bytes(model(op, operands, opset=opset), TYPES[kind].name)
    onnx.checker.check_model(proto, full_check=True)
    indices = np.array([0, 36, -1, -37, 16, 15, 15])
    for library in (True, False):
        assert_same_bits(look_up(proto, indices, library=library), rounded(matrix[indices], kind))


@pytest.mark.parametrize("op", GATHERS)
def test_many_rows_on_two_threads(op: str) -> None:
    operands, matrix = table(op, (100, 96))
    indices = np.random.default_rng(2).integers(0, 100, (7, 300))
    assert_same_bits(look_up(model(op, operands, 2), indices, library=True, threads=2), matrix[indices])


@pytest.mark.parametrize("op", GATHERS)
def test_operands_may_be_fed(op: str) -> None:
    operands, matrix = table(op, (20, 32))
    proto = model(op, operands, variable=("codes", "scale"), function=False)
    indices = np.array([3, -2])
    fed = {name: operands[name] for name in ("codes", "scale")}
    assert_same_bits(look_up(proto, indices, library=True, **fed), matrix[indices])


@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("index", [20, -21, 2**40])
@pytest.mark.parametrize("op", GATHERS)
def test_an_index_out_of_range_is_an_error(op: str, index: int, library: bool) -> None:
    proto = model(op, table(op, (20, 32))[0])
    words = rf"ai\.regc::{op} node '{NODE}': indices has the value {index} at position 1, it must be from -20 to 19 for"
    with pytest.raises(Exception, match=words if library else "out of"):
        look_up(proto, np.array([0, index]), library=library)


@pytest.mark.parametrize("op", GATHERS)
def test_indices_of_another_type_are_an_error(op: str) -> None:
    proto = model(op, table(op, (20, 32))[0], index="int16", function=False)
    with pytest.raises(Exception, match=r"indices is neither int32 nor int64"):
        look_up(proto, np.zeros(1, np.int16), library=True)


@pytest.mark.parametrize(
    ("op", "name", "value", "words"),
    [
        ("RF8Gather", "codes", np.zeros(20, np.uint8), r"codes has shape \[20\], expected \[rows, columns\]"),
        ("RF8Gather", "codes", np.zeros((20, 0), np.uint8), r"codes has shape \[20, 0\], expected \[rows, columns\]"),
        ("RF8Gather", "scale", np.ones(19, np.float32), r"scale has shape \[19\], expected \[20\]"),
        ("RF8Gather", "scale", np.ones(20, np.int32), r"scale is int32, expected float32|Type Error"),
        ("RF8TiledGather", "shape", np.array([20]), r"shape has shape \[1\], expected \[2\]"),
        ("RF8TiledGather", "shape", np.array([0, 32]), r"N = 0, it must be 1 to"),
        ("RF8TiledGather", "shape", np.array([33, 32]), r"codes has shape .* expected \[3, 8, 4, 2, 4, 2\]"),
        ("RF8TiledGather", "scale", np.ones(19, np.float32), r"scale has shape \[19\], expected \[20\]"),
        (
            "TernaryGather",
            "shape",
            np.array([20, 32, 24]),
            r"group = 24, it must be K = 32 or a smaller multiple of 16",
        ),
        ("TernaryGather", "shape", np.array([20, 33, 33]), r"codes has shape \[20, 8\], expected \[20, 9\]"),
        ("TernaryGather", "shape", np.array([20, 32, 16]), r"multiplier has shape \[20, 1\], expected \[20, 2\]"),
        ("TernaryGather", "scale", np.ones(1, np.float32), r"scale has shape \[1\], expected \[20\]"),
        (
            "TernaryTiledGather",
            "shape",
            np.array([20, 2**31, 16]),
            r"codes has shape .* expected \[2, 134217728, 16, 4\]",
        ),
        (
            "TernaryTiledGather",
            "shape",
            np.array([20, 32, 16]),
            r"multiplier has shape \[2, 1, 16\], expected \[2, 2, 16\]",
        ),
    ],
)
def test_malformed_tables_are_errors(op: str, name: str, value: Array, words: str) -> None:
    operands, _ = table(op, (20, 32))
    with pytest.raises(Exception, match=words):
        session(model(op, {**operands, name: value}, function=False))


def test_the_shape_of_y_is_inferred() -> None:
    proto = model("RF8Gather", table("RF8Gather", (20, 33))[0], rank=2, shape_of_y=False)
    (y,) = session(proto).get_outputs()
    assert y.shape == ["d0", "d1", 33]


@pytest.mark.parametrize("op", GATHERS)
def test_without_the_library_only_the_rows_asked_for_are_decoded(op: str, tmp_path: Path) -> None:
    """The largest constant that ONNX Runtime keeps holds codes."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    proto = model(op, table(op, (500, 64))[0])
    ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(options.optimized_model_filepath)
    assert max(numpy_helper.to_array(tensor).nbytes for tensor in optimized.graph.initializer) <= 512 * 64


def test_trits_by_rows_round_trip() -> None:
    trits = np.random.default_rng(0).integers(-1, 2, (7, 13)).astype(np.int8)
    packed = rows.pack_trits(trits)
    assert packed.shape == (7, 4)
    np.testing.assert_array_equal(rows.unpack_trits(packed, 13), trits)
    with pytest.raises(ValueError, match="trits must be"):
        rows.pack_trits(trits + 1)
