"""Shapes that are the same for every input become constants; all others are computed as before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.lower.shapes import fold_shapes
from regc.compiler.model import from_proto
from regc.passes import Ternary
from support import Array, model, normal, op_types, run

ONES = (
    "zero = Constant<value = int64 {0}>() one = Constant<value = int64 {1}>() axis = Constant<value = int64[1] {0}>() "
    "rest = Constant<value = int64[1] {-1}>() eight = Constant<value = int64[1] {8}>() "
    "width = Constant<value = int64[1] {32}>() "
)
NUMBERS = (
    "zero = Constant<value_int: int = 0>() one = Constant<value_int: int = 1>() "
    "axis = Constant<value_ints: ints = [0]>() rest = Constant<value_ints: ints = [-1]>() "
    "eight = Constant<value_ints: ints = [8]>() width = Constant<value_ints: ints = [32]>() "
)
SIZES = "t = Shape(x) b0 = Gather(t, zero) s0 = Gather(t, one) b = Unsqueeze(b0, axis) s = Unsqueeze(s0, axis) "


def graph(
    nodes: str, more: str = "", outputs: str = "y", *, opset: int = 17, constants: str = ONES, **weights: Array
) -> onnx.ModelProto:
    tail = ", ".join(f"float[{name}0, {name}1, {name}2] {name}" for name in outputs.split())
    return model(f"g (float[b, s, 32] x{more}) => ({tail}) {{ {constants}{SIZES}{nodes} }}", opset=opset, **weights)


def folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    opened = from_proto(proto)
    fold_shapes(opened)
    small = opened.to_proto()
    onnx.checker.check_model(small, full_check=True)
    return small


def agree(proto: onnx.ModelProto, small: onnx.ModelProto, *sizes: tuple[int, int], **feeds: Array) -> None:
    for batch, length in sizes or ((1, 1), (1, 5), (3, 1), (2, 7)):
        feed = {"x": normal(batch, length, 32, seed=batch), **feeds}
        for ours, theirs in zip(run(small, feed), run(proto, feed), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def targets(proto: onnx.ModelProto) -> list[list[int] | None]:
    """The targets of all Reshapes, None where it is computed."""
    known = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in proto.graph.initializer}
    return [known.get(node.input[1]) for node in proto.graph.node if node.op_type == "Reshape"]


@pytest.mark.parametrize("constants", [ONES, NUMBERS], ids=["tensors", "numbers"])
def test_heads_are_split_and_joined(constants: str) -> None:
    nodes = (
        "split = Concat<axis = 0>(b, s, rest, eight) h = Reshape(x, split) h2 = Transpose<perm = [0, 2, 1, 3]>(h) "
        "k = Transpose<perm = [0, 1, 3, 2]>(h2) a0 = MatMul(h2, k) a = Softmax<axis = -1>(a0) c = MatMul(a, h2) "
        "d = Transpose<perm = [0, 2, 1, 3]>(c) join = Concat<axis = 0>(b, s, width) y = Reshape(d, join)"
    )
    proto = graph(nodes, constants=constants)
    small = folded(proto)
    assert targets(small) == [[0, 0, -1, 8], [0, 0, 32]]
    assert not {"Shape", "Gather", "Unsqueeze", "Concat"} & set(op_types(small))
    agree(proto, small)


def test_a_number_that_is_proven_is_written_out() -> None:
    small = folded(graph("y = Reshape(x, t)"))
    assert targets(small) == [[0, 0, 32]]
    agree(graph("y = Reshape(x, t)"), small, (2, 3), (0, 3))


COMPUTED = {
    "dimensions exchanged": "target = Concat<axis = 0>(s, b, width) y = Reshape(x, target)",
    "dimensions joined": (
        "n = Mul(b, s) target = Concat<axis = 0>(n, width) u = Reshape(x, target) back = Concat<axis = 0>(b, s, width) "
        "y = Reshape(u, back)"
    ),
    "another input of the same declared shape": (
        "tz = Shape(z) bz0 = Gather(tz, zero) bz = Unsqueeze(bz0, axis) target = Concat<axis = 0>(bz, rest, width) "
        "y = Reshape(x, target)"
    ),
    "zero means zero": "target = Concat<axis = 0>(b, s, width) y = Reshape<allowzero = 1>(x, target)",
    "one to be inferred that is not so written": (
        "n = Div(s, one) m = Unsqueeze(s0, axis) o = Mul(m, n) p = Div(o, m) target = Concat<axis = 0>(b, p, width) "
        "y = Reshape(x, target)"
    ),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_not_proven_stays(name: str) -> None:
    proto = graph(COMPUTED[name], more=", float[b, s, 32] z")
    small = folded(proto)
    assert targets(small)[0] is None
    agree(proto, small, (2, 3), (3, 2), z=normal(6, 1, 32))


def test_what_is_read_elsewhere_stays() -> None:
    """The dimension that is also an output, and a Reshape in the body of an If."""
    nodes = (
        "target = Concat<axis = 0>(b, s, rest, eight) h = Reshape(x, target) d = Cast<to = 1>(target) "
        "e = Reshape(d, deep) c = Constant<value = bool {1}>() "
        "y = If(c)<then_branch = t () => (float[i,j,k] r) { r = Reshape(h, back) }, "
        "else_branch = e () => (float[i,j,k] r) { r = Neg(x) }>"
    )
    proto = graph(
        "back = Concat<axis = 0>(b, s, width) deep = Constant<value = int64[3] {1, 2, 2}>() " + nodes, "", "y e"
    )
    small = folded(proto)
    assert targets(small) == [[0, 0, -1, 8], None]
    assert op_types(small).count("Concat") == 2
    agree(proto, small)


def test_layers_share_the_shape_of_the_first() -> None:
    layer = (
        "t# = Shape(x#) c# = Gather(t#, zero) l# = Gather(t#, one) d# = Unsqueeze(c#, axis) e# = Unsqueeze(l#, axis) "
        "j# = Concat<axis = 0>(e#, d#, width) n# = LayerNormalization(x#, g) r# = Reshape(n#, j#) "
        "u# = Relu(r#) k# = Concat<axis = 0>(d#, e#, width) v# = Reshape(u#, k#) x$ = Add(v#, x#) "
    )
    nodes = "".join(layer.replace("#", str(i)).replace("$", str(i + 1)) for i in range(3))
    proto = graph(f"x0 = Neg(x) {nodes} y = Neg(x3)", g=np.ones(32, np.float32))
    small = folded(proto)
    assert op_types(small).count("Shape") < op_types(proto).count("Shape")
    agree(proto, small)


def test_shapes_behind_our_operators() -> None:
    """A compressed product keeps the leading dimensions: that is known for what follows it."""
    nodes = (
        "p = MatMul(x, w) n = LayerNormalization(p, g) target = Concat<axis = 0>(b, s, rest, eight) "
        "h = Reshape(n, target) y = ReduceSum<keepdims = 0>(h, rest)"
    )
    proto = graph(nodes, w=normal(32, 1024), g=np.ones(1024, np.float32))
    result = compile_model(proto, [Ternary()])
    assert result.changed
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    assert targets(small) == [[0, 0, -1, 8]]
    for library in (True, False):
        (ours,) = run(small, {"x": normal(2, 3, 32)}, library=library)
        assert ours.shape == run(proto, {"x": normal(2, 3, 32)})[0].shape


def test_shapes_behind_an_embedding_of_ours() -> None:
    nodes = (
        f"x = Gather(table, ids) {ONES}{SIZES} n = LayerNormalization(x, g) "
        "target = Concat<axis = 0>(b, s, rest, eight) h = Reshape(n, target) y = ReduceSum<keepdims = 0>(h, rest)"
    )
    text = f"g (int64[batch, length] ids) => (float[y0, y1, y2] y) {{ {nodes} }}"
    proto = model(text, table=normal(500, 32), g=np.ones(32, np.float32))
    result = compile_model(proto, [Ternary()])
    small = result.model.to_proto()
    assert any("Gather" in op for op in op_types(small) if op.startswith("ai.regc"))
    assert targets(small) == [[0, 0, -1, 8]]
    ids = np.arange(6).reshape(2, 3)
    assert run(small, {"ids": ids})[0].shape == run(proto, {"ids": ids})[0].shape == (2, 3, 4)
