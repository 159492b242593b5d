"""What is left of a convolution kernel whose other positions are zero computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.model import from_proto
from regc.compiler.structure import find_groups, remove
from tests.support import Array, model, normal, run


def conv(weight: Array, attributes: str = "", opset: int = 17, sizes: str = "7, 9") -> onnx.ModelProto:
    return model(
        f"g (float[n, 4, {sizes}] x) => (float[n, o, h, w] y) {{ y = Conv {attributes} (x, w) }}", opset=opset, w=weight
    )


def kept(proto: onnx.ModelProto, keep: list[int]) -> onnx.ModelProto:
    opened = from_proto(proto)
    (group,) = (group for group in find_groups(opened, windows=True) if group.kernel)
    assert (group.refusal, group.kind) == (None, "positions")
    remove(opened, group, np.array(keep))
    result = opened.to_proto()
    onnx.checker.check_model(result, full_check=True)
    return result


ATTRIBUTES = {
    "none": "",
    "padded": "<pads: ints = [1, 1, 1, 1]>",
    "unevenly": "<pads: ints = [0, 1, 2, 3]>",
    "strides": "<pads: ints = [1, 0, 0, 1], strides: ints = [2, 3]>",
    "dilated": "<pads: ints = [2, 2, 2, 2], dilations: ints = [2, 1]>",
    "same": '<auto_pad: string = "SAME_LOWER">',
    "valid": '<auto_pad: string = "VALID", kernel_shape: ints = [3, 3]>',
}


@pytest.mark.parametrize("attributes", list(ATTRIBUTES))
@pytest.mark.parametrize("keep", [[3, 4, 5], [1, 4, 7], [4], [0], [8], [0, 1, 3, 4], [0, 2, 6, 8], [6, 8]], ids=str)
def test_a_window_computes_what_the_kernel_did(attributes: str, keep: list[int]) -> None:
    weight = normal(5, 4, 3, 3)
    weight.reshape(5, 4, 9)[:, :, np.setdiff1d(np.arange(9), keep)] = 0
    proto = conv(weight, ATTRIBUTES[attributes])
    smaller, x = kept(proto, keep), {"x": normal(2, 4, 7, 9)}
    (tensor,) = (tensor for tensor in smaller.graph.initializer if tensor.name == "w")
    assert int(np.prod(tensor.dims[2:])) == len(keep)
    np.testing.assert_allclose(run(smaller, x)[0], run(proto, x)[0], rtol=1e-5, atol=1e-5)


def test_groups_and_one_axis() -> None:
    weight = normal(4, 2, 5)
    weight[:, :, [0, 4]] = 0
    proto = model(
        "g (float[n, 4, 9] x) => (float[n, 4, 7] y) { y = Conv <group: int = 2, pads: ints = [1, 1]> (x, w) }", w=weight
    )
    x = {"x": normal(2, 4, 9)}
    np.testing.assert_allclose(run(kept(proto, [1, 2, 3]), x)[0], run(proto, x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("keep", [[0, 1, 4], [0, 1, 3], [0, 4, 8], [1, 2, 4]], ids=str)
def test_positions_that_are_no_window(keep: list[int]) -> None:
    with pytest.raises(UsageError, match="are no window"):
        kept(conv(normal(5, 4, 3, 3)), keep)


def test_what_cannot_be_cut_is_refused_in_words() -> None:
    def refusal(proto: onnx.ModelProto) -> str:
        (group,) = (group for group in find_groups(from_proto(proto), windows=True) if group.kernel)
        return group.refusal or ""

    strided = '<auto_pad: string = "SAME_UPPER", strides: ints = [2, 2]>'
    assert "pads by what follows from sizes" in refusal(conv(normal(5, 4, 3, 3), strided, sizes="h, w"))
    assert "takes a Slice of opset 10" in refusal(conv(normal(5, 4, 3, 3), opset=9))


def test_kernels_of_one_position_are_none_and_others_are_units_only_when_asked_for() -> None:
    assert all(not group.kernel for group in find_groups(from_proto(conv(normal(5, 4, 1, 1))), windows=True))
    assert all(not group.kernel for group in find_groups(from_proto(conv(normal(5, 4, 3, 3)))))
