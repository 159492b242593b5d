"""Small models as ONNX text, one per corner of the language, and what tests do with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

HEAD = '<ir_version: {ir}, opset_import: ["": 17, "local": 1]>\n'

MODELS = {
    "matmul": """g (float[n, 2] x) => (float[n, 3] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}> {
        y = MatMul (x, w)
    }""",
    "constant nodes": """g (float[3] x) => (float[3] y) {
        c = Constant <value_floats: floats = [1.0, 2.0, 3.0]> ()
        d = Constant <value: tensor = float[3] {3, 2, 1}> ()
        z = Add (x, c)
        y = Mul (z, d)
    }""",
    "optional input": """g (float[4] x) => (float[4] y) <float high = {1.0}> {
        y = Clip (x, , high)
    }""",
    "unused output": """g (float[4] x) => (float[2] y) <int64[1] k = {2}> {
        y, unused = TopK (x, k)
    }""",
    "if": """g (bool c, float[2] x) => (float[2] y) <float[2] shared = {5, 6}> {
        outer = Neg (x)
        y = If (c) <
            then_branch = t () => (float[2] a) <float[2] w = {1, 2}> {
                b = Add (outer, w)
                a = Mul (b, shared)
            },
            else_branch = e () => (float[2] a) <float[2] w = {3, 4}> { a = Sub (outer, w) }
        >
    }""",
    "constant of an outer graph": """g (bool c, float[2] x) => (float[2] y) <float[2] w = {5, 6}> {
        y = If (c) <
            then_branch = t () => (float[2] a) { a = Add (x, w) },
            else_branch = e () => (float[2] a) { a = Sub (x, w) }
        >
    }""",
    "loop": """g (float[2] x) => (float[2] y) <int64 trip = {3}, bool go = {1}> {
        y = Loop (trip, go, x) <
            body = b (int64 i, bool keep_in, float[2] a_in) => (bool keep, float[2] a) {
                keep = Identity (keep_in)
                a = Add (a_in, x)
            }
        >
    }""",
    "function": """g (float[2] x) => (float[2] y) { y = local.Twice <k = 3.0> (x) }
        <domain: "local", opset_import: ["": 17]>
        Twice <k> (a) => (b) { c = Constant <value_float: float = @k> () d = Mul (a, c) b = Add (d, a) }""",
    "function of functions": """g (float[2] x) => (float[2] y) { y = local.Outer (x) }
        <domain: "local", opset_import: ["": 17, "local": 1]> Outer (a) => (b) { b = local.Inner (a) }
        <domain: "local", opset_import: ["": 17]> Inner (a) => (b) { b = Neg (a) }""",
    "sequence": """g (float[2] x) => (seq(float[2]) y) { y = SequenceConstruct (x, x) }""",
    "optional": """g (float[2] x) => (optional(float[2]) y) { y = Optional (x) }""",
    "input is output": "g (float[2] x) => (float[2] x, float[2] y) { y = Neg (x) }",
    "initializer is output": """g (float[2] x) => (float[2] w, float[2] y) <float[2] w = {1, 2}> {
        y = Neg (x)
    }""",
    "strings": """g (int64 i) => (string s) <string[2] words = {"a", "b"}> { s = Gather (words, i) }""",
    "empty tensor": "g (float[2] x) => (float[2] y) <float[0] w = {}> { y = Concat <axis = 0> (x, w) }",
    "empty list": "g (float[2] x) => (float[2] y) { y = Transpose <perm: ints = [0]> (x) }",
}


def parsed(text: str, ir: int = 8) -> ModelProto:
    return parser.parse_model(HEAD.format(ir=ir) + text)


def feeds(proto: ModelProto) -> dict[str, npt.NDArray[Any]]:
    made = {}
    for info in proto.graph.input:
        shape = [dim.dim_value or 2 for dim in info.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        made[info.name] = np.asarray(np.ones(shape).cumsum().reshape(shape), dtype)
    return made


def external(**keys: str) -> Callable[[ModelProto], None]:
    def change(proto: ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        del tensor.float_data[:]
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in keys.items():
            tensor.external_data.add(key=key, value=value)

    return change


SIZES = {"big": 300_000, "page": 5_000, "odd": 301, "small": 8}


def weights() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    return {name: rng.standard_normal(size).astype(np.float32) for name, size in SIZES.items()}


def sums() -> ModelProto:
    """Sums of weights of several sizes, in initializers, a Constant node, and the branches of an If."""
    values = weights()
    nodes = [helper.make_node("ReduceSum", [name], [f"sum_{name}"], keepdims=0) for name in values]
    constant = numpy_helper.from_array(values["page"] * 2, "inner")
    nodes += [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("ReduceSum", ["c"], ["sum_c"], keepdims=0),
        helper.make_node("If", ["flag"], ["sum_if"], then_branch=branch(3), else_branch=branch(4)),
        helper.make_node("Sum", ["x", *(f"sum_{n}" for n in (*values, "c", "if"))], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [
            helper.make_tensor_value_info("x", 1, []),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", 1, [])],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def branch(factor: int) -> onnx.GraphProto:
    tensor = numpy_helper.from_array(np.full(1000, factor, np.float32), "b")
    output = helper.make_tensor_value_info("r", 1, [])
    return helper.make_graph(
        [helper.make_node("ReduceSum", ["b"], ["r"], keepdims=0)], "branch", [], [output], [tensor]
    )
