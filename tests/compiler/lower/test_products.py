"""Every way of multiplying by a term."""

import numpy as np
import onnx
import pytest

from regc.passes import RF8, LowRank, Ternary
from support import model, normal, op_types, run

from .same import BIAS, INPUTS, OUTPUTS, ROWS, W, compile_proto, same, x

PRODUCTS = {
    "right": ("y = MatMul(x, w)", {"w": W.T}),
    "transposed": ("t = Transpose<perm=[1,0]>(w) y = MatMul(x, t)", {"w": W}),
    "gemm": ("y = Gemm(x, w, b)", {"w": W.T, "b": BIAS}),
    "gemm transposed, row bias": ("y = Gemm<transB=1>(x, w, b)", {"w": W, "b": BIAS[None]}),
    "gemm scaled": ("y = Gemm<alpha=0.5, beta=2.0>(x, w, b)", {"w": W.T, "b": BIAS}),
    "gemm, beta only": ("y = Gemm<beta=2.0>(x, w, b)", {"w": W.T, "b": BIAS}),
    "gemm, scalar bias": ("y = Gemm(x, w, b)", {"w": W.T, "b": np.float32([0.5])}),
    "gemm, bias per row": ("y = Gemm(x, w, b)", {"w": W.T, "b": normal(ROWS, 1)}),
    "gemm, no bias": ("y = Gemm(x, w)", {"w": W.T}),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    nodes, weights = PRODUCTS[name]
    proto = model(f"g (float[{ROWS},{INPUTS}] x) => (float[{ROWS},{OUTPUTS}] y) {{ {nodes} }}", **weights)
    compiled = compile_proto(proto)
    assert "ai.regc::RF8MatMul" in op_types(compiled)
    assert not {"MatMul", "Gemm"} & set(op_types(compiled))
    assert "w" not in [tensor.name for tensor in compiled.graph.initializer]
    same(proto, compiled, {"x": x(ROWS, INPUTS)})


def test_gemm_with_transposed_input() -> None:
    proto = model(f"g (float[{INPUTS},n] x) => (float[n,{OUTPUTS}] y) {{ y = Gemm<transA=1>(x, w) }}", w=W.T)
    same(proto, compile_proto(proto), {"x": x(INPUTS, ROWS)})


@pytest.mark.parametrize("shape", [(INPUTS, 3), (2, INPUTS, 3), (INPUTS,)])
def test_weight_on_the_left(shape: tuple[int, ...]) -> None:
    dims = ",".join(map(str, shape))
    result = ",".join(map(str, (*shape[:-2], OUTPUTS, *shape[-1:]) if len(shape) > 1 else (OUTPUTS,)))
    proto = model(f"g (float[{dims}] x) => (float[{result}] y) {{ y = MatMul(w, x) }}", w=W)
    compiled = compile_proto(proto)
    assert "ai.regc::RF8MatMul" in op_types(compiled)
    same(proto, compiled, {"x": x(*shape)})


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(dtype: type) -> None:
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    name = {np.float16: "float16", np.float64: "double"}[dtype]
    assert code
    proto = model(f"g ({name}[5,80] x) => ({name}[5,48] y) {{ y = MatMul(x, w) }}", w=W.T.astype(dtype))
    compiled = compile_proto(proto)
    assert op_types(compiled) == ["Cast", "ai.regc::RF8MatMul", "Cast"]
    same(proto, compiled, {"x": x(ROWS, INPUTS).astype(dtype)})


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 15, 18, 20, 21])
def test_opsets(opset: int) -> None:
    proto = model("g (float[5,80] x) => (float[5,48] y) { y = MatMul(x, w) }", opset=opset, w=W.T)
    same(proto, compile_proto(proto), {"x": x(ROWS, INPUTS)}, library=opset > 9)


def test_old_opsets_multiply_ternary_weights_in_float() -> None:
    signs = np.sign(normal(64, 96)).astype(np.float32)
    proto = model("g (float[5,96] x) => (float[5,64] y) { y = MatMul(x, w) }", opset=10, w=signs.T)
    compiled = compile_proto(proto, Ternary())
    assert op_types(compiled) == ["ai.regc::TernaryMatMulFloat"]
    same(proto, compiled, {"x": x(5, 96)})


def test_low_rank_is_two_products() -> None:
    weight = normal(64, 6) @ normal(6, 96, seed=2)
    proto = model("g (float[5,96] x) => (float[5,64] y) { y = Gemm<transB=1>(x, w, b) }", w=weight, b=normal(64))
    compiled = compile_proto(proto, LowRank(rank=6, force=True))
    assert op_types(compiled) == ["MatMul", "MatMul", "Add"]
    same(proto, compiled, {"x": x(5, 96)})


def test_low_rank_convolution_is_two_convolutions() -> None:
    weight = (normal(32, 5) @ normal(5, 72, seed=2)).reshape(32, 8, 3, 3)
    nodes = "y = Conv<pads=[1,1,1,1], strides=[2,2], kernel_shape=[3,3]>(x, w, b)"
    proto = model(f"g (float[1,8,9,9] x) => (float[1,32,5,5] y) {{ {nodes} }}", w=weight, b=normal(32))
    compiled = compile_proto(proto, LowRank(rank=5, force=True))
    assert op_types(compiled) == ["Conv", "Conv"]
    same(proto, compiled, {"x": x(1, 8, 9, 9)})


def test_coded_factors() -> None:
    proto = model("g (float[5,256] x) => (float[5,256] y) { y = MatMul(x, w) }", w=normal(256, 256))
    compiled = compile_proto(proto, LowRank(ratio=2), RF8())
    assert op_types(compiled) == ["ai.regc::RF8MatMul"] * 2
    with_library, without = (run(compiled, {"x": x(5, 256)}, library=way) for way in (True, False))
    np.testing.assert_allclose(with_library[0], without[0], rtol=1e-4, atol=1e-5)
