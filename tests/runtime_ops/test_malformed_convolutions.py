"""Convolutions that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from .convolutions import OP, Window, convolution, images, packed
from .packed import (
    NODE,
    by_kernel,
    session,
)

MALFORMED: dict[str, tuple[Window, tuple[int, ...], str]] = {
    "no strides": (Window(without=("strides",)), (2, 4, 5, 5), "attribute strides is missing"),
    "three axes": (
        Window((3, 3, 3)),
        (2, 4, 5, 5),
        r"attribute kernel_shape is \[3, 3, 3\], it must be 2 numbers from 1",
    ),
    "short pads": (
        Window(pads=(1, 1)),
        (2, 4, 5, 5),
        r"attribute pads is \[1, 1\], it must be 4 numbers from 0 to 32768",
    ),
    "negative pads": (Window(pads=(1, 1, -1, 1)), (2, 4, 5, 5), r"attribute pads is \[1, 1, -1, 1\]"),
    "no stride": (Window(strides=(0, 1)), (2, 4, 5, 5), r"attribute strides is \[0, 1\], it must be 2 numbers from 1"),
    "huge dilation": (Window(dilations=(1, 2**40)), (2, 4, 5, 5), r"attribute dilations is \[1, 1099511627776\]"),
    "other taps": (Window((3, 2)), (2, 4, 5, 5), "shape says K = 36, it must be the 6 taps .* multiple of 4 channels"),
    "odd channels": (
        Window((2, 3)),
        (2, 6, 5, 5),
        "shape says K = 36, it must be the 6 taps .* multiple of 4 channels",
    ),
    "channels of x": (Window(), (2, 8, 5, 5), r"x has shape \[2, 8, 5, 5\], it must have 4 dimensions and 4 channels"),
    "rank of x": (Window(), (2, 4, 5), r"x has shape \[2, 4, 5\], it must have 4 dimensions"),
    "small x": (Window(pads=(0, 0, 0, 0)), (2, 4, 2, 5), r"x has shape \[2, 4, 2, 5\], the kernel does not fit"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_windows(case: str) -> None:
    window, shape, reason = MALFORMED[case]
    free = [f"d{axis}" for axis in range(len(shape))]
    with pytest.raises(Exception, match=f"ai.regc::{OP} node '{NODE}': {reason}"):
        by_kernel(convolution(packed(6, 4, 9), window, free, function=False), images(*shape), "avx512")


@pytest.mark.parametrize("variable", [True, False])
def test_malformed_weights(variable: bool) -> None:
    for name, value, reason in (
        ("codes", np.zeros((1, 2, 16, 4), np.uint8), r"codes has shape \[1, 2, 16, 4\], expected \[1, 3, 16, 4\]"),
        ("scale", np.ones(5, np.float32), r"scale has shape \[5\], expected \[6\]"),
        ("shape", np.array([6, -36, -36]), "shape says K = -36, it must be 1 to"),
    ):
        inputs = {**packed(6, 4, 9), name: value}
        proto = convolution(inputs, Window(), [1, 4, 5, 5], variable=tuple(inputs) if variable else (), function=False)
        with pytest.raises(Exception, match=f"ai.regc::{OP} node '{NODE}': {reason}"):
            by_kernel(proto, images(1, 4, 5, 5), "avx512", **(inputs if variable else {}))


def test_too_many_inputs_for_exact_sums() -> None:
    """In float32, as the function body adds: up to 2^24."""
    window = Window((1, 1), pads=(0, 0, 0, 0))
    inputs = packed(1, 131076, 1)
    with pytest.raises(Exception, match="shape says K = 131076, sums of products are exact up to 131072"):
        session(convolution(inputs, window, [1, 131076, 1, 1], function=False))
    inputs = packed(1, 2052, 1, 16)
    inputs["multiplier"][:] = 64
    with pytest.raises(Exception, match="shape says K = 2052, sums of products are exact up to 2048"):
        session(convolution(inputs, window, [1, 2052, 1, 1], function=False))
