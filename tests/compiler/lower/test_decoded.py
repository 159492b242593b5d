"""Weights that are decoded in front of what reads them."""

import pytest

from regc.compiler import compile_model
from regc.passes import RF8
from support import model, normal, op_types

from .same import INPUTS, OUTPUTS, ROWS, W, changed, compile_proto, exact, same, x

DECODED = {
    "conv": (
        "float[1,6,9,9] x",
        "y = Conv<pads=[1,1,1,1]>(x, w, b)",
        {"w": exact(24, 6, 3, 3), "b": normal(24)},
    ),
    "conv grouped": ("float[1,8,9,9] x", "y = Conv<group=4>(x, w)", {"w": exact(64, 2, 3, 3)}),
    "conv 1d": ("float[1,6,20] x", "y = Conv<strides=[2]>(x, w)", {"w": exact(32, 6, 5)}),
    "conv transpose": (
        "float[1,24,5,5] x",
        "y = ConvTranspose<strides=[2,2]>(x, w)",
        {"w": exact(24, 8, 3, 3)},
    ),
    "batched": ("float[3,4,30] x", "y = MatMul(x, w)", {"w": exact(3, 30, 20)}),
}


@pytest.mark.parametrize("name", DECODED)
def test_decoded(name: str) -> None:
    declared, nodes, weights = DECODED[name]
    proto = model(f"g ({declared}) => (float y) {{ {nodes} }}", **weights)
    shape = tuple(dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim)
    compiled = changed(proto).to_proto()
    assert "ai.regc::RF8Decode" in op_types(compiled)
    same(proto, compiled, {"x": x(*shape)})


def test_recurrent() -> None:
    proto = model(
        "g (float[4,1,16] x) => (float[4,1,1,24] y) { y = LSTM<hidden_size=24>(x, w, r) }",
        w=exact(1, 96, 16),
        r=exact(1, 96, 24, seed=5),
    )
    same(proto, compile_proto(proto), {"x": x(4, 1, 16)})


def test_recurrent_weights_whose_gates_an_exporter_reordered() -> None:
    text = """g (float[4,1,16] x) => (float[4,1,1,24] y) {
        zero = Constant<value=int64[1]{0}>() mid = Constant<value=int64[1]{48}>() end = Constant<value=int64[1]{96}>()
        wa = Slice(w, zero, mid, zero) wb = Slice(w, mid, end, zero) wc = Concat<axis=0>(wb, wa)
        wu = Unsqueeze(wc, zero) y = LSTM<hidden_size=24>(x, wu, r)
    }"""
    proto = model(text, w=exact(96, 16), r=exact(1, 96, 24, seed=5))
    result = compile_model(proto, [RF8()])
    assert [record.emitted for record in result.records] == ["decoded in front of LSTM"] * 2
    same(proto, result.model.to_proto(), {"x": x(4, 1, 16)})


def test_other_readers_of_the_weight_get_it_decoded() -> None:
    nodes = "y = MatMul(x, w) s = Mul(w, w) z = ReduceSum<keepdims=0>(s)"
    proto = model(f"g (float[{ROWS},{INPUTS}] x) => (float[{ROWS},{OUTPUTS}] y, float z) {{ {nodes} }}", w=W.T)
    compiled = compile_proto(proto)
    assert {"ai.regc::RF8MatMul", "ai.regc::RF8Decode"} <= set(op_types(compiled))
    same(proto, compiled, {"x": x(ROWS, INPUTS)})
