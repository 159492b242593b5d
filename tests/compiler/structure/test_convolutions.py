"""Convolutions in groups: whole groups go, or as many channels of each."""

from __future__ import annotations

import onnx
import pytest

from tests.compiler.structure.units import check, refusals
from tests.support import model, normal

GROUPED = """g (float[n, 2, 5, 5] x) => (float[n, 3, 5, 5] y) {
    a = Conv (x, a_w, a_b)
    r = Relu (a)
    b = Conv <pads: ints = [1, 1, 1, 1], group: int = GROUPS> (r, b_w, b_b)
    s = Relu (b)
    y = Conv (s, c_w)
}"""


def grouped(channels: int, groups: int, filters: int) -> onnx.ModelProto:
    return model(
        GROUPED.replace("GROUPS", str(groups)),
        a_w=normal(channels, 2, 1, 1),
        a_b=normal(channels),
        b_w=normal(filters, channels // groups, 3, 3, seed=1),
        b_b=normal(filters, seed=1),
        c_w=normal(3, filters, 1, 1, seed=2),
    )


def shapes(proto: onnx.ModelProto) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}


def groups(proto: onnx.ModelProto) -> list[int]:
    return [attribute.i for node in proto.graph.node for attribute in node.attribute if attribute.name == "group"]


@pytest.mark.parametrize("filters", [12, 6, 24], ids=["as many", "fewer", "more"])
def test_whole_groups(filters: int) -> None:
    """ResNeXt: a unit is a group, what it reads and what it computes."""
    result = check(grouped(12, 6, filters), "a_w", [0, 4], normal(2, 2, 5, 5), "filters")
    kept = 4 * filters // 6
    assert groups(result) == [4]
    assert (shapes(result)["a_w"][0], shapes(result)["b_w"][:2]) == (8, [kept, 2])
    assert (shapes(result)["b_b"], shapes(result)["c_w"][1]) == ([kept], kept)


def test_channels_of_each_of_few_groups() -> None:
    proto = grouped(12, 2, 8)
    read = check(proto, "a_w", [1, 5], normal(2, 2, 5, 5), "filters")
    assert (groups(read), shapes(read)["a_w"][0], shapes(read)["b_w"][:2]) == ([2], 8, [8, 4])
    computed = check(proto, "b_w", [0], normal(2, 2, 5, 5), "filters")
    assert (groups(computed), shapes(computed)["b_w"][:2], shapes(computed)["c_w"][1]) == ([2], [6, 6], 6)


def test_several_filters_for_each_channel() -> None:
    result = check(grouped(6, 6, 18), "a_w", [2], normal(2, 2, 5, 5), "filters")
    assert (groups(result), shapes(result)["b_w"], shapes(result)["c_w"][1]) == ([5], [15, 1, 3, 3], 15)


def test_groups_that_lie_across_are_refused() -> None:
    text = """g (float[n, 2, 5, 5] x) => (float[n, 3, 5, 5] y) {
        a = Conv (x, a_w)
        j = Concat <axis: int = 1> (a, x)
        b = Conv <group: int = 4> (j, b_w)
        y = Conv (b, c_w)
    }"""
    proto = model(text, a_w=normal(6, 2, 1, 1), b_w=normal(4, 2, 1, 1), c_w=normal(3, 4, 1, 1))
    assert "which share its channels out" in (refusals(proto)["a_w"] or "")
