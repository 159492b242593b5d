"""Units are followed through what joins them with others, pads them or cuts them in parts of several sizes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.model import from_proto
from regc.compiler.structure import find_groups, remove
from tests.compiler.structure.units import check, refusals
from tests.support import model, normal, run

DENSE = """g (float[n, 2, 6, 6] x) => (float[n, 3, 6, 6] y) {
    a = Conv <pads: ints = [1, 1, 1, 1]> (x, a_w)
    b = Conv <pads: ints = [1, 1, 1, 1]> (x, b_w)
    j = Concat <axis: int = 1> (a, x, b)
    n1 = BatchNormalization (j, scale, shift, mean, variance)
    r = Relu (n1)
    c = Conv <pads: ints = [1, 1, 1, 1]> (r, c_w)
    k = Concat <axis: int = 1> (r, c)
    y = Conv (k, d_w)
}"""


def dense() -> onnx.ModelProto:
    return model(
        DENSE,
        a_w=normal(4, 2, 3, 3),
        b_w=normal(5, 2, 3, 3, seed=1),
        c_w=normal(6, 11, 3, 3, seed=2),
        d_w=normal(3, 17, 1, 1, seed=3),
        scale=normal(11),
        shift=normal(11, seed=1),
        mean=normal(11, seed=2),
        variance=np.abs(normal(11, seed=3)) + 1,
    )


@pytest.mark.parametrize(("name", "gone"), [("a_w", [0, 2]), ("b_w", [1, 4]), ("c_w", [3])])
def test_filters_that_are_concatenated(name: str, gone: list[int]) -> None:
    result = check(dense(), name, gone, normal(2, 2, 6, 6), "filters")
    shapes = {tensor.name: list(tensor.dims) for tensor in result.graph.initializer}
    assert shapes["d_w"][1] == 17 - len(gone)
    assert shapes["c_w"][1] == (11 if name == "c_w" else 11 - len(gone))


def test_sets_that_are_joined_are_cut_one_after_the_other() -> None:
    opened = from_proto(dense())
    left: dict[tuple[int, int, int], np.ndarray] = {}  # type: ignore[type-arg]
    groups = {group.name: group for group in find_groups(opened)}
    for name, keep in (("a_w", [1, 3]), ("b_w", [0, 2, 3]), ("c_w", [0, 5])):
        remove(opened, groups[name], np.array(keep), left=left)
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in opened.to_proto().graph.initializer}
    whole = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in dense().graph.initializer}
    joined = [1, 3, 4, 5, 6, 8, 9]
    np.testing.assert_array_equal(shapes["mean"], whole["mean"][joined])
    np.testing.assert_array_equal(shapes["c_w"], whole["c_w"][[0, 5]][:, joined])
    np.testing.assert_array_equal(shapes["d_w"], whole["d_w"][:, [*joined, 11, 16]])


def test_a_pass_removes_filters_of_both_and_refits_what_reads_them() -> None:
    """Filters that repeat others are added to those: nothing is lost."""
    proto = dense()
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        if tensor.name in ("a_w", "b_w"):
            values[3] = values[1]
        if tensor.name in ("scale", "shift", "mean", "variance"):
            values[[3, 9]] = values[[1, 7]]
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    result = compile_model(proto, "group-sparse{exact=true}")
    assert {record.name: record.kept for record in result.report.removed} == {"a_w": 3, "b_w": 4}
    x = {"x": normal(2, 2, 6, 6)}
    np.testing.assert_allclose(run(result.model.to_proto(), x)[0], run(proto, x)[0], rtol=1e-4, atol=1e-4)


PADDED = """g (float[n, 2, 6, 6] x) => (float[n, 3, 6, 6] y) {
    a = Conv (x, a_w)
    p = Pad (a, pads)
    b = Conv <pads: ints = [1, 1, 1, 1]> (a, b_w)
    s = Add (p, b)
    y = Conv (s, c_w)
}"""


def test_a_shortcut_that_pads_channels() -> None:
    proto = model(
        PADDED,
        a_w=normal(4, 2, 1, 1),
        b_w=normal(8, 4, 3, 3, seed=1),
        c_w=normal(3, 8, 1, 1, seed=2),
        pads=np.array([0, 2, 0, 0, 0, 2, 0, 0]),
    )
    result = check(proto, "a_w", [1], normal(1, 2, 6, 6), "filters")
    shapes = {tensor.name: list(tensor.dims) for tensor in result.graph.initializer}
    assert (shapes["b_w"], shapes["c_w"]) == ([7, 3, 3, 3], [3, 7, 1, 1])


def test_sizes_of_parts_in_an_attribute() -> None:
    proto = model(
        """g (float[n, 4] x) => (float[n, 3] y) {
            a = MatMul (x, up_w)
            g, u = Split <axis: int = -1, split: ints = [6, 6]> (a)
            s = Sigmoid (g)
            h = Mul (s, u)
            y = MatMul (h, down_w)
        }""",
        opset=11,
        up_w=normal(4, 12),
        down_w=normal(6, 3),
    )
    result = check(proto, "up_w", [0, 4], normal(2, 4), "neurons")
    assert [list(a.ints) for node in result.graph.node for a in node.attribute if a.name == "split"] == [[4, 4]]


def test_parts_of_several_sizes_of_what_is_joined() -> None:
    proto = model(
        """g (float[n, 4] x) => (float[n, 3] y) {
            a = MatMul (x, a_w)
            b = MatMul (x, b_w)
            j = Concat <axis: int = -1> (a, b)
            p, q = Split <axis: int = -1> (j, sizes)
            v = MatMul (p, p_w)
            w = MatMul (q, q_w)
            y = Add (v, w)
        }""",
        a_w=normal(4, 3),
        b_w=normal(4, 5, seed=1),
        p_w=normal(2, 3, seed=2),
        q_w=normal(6, 3, seed=3),
        sizes=np.array([2, 6]),
    )
    result = check(proto, "b_w", [2], normal(2, 4))
    sizes = next(tensor for tensor in result.graph.initializer if tensor.name == "sizes")
    assert onnx.numpy_helper.to_array(sizes).tolist() == [2, 5]
    assert "cuts or joins them apart" in (refusals(proto)["a_w"] or "")


def test_units_that_are_joined_with_themselves_are_refused() -> None:
    proto = model(
        """g (float[n, 4] x) => (float[n, 3] y) {
            a = MatMul (x, up_w)
            j = Concat <axis: int = -1> (a, a)
            y = MatMul (j, down_w)
        }""",
        up_w=normal(4, 3),
        down_w=normal(6, 3),
    )
    assert "has the units in two ways" in (refusals(proto)["up_w"] or "")


def test_sums_and_places_of_other_axes() -> None:
    proto = model(
        """g (float[n, 2, 4, 4] x) => (float[n, 3] y) {
            a = Conv (x, up_w)
            m = ReduceMean <axes: ints = [3], keepdims: int = 0> (a)
            p = Gather <axis: int = 2> (m, first)
            u = Unsqueeze (p, axis)
            s = Squeeze (u, axis)
            y = MatMul (s, down_w)
        }""",
        opset=17,
        up_w=normal(6, 2, 1, 1),
        down_w=normal(6, 3),
        first=np.array(1),
        axis=np.array([1]),
    )
    check(proto, "up_w", [0, 5], normal(2, 2, 4, 4), "filters")


def test_constants_among_what_is_concatenated() -> None:
    """A filter of zeros beside another tensor leaves its bias in what reads both."""
    weight, bias = normal(4, 2, 1, 1), normal(4)
    weight[2] = 0
    text = """g (float[n, 2, 6, 6] x) => (float[n, 3, 6, 6] y) {
        a = Conv (x, a_w, a_b)
        j = Concat <axis: int = 1> (x, a)
        y = Conv (j, b_w)
    }"""
    proto = model(text, a_w=weight, a_b=bias, b_w=normal(3, 6, 1, 1, seed=1))
    result = compile_model(proto, "group-sparse{exact=true}")
    assert {record.name: record.kept for record in result.report.removed} == {"a_w": 3}
    x = {"x": normal(2, 2, 6, 6)}
    np.testing.assert_allclose(run(result.model.to_proto(), x)[0], run(proto, x)[0], rtol=1e-4, atol=1e-4)
