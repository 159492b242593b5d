"""What the operators compute: the same by the reference evaluator, and with and without the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from regc import runtime_ops
from regc.runtime_ops import ops

from .packed import (
    BY_THRESHOLD,
    GATED,
    HALVES,
    INT8,
    ISAS,
    OPERATORS,
    SPARSE,
    Array,
    assert_close,
    assert_same_bits,
    by_body,
    by_kernel,
    by_reference,
    isa,
    model,
    session,
    weights,
)


def normal(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("op", OPERATORS)
def test_the_three_ways_agree(op: str, opset: int) -> None:
    inputs = weights(op, (21, 50), 32)
    proto = model(op, inputs, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    x = normal(4, 50)
    reference, body, kernel = by_reference(proto, x), by_body(proto, x), by_kernel(proto, x, "avx512")
    if op in INT8:
        assert_same_bits(body, reference)
        assert_same_bits(kernel, reference)
    for result in (reference, body, kernel):
        if op not in INT8:
            assert_close(result, x, op, inputs)


@settings(max_examples=25, deadline=None)
@given(leading=st.lists(st.integers(0, 4), max_size=3), op=st.sampled_from(OPERATORS), name=st.sampled_from(ISAS))
def test_leading_dimensions(leading: list[int], op: str, name: str) -> None:
    """Rank 1 to 4, and no rows at all."""
    inputs = weights(op, (19, 33))
    x = normal(*leading, 33)
    axes: list[Any] = [f"d{axis}" for axis in range(len(leading))]
    y = by_kernel(model(op, inputs, x_shape=[*axes, 33]), x, name)
    assert y.shape == (*leading, 19)
    flat = by_kernel(model(op, inputs), x.reshape(-1, 33), name)
    assert_same_bits(y, flat.reshape(y.shape))


def special_rows(inputs: int) -> Array:
    """Rows with NaN, infinities, the largest, tiny and denormal values, zeros, and ties of rounding."""
    x = normal(10, inputs)
    x[0] = 0
    x[1, -1] = np.nan
    x[2, 0] = np.inf
    x[3, 0], x[3, -1] = np.inf, -np.inf
    x[4] = np.linspace(-3e38, 3e38, inputs)
    x[5] *= np.float32(1e-40)
    x[6, :] = -0.0
    x[7] *= np.float32(1e-31)
    x[8] = np.linspace(-127, 127, inputs) // 0.5 * 0.5
    x[8, 0] = 127
    return x


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("inputs", [1, 17, 320])
@pytest.mark.parametrize("op", INT8)
def test_special_values_of_ternary(op: str, inputs: int, name: str) -> None:
    proto = model(op, weights(op, (18, inputs), 64))
    x = special_rows(inputs)
    expected = by_body(proto, x)
    assert_same_bits(by_reference(proto, x), expected)
    assert_same_bits(by_kernel(proto, x, name), expected)
    for row in range(len(x)):
        assert_same_bits(by_kernel(proto, x[row : row + 1], name), expected[row : row + 1])
    assert np.isnan(expected[[1, 2, 3]]).all()
    assert np.isfinite(np.delete(expected, [1, 2, 3, 4], axis=0)).all()


@pytest.mark.parametrize("op", ["TernaryMatMulFloat", "Ternary5MatMulFloat", "RF8MatMul", *GATED])
def test_special_values_of_float_operators(op: str) -> None:
    proto = model(op, weights(op, (18, 320), 64))
    x = special_rows(320)
    results = [by_kernel(proto, x, name) for name in ISAS]
    for result in results[1:]:
        assert_same_bits(result, results[0])
    assert np.isnan(results[0][1]).all()
    finite = [0, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(results[0][finite], by_body(proto, x)[finite], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", SPARSE)
def test_special_values_of_block_sparse_operators(op: str) -> None:
    """What is not finite reaches the outputs that keep the input, on every instruction set and for any rows."""
    inputs = weights(op, (18, 320), block=1)
    N, K = inputs["shape"][:2]
    kept = np.zeros((-(-N // 16), K), bool)
    kept[np.repeat(np.arange(len(kept)), np.diff(inputs["start"])), inputs["index"]] = True
    x = special_rows(K)
    proto = model(op, inputs)
    results = [by_kernel(proto, x, name) for name in ISAS]
    for result in results:
        assert_same_bits(result, results[0])
        assert (np.isnan(result[1]) == np.repeat(kept[:, -1], 16)[:N]).all()
        assert np.isfinite(result[2]).all() != kept[:, 0].any()
    finite = [0, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(results[0][finite], by_body(proto, x)[finite], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("op", BY_THRESHOLD)
def test_the_gate(op: str, name: str) -> None:
    """At the threshold an input passes, below it does not, NaN does; and a threshold may be fed at run time."""
    inputs = weights(op, (70, 40))
    inputs["norms"][:] = 2
    x = np.full((12, 40), 1.5, np.float32)
    x[:, 7] = np.nextafter(np.float32(1.5), np.float32(0))
    x[:5, 9] = [-1.5, -1.4, np.inf, 1e38, 0]
    proto = model(op, inputs, variable=("threshold",))
    y = by_kernel(proto, x, name, threshold=np.array([3], np.float32))
    without = x.copy()
    without[:, 7] = 0
    without[[1, 4], 9] = 0
    everything = np.zeros(1, np.float32)
    assert_same_bits(y, by_kernel(proto, without, name, threshold=everything))
    assert not np.array_equal(y, by_kernel(proto, x, name, threshold=everything), equal_nan=True)
    for row in range(len(x)):
        assert_same_bits(by_kernel(proto, x[row : row + 1], name, threshold=np.array([3], np.float32))[0], y[row])
    x[:, 0] = np.nan
    assert np.isnan(by_kernel(proto, x, name, threshold=np.array([np.inf], np.float32))).all()


@pytest.mark.parametrize("opset", range(9, 23))
@pytest.mark.parametrize("op", [*SPARSE, *GATED])
@pytest.mark.parametrize("seed", range(5))
def test_bodies_at_every_opset(op: str, opset: int, seed: int) -> None:
    opset = max(opset, ops.OPERATORS[op].since_opset)
    inputs = weights(op, (37, 50), seed=seed)
    x = normal(3, 50)
    proto = model(op, inputs, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    assert_close(by_body(proto, x), x, op, inputs)


@pytest.mark.parametrize("op", OPERATORS)
def test_weights_that_are_not_constant(op: str) -> None:
    inputs = weights(op, (20, 70), 32)
    x = normal(5, 70)
    variable = model(op, inputs, variable=tuple(inputs))
    assert_same_bits(by_kernel(variable, x, "avx512", **inputs), by_kernel(model(op, inputs), x, "avx512"))


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_external_data_at_any_offset(op: str, shift: int, tmp_path: Path) -> None:
    """Weights are used where they lie in the mapped file; codes and multipliers may lie anywhere."""
    inputs = weights(op, (40, 100), 32)
    proto = model(op, inputs)
    expected = by_kernel(proto, normal(2, 100), HALVES)
    blob = bytearray()
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.UINT8:
            blob.extend(bytes(64 - len(blob) % 64 + shift))
            fields = {"location": "weights.bin", "offset": len(blob), "length": len(tensor.raw_data)}
            blob.extend(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in fields.items())
    (tmp_path / "weights.bin").write_bytes(blob)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    runner = runtime_ops.make_session(tmp_path / "model.onnx", threads=1)
    assert_same_bits(runner.run(None, {"x": normal(2, 100)})[0], expected)


def test_kernel_in_a_branch() -> None:
    """The kernel, not the function, also runs inside If: only a kernel reads REGC_ISA."""
    proto = model("TernaryMatMul", weights("TernaryMatMul", (6, 20)))
    x = normal(2, 20)
    node = proto.graph.node[0]
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 6])
    branches = {
        "then_branch": helper.make_graph([node], "then", [], [output]),
        "else_branch": helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "else", [], [output]),
    }
    expected = by_kernel(proto, x, "generic")
    chosen = helper.make_node("If", ["condition"], ["y"], **branches)
    del proto.graph.node[:]
    proto.graph.node.append(chosen)
    proto.graph.input.append(helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, []))
    assert_same_bits(by_kernel(proto, x, "generic", condition=np.array(True)), expected)
    with isa("none"), pytest.raises(Exception, match="REGC_ISA"):
        session(proto)


@pytest.mark.parametrize("op", OPERATORS)
def test_without_function_the_library_is_needed(op: str) -> None:
    proto = model(op, weights(op, (6, 20)), function=False)
    assert by_kernel(proto, normal(3, 20), "avx512").shape == (3, 6)
    with pytest.raises(Exception, match=op):
        session(proto, library=False)


def shape_of_y(x_shape: list[int | str | None], **options: Any) -> list[Any]:
    """What ONNX Runtime infers for y."""
    proto = model("RF8MatMul", weights("RF8MatMul", (6, 20)), x_shape=x_shape, shape_of_y=False, **options)
    return list(session(proto).get_outputs()[0].shape)


def test_shape_inference() -> None:
    assert shape_of_y([2, "tokens", 20]) == [2, "tokens", 6]
    assert shape_of_y([20]) == [6]
    assert shape_of_y(["n", 20], variable=("scale",)) == ["n", 6]


def test_unnamed_dimensions_get_symbols_of_their_own() -> None:
    first, second, last = shape_of_y([None, None, 20])
    assert isinstance(first, str)
    assert isinstance(second, str)
    assert first != second
    assert last == 6
