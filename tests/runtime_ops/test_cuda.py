"""The CUDA kernels and operators on the CPU: run thread by thread (tests/native/cuda), beside the library's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from .native import built
from .packed import (
    GATED,
    INT8,
    NODE,
    OPERATORS,
    SPARSE,
    Array,
    Weights,
    assert_close,
    assert_same_bits,
    by_kernel,
    model,
    session,
    weights,
)
from .tables import GATHERS, in_two_bytes, table
from .tables import model as lookup
from .test_types import TYPES, rounded, typed_model

SPLIT = ("TernaryMatMulFloat", "Ternary5MatMulFloat", *SPARSE, *GATED)
"""Many rows are multiplied as sums of bfloat16 (cuda/split.h); with int8 activations all have the bits of the CPU."""
SHAPE = (37, 100)


@pytest.fixture(scope="module")
def emulation() -> Path:
    """The folder with cuda_test and the library of the CUDA provider's operators over emulated kernels.

    They need a compiler with ``_Float16`` (gcc 12, clang 15) and ucontext.h.
    """
    return built("cuda_test", "regc_ops_emulated", needs="REGC_EMULATES_CUDA:INTERNAL=1")


def emulated(emulation: Path, monkeypatch: pytest.MonkeyPatch, proto: onnx.ModelProto, **feeds: Array) -> Array:
    """y by the operators of the CUDA provider, in ONNX Runtime."""
    with monkeypatch.context() as patch:
        patch.setenv("REGC_OPS_LIBRARY", str(next(emulation.glob("libregc_ops_emulated.*"))))
        (y,) = session(proto).run(None, feeds)
    return np.asarray(y)


def normal(*shape: int) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def assert_near(y: Array, x: Array, op: str, inputs: Weights) -> None:
    """RF8 weights meet many rows in float16: one rounding of each activation."""
    if op != "RF8MatMul" or len(x) <= 8:
        return assert_close(y, x, op, inputs, more=2.0**-16 if op in SPLIT and len(x) > 8 else 0)
    expected = by_kernel(model(op, inputs), x, "generic")
    magnitude = np.abs(x) @ np.full((x.shape[1], 1), 2.0) * np.abs(inputs["scale"])
    assert (np.abs(y - expected) <= 2.0**-10 * magnitude + 1e-6).all()
    assert np.linalg.norm(y - expected) <= 1e-3 * np.linalg.norm(expected)
    return None


def test_emulated_kernels_equal_those_of_the_cpu(emulation: Path) -> None:
    done = subprocess.run([emulation / "cuda_test", "6"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "6 cases of each format, 0 failed\n"


@pytest.mark.parametrize("rows", [1, 3, 12])
@pytest.mark.parametrize("op", OPERATORS)
def test_operator(op: str, rows: int, emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = weights(op, SHAPE, 32, seed=rows)
    x = normal(rows, SHAPE[1])
    proto = model(op, inputs, function=False)
    y = emulated(emulation, monkeypatch, proto, x=x)
    if op in INT8:
        assert_same_bits(y, by_kernel(proto, x, "avx512"))
    else:
        assert_near(y, x, op, inputs)


@pytest.mark.parametrize("other_shape", [(5, 37), (37,), (2, 1, 1)])
@pytest.mark.parametrize("op", INT8)
def test_sums(op: str, other_shape: tuple[int, ...], emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tensor of the same shape, and with one that is repeated or repeats the product."""
    inputs, x, other = weights(op, SHAPE), normal(5, SHAPE[1]), normal(*other_shape)
    proto = model(op + "Add", {**inputs, "other": other}, variable=("other",), function=False, shape_of_y=False)
    expected = by_kernel(proto, x, "avx512", other=other)
    assert_same_bits(emulated(emulation, monkeypatch, proto, x=x, other=other), expected)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rows", [3, 12])
def test_types(rows: int, kind: int, emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what is added, of the shape of the product and repeated."""
    for op, other_shape in (("TernaryMatMul", None), ("TernaryMatMulAdd", (rows, 37)), ("TernaryMatMulAdd", (37,))):
        inputs, x = weights("TernaryMatMul", SHAPE, 32), normal(rows, SHAPE[1])
        others = {} if other_shape is None else {"other": normal(*other_shape)}
        proto = typed_model(op, {**inputs, **others}, kind, bodies=False)
        y = emulated(emulation, monkeypatch, proto, x=x, **others)
        assert_same_bits(y, by_kernel(proto, x, "avx512", **others))
        assert_same_bits(y, rounded(y, kind))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, *TYPES])
@pytest.mark.parametrize("op", OPERATORS)
def test_infinities_and_nan(op: str, kind: int, emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and many rows: what is infinite or NaN by the CPU's kernels is the same, and nothing else is."""
    inputs, x = weights(op, SHAPE, 32), normal(12, SHAPE[1])
    x[1, 3], x[2, 50], x[4, 7] = np.inf, -np.inf, np.nan
    x[[5, 5], [20, 70]], x[[6, 6], [20, 70]] = np.inf, (np.inf, -np.inf)
    proto = (
        model(op, inputs, function=False) if kind == TensorProto.FLOAT else typed_model(op, inputs, kind, bodies=False)
    )
    for rows in (7, 12):
        expected = by_kernel(proto, x[:rows], "generic")
        y = emulated(emulation, monkeypatch, proto, x=x[:rows])
        assert 0 < np.isfinite(expected).sum() < expected.size
        np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
        assert_same_bits(y[~np.isfinite(y)], expected[~np.isfinite(y)])


@pytest.mark.parametrize("leading", [(), (0,), (2, 3)])
def test_leading_dimensions(leading: tuple[int, ...], emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model("TernaryMatMulGelu", weights("TernaryMatMul", SHAPE), x_shape=[*leading, SHAPE[1]], function=False)
    x = normal(*leading, SHAPE[1])
    assert_same_bits(emulated(emulation, monkeypatch, proto, x=x), by_kernel(proto, x, "avx512"))


@pytest.mark.parametrize("op", ["TernaryMatMul", "BlockSparseMatMul"])
def test_weights_that_are_no_constants(op: str, emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, x = weights(op, SHAPE, 32), normal(12, SHAPE[1])
    proto = model(op, inputs, variable=tuple(inputs), function=False)
    y = emulated(emulation, monkeypatch, proto, x=x, **inputs)
    if op in INT8:
        assert_same_bits(y, by_kernel(proto, x, "avx512", **inputs))
    else:
        assert_near(y, x, op, inputs)


def test_mistakes_are_those_of_the_cpu(emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = weights("TernaryMatMul", SHAPE, 32)
    inputs["multiplier"][0, 0, 0] = 65
    with pytest.raises(Exception, match=f"{NODE}.*multiplier has the value 65"):
        emulated(emulation, monkeypatch, model("TernaryMatMul", inputs, function=False), x=normal(1, SHAPE[1]))
    proto = model("TernaryMatMul", weights("TernaryMatMul", SHAPE), x_shape=["rows", "columns"], function=False)
    with pytest.raises(Exception, match=rf"{NODE}.*x has shape \[1, 99\], its last dimension must be 100"):
        emulated(emulation, monkeypatch, proto, x=normal(1, 99))


@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("op", GATHERS)
def test_lookup(op: str, index: str, emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that the table lacks is NaN: a GPU cannot raise an error."""
    operands, matrix = table(op, (40, 70))
    proto = lookup(op, operands, 2, index=index, function=False)
    indices = np.array([[0, -1, 17], [39, -40, 5]], index)
    assert_same_bits(emulated(emulation, monkeypatch, proto, indices=indices), matrix[indices])
    y = emulated(emulation, monkeypatch, proto, indices=np.array([[40, -41, 3]], index))
    assert np.isnan(y[0, :2]).all()
    assert_same_bits(y[0, 2], matrix[3])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("op", GATHERS)
def test_lookup_of_two_bytes(op: str, kind: int, emulation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operands, matrix = table(op, (40, 70))
    proto = in_two_bytes(lookup(op, operands, function=False), TYPES[kind].name, bodies=False)
    indices = np.array([0, -1, 17, 39, -40, 5])
    assert_same_bits(emulated(emulation, monkeypatch, proto, indices=indices), rounded(matrix[indices], kind))


def test_the_provider_of_the_operators(emulation: Path) -> None:
    """An emulated operator is no CPU operator in disguise: the library lacks those that only the CPU has."""
    node = helper.make_node("TernaryConv", ["x"] * 6, ["y"], domain="ai.regc")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], [y])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.regc", 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGC_OPS_LIBRARY", str(next(emulation.glob("libregc_ops_emulated.*"))))
        with pytest.raises(Exception, match="TernaryConv"):
            session(helper.make_model(graph, opset_imports=imports, ir_version=8))
