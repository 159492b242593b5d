from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler.calibration.rows import Along, Patches
from support import normal, run


def stack(ways: Along | Patches, tensor: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    return np.concatenate(list(ways.of(tensor, mask)))


def test_values_along_an_axis_are_rows() -> None:
    x = normal(2, 3, 4)
    np.testing.assert_array_equal(stack(Along(-1), x), x.reshape(6, 4))
    np.testing.assert_array_equal(stack(Along(-2), x), x.transpose(0, 2, 1).reshape(8, 3))
    np.testing.assert_array_equal(stack(Along(1), x), x.transpose(0, 2, 1).reshape(8, 3))
    np.testing.assert_array_equal(stack(Along(-2), x[0, 0]), x[0, :1])
    assert stack(Along(-1), x.astype(np.float16)).dtype == np.float32


def test_a_mask_leaves_rows_out_also_where_its_axes_are_joined() -> None:
    x, mask = normal(2, 3, 4), np.array([[1, 1, 0], [1, 0, 0]], bool)
    expected = x[mask]
    for tensor in (x, x.reshape(6, 4)):
        assert Along(-1).fits(tensor, mask)
        np.testing.assert_array_equal(stack(Along(-1), tensor, mask), expected)
    heads = normal(2, 5, 3, 4)
    assert not Along(-1).fits(heads, mask)
    assert len(stack(Along(-1), heads, mask)) == 30
    assert not Patches((1,), (1,), (1,), (0, 0)).fits(x, mask)


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    axes, groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2, 3]))
    several = st.lists(st.integers(1, 3), min_size=axes, max_size=axes)
    attributes: dict[str, Any] = {
        "strides": draw(several),
        "dilations": draw(st.lists(st.integers(1, 2), min_size=axes, max_size=axes)),
    }
    padding = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if padding == "NOTSET":
        attributes["pads"] = draw(st.lists(st.integers(0, 2), min_size=2 * axes, max_size=2 * axes))
    else:
        attributes["auto_pad"] = padding
        attributes["dilations"] = [1] * axes  # ONNX Runtime itself takes no others with auto_pad
    sizes = draw(st.lists(st.integers(5, 8), min_size=axes, max_size=axes))
    return {"attributes": attributes, "kernel": draw(several), "sizes": sizes, "groups": groups}


@settings(deadline=None, max_examples=60)
@given(convolutions())
def test_patches_times_the_kernel_are_the_convolution(case: dict[str, Any]) -> None:
    groups, kernel, attributes = case["groups"], case["kernel"], case["attributes"]
    x, weight = normal(2, 2 * groups, *case["sizes"]), normal(4 * groups, 2, *kernel)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=groups, **attributes)
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, x.shape)],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (expected,) = run(proto, {"x": x})
    ones = (1,) * len(kernel)
    ways = Patches(
        tuple(kernel),
        tuple(attributes["strides"]),
        tuple(attributes["dilations"]),
        tuple(attributes.get("pads", (0,) * 2 * len(ones))),
        attributes.get("auto_pad", "NOTSET"),
        groups,
    )
    rows = stack(ways, x).reshape(2, groups, -1, 2 * int(np.prod(kernel)))
    product = np.einsum("bgpk,gok->bgop", rows, weight.reshape(groups, 4, -1))
    np.testing.assert_allclose(product.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_patches_come_in_blocks_that_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    ways, x = Patches((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), normal(4, 2, 6, 6)
    whole = stack(ways, x)
    monkeypatch.setattr("regc.compiler.calibration.rows.CHUNK", 36 * 18 * 4)
    parts = list(ways.of(x))
    assert len(parts) == 4
    np.testing.assert_array_equal(np.concatenate(parts), whole)
