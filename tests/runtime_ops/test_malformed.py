"""Models that break a rule: an error with the node, the reason and the numbers, never a crash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from .packed import INT8, ISAS, NODE, OPERATORS, Weights, by_kernel, model, session, weights
from .packed import SPARSE as SPARSE_OPERATORS

Change = Callable[[Weights], None]


def replace(name: str, value: object, dtype: type = np.int64) -> Change:
    """Give an input another value."""
    return lambda inputs: inputs.update({name: np.asarray(value, dtype)})


def fill(name: str, value: float, at: int = -1) -> Change:
    """Set one element of an input."""
    return lambda inputs: inputs[name].reshape(-1).__setitem__(at, value)


TERNARY: dict[str, tuple[Change, str]] = {
    "shape rank": (replace("shape", [[20, 40, 40]]), r"shape has shape \[1, 3\], expected \[3\]"),
    "shape length": (replace("shape", [20, 40]), r"shape has shape \[2\], expected \[3\]"),
    "no outputs": (replace("shape", [0, 40, 40]), r"N = 0, it must be 1 to"),
    "negative inputs": (replace("shape", [20, -40, 40]), r"K = -40, it must be 1 to"),
    "huge": (replace("shape", [2**62, 2**62, 2**62]), r"N = 4611686018427387904, it must be"),
    "large": (
        replace("shape", [2**31, 2**31, 2**31]),
        r"codes has shape .* expected \[134217728, 134217728, 16, 4\]",
    ),
    "group 0": (replace("shape", [20, 40, 0]), r"group = 0, it must be 1 to"),
    "group 24": (
        replace("shape", [20, 40, 24]),
        r"group = 24, it must be K = 40 or a smaller multiple of 16",
    ),
    "group over K": (replace("shape", [20, 40, 48]), r"group = 48, it must be K = 40"),
    "more inputs": (
        replace("shape", [20, 49, 49]),
        r"codes has shape \[2, 3, 16, 4\], expected \[2, 4, 16, 4\]",
    ),
    "more outputs": (
        replace("shape", [33, 40, 40]),
        r"codes has shape \[2, 3, 16, 4\], expected \[3, 3, 16, 4\]",
    ),
    "more groups": (
        replace("shape", [20, 40, 16]),
        r"multiplier has shape \[2, 1, 16\], expected \[2, 3, 16\]",
    ),
    "flat codes": (replace("codes", np.zeros(384), np.uint8), r"codes has shape \[384\]"),
    "no codes": (replace("codes", np.zeros((2, 0, 16, 4)), np.uint8), r"codes has shape \[2, 0, 16, 4\]"),
    "large multiplier": (fill("multiplier", 65), r"multiplier has the value 65, the largest allowed is 64"),
    "short scale": (replace("scale", np.ones(19), np.float32), r"scale has shape \[19\], expected \[20\]"),
    "long bias": (
        replace("bias", np.ones(21), np.float32),
        r"bias has shape \[21\], expected \[20\] or \[1\]",
    ),
    "scalar bias": (replace("bias", 1, np.float32), r"bias has shape \[\], expected \[20\] or \[1\]"),
    "empty bias": (replace("bias", [], np.float32), r"bias has shape \[0\], expected \[20\] or \[1\]"),
}
FIVES = {
    **TERNARY,
    "large": (
        replace("shape", [2**31, 2**31, 2**31]),
        r"codes has shape .* expected \[134217728, 107374183, 16, 4\]",
    ),
    "group 24": (
        replace("shape", [20, 40, 32]),
        r"group = 32, it must be K = 40 or a smaller multiple of 20",
    ),
    "more inputs": (
        replace("shape", [20, 49, 49]),
        r"codes has shape \[2, 2, 16, 4\], expected \[2, 3, 16, 4\]",
    ),
    "more outputs": (
        replace("shape", [33, 40, 40]),
        r"codes has shape \[2, 2, 16, 4\], expected \[3, 2, 16, 4\]",
    ),
    "more groups": (
        replace("shape", [20, 40, 20]),
        r"multiplier has shape \[2, 1, 16\], expected \[2, 2, 16\]",
    ),
}
RF8: dict[str, tuple[Change, str]] = {
    "shape length": (replace("shape", [20, 40, 40]), r"shape has shape \[3\], expected \[2\]"),
    "no inputs": (replace("shape", [20, 0]), r"K = 0, it must be 1 to"),
    "more inputs": (replace("shape", [20, 41]), r"codes has shape \[2, 10, 4, 2, 4, 2\], expected \[2, 11, "),
    "fewer outputs": (replace("shape", [16, 40]), r"codes has shape .* expected \[1, 10, 4, 2, 4, 2\]"),
    "flat codes": (replace("codes", np.zeros(640), np.uint8), r"codes has shape \[640\]"),
    "short scale": (replace("scale", np.ones(1), np.float32), r"scale has shape \[1\], expected \[20\]"),
    "matrix bias": (
        replace("bias", np.ones((20, 1)), np.float32),
        r"bias has shape \[20, 1\], expected \[20\] or",
    ),
}
SPARSE: dict[str, tuple[Change, str]] = {
    "shape length": (replace("shape", [20, 42]), r"shape has shape \[2\], expected \[3\]"),
    "no outputs": (replace("shape", [0, 42, 4]), r"N = 0, it must be 1 to"),
    "block 3": (replace("shape", [20, 42, 3]), r"block = 3, it must be 1, 2, 4, 8, 16 or 32"),
    "block 64": (replace("shape", [20, 42, 64]), r"block = 64, it must be 1, 2, 4, 8, 16 or 32"),
    "other block": (replace("shape", [20, 42, 2]), r"has shape \[5, 4, 16\], expected \[5, 2, 16\] for shape"),
    "more outputs": (replace("shape", [33, 42, 4]), r"start has shape \[3\], expected \[4\] for shape"),
    "fewer inputs": (replace("shape", [20, 38, 4]), r"index has the value 10 at block 3, .* be less than 10"),
    "fewer blocks": (replace("index", [0, 1, 2, 3], np.int32), r"index has shape \[4\], expected \[5\]"),
    "matrix of indices": (replace("index", [[0, 4, 9, 10, 3]], np.int32), r"index has shape \[1, 5\], expected \[5\]"),
    "negative index": (replace("index", [-1, 4, 9, 10, 3], np.int32), r"index has the value -1 at block 0, it must"),
    "equal indices": (replace("index", [0, 4, 4, 10, 3], np.int32), r"index has the value 4 at block 2, it must asc"),
    "falling index": (replace("index", [4, 0, 9, 10, 3], np.int32), r"index has the value 0 at block 1, it must asc"),
    "late start": (replace("start", [1, 4, 5], np.int32), r"start goes from 1 to 5, it must go from 0 .* blocks, 5"),
    "early end": (replace("start", [0, 4, 4], np.int32), r"start goes from 0 to 4, it must go from 0 .* blocks, 5"),
    "start beyond": (replace("start", [0, 9, 5], np.int32), r"start falls to 5 at tile 2"),
    "negative start": (replace("start", [0, -4, 5], np.int32), r"start falls to -4 at tile 1"),
    "short scale": (replace("scale", np.ones(1), np.float32), r"scale has shape \[1\], expected \[20\]"),
    "long bias": (replace("bias", np.ones(21), np.float32), r"bias has shape \[21\], expected \[20\] or \[1\]"),
}
GATED: dict[str, tuple[Change, str]] = {
    "shape length": (replace("shape", [20, 40, 4]), r"shape has shape \[3\], expected \[2\]"),
    "no inputs": (replace("shape", [20, 0]), r"K = 0, it must be 1 to"),
    "more inputs": (replace("shape", [20, 41]), r"has shape \[40, 32\], expected \[41, 32\] for shape"),
    "more outputs": (replace("shape", [33, 40]), r"has shape \[40, 32\], expected \[40, 48\] for shape"),
    "short norms": (replace("norms", np.ones(39), np.float32), r"norms has shape \[39\], expected \[40\] for"),
    "short scale": (replace("scale", np.ones(1), np.float32), r"scale has shape \[1\], expected \[20\]"),
    "long bias": (replace("bias", np.ones(21), np.float32), r"bias has shape \[21\], expected \[20\] or \[1\]"),
}
BY_THRESHOLD = {
    **GATED,
    "scalar threshold": (replace("threshold", 1, np.float32), r"threshold has shape \[\], expected \[1\]"),
    "thresholds": (replace("threshold", np.ones(40), np.float32), r"threshold has shape \[40\], expected \[1\]"),
}
BY_RANK = {
    **GATED,
    "no number": (replace("active", []), r"active has shape \[0\], expected \[1\]"),
    "a number for each row": (replace("active", [3, 3]), r"active has shape \[2\], expected \[1\]"),
    "none active": (replace("active", [0]), r"active is 0, it must be 1 to K = 40"),
    "more than all active": (replace("active", [41]), r"active is 41, it must be 1 to K = 40"),
    "negative active": (replace("active", [-(2**63)]), r"active is -9223372036854775808, it must be 1 to K = 40"),
}
FLAT_WEIGHTS = (replace("weights", np.zeros(1280), np.float32), r"weights has shape \[1280\], expected")
FLAT_CODES = (replace("codes", np.zeros(1280), np.uint8), r"codes has shape \[1280\], expected \[40, 32\]")
MALFORMED = {
    "GatedMatMul": {**BY_THRESHOLD, "flat weights": FLAT_WEIGHTS},
    "GatedRF8MatMul": {**BY_THRESHOLD, "flat codes": FLAT_CODES},
    "GatedTopKMatMul": {**BY_RANK, "flat weights": FLAT_WEIGHTS},
    "GatedTopKRF8MatMul": {**BY_RANK, "flat codes": FLAT_CODES},
    "TernaryMatMul": TERNARY,
    "TernaryMatMulFloat": TERNARY,
    "Ternary5MatMul": FIVES,
    "Ternary5MatMulFloat": FIVES,
    "RF8MatMul": RF8,
    "BlockSparseMatMul": {
        **SPARSE,
        "flat values": (replace("values", np.zeros(320), np.float32), r"values has shape \[320\], expected \[320, 4,"),
        "padding": (fill("values", np.nan, at=4 * 64 - 16), r"values has a weight other than 0 beyond input 42 in"),
    },
    "BlockSparseRF8MatMul": {
        **SPARSE,
        "flat codes": (replace("codes", np.zeros(320), np.uint8), r"codes has shape \[320\], expected \[320, 4,"),
    },
}
CASES = [
    pytest.param(op, change, reason, id=f"{op}: {name}")
    for op in OPERATORS
    for name, (change, reason) in MALFORMED[op].items()
]


def well_formed(op: str) -> Weights:
    """The weights that the cases change: for block-sparse operators, five blocks of 4 in two tiles."""
    if op not in SPARSE_OPERATORS:
        return weights(op, (20, 40))
    inputs = weights(op, (20, 42), block=4)
    values = "values" if "values" in inputs else "codes"
    inputs[values] = np.zeros((5, 4, 16), inputs[values].dtype)
    return {**inputs, "index": np.array([0, 4, 9, 10, 3], np.int32), "start": np.array([0, 4, 5], np.int32)}


@pytest.mark.parametrize(("op", "change", "reason"), CASES)
def test_constant_weights_are_checked_at_load(op: str, change: Change, reason: str) -> None:
    inputs = well_formed(op)
    session(model(op, inputs, function=False))
    change(inputs)
    with pytest.raises(Exception, match=f"ai.regc::{op} node '{NODE}': .*{reason}"):
        session(model(op, inputs, x_shape=["rows", "inputs"], function=False))


@pytest.mark.parametrize(("op", "change", "reason"), CASES)
def test_variable_weights_are_checked_at_every_call(op: str, change: Change, reason: str) -> None:
    inputs = well_formed(op)
    change(inputs)
    proto = model(op, inputs, x_shape=["rows", "inputs"], variable=tuple(inputs), function=False)
    with pytest.raises(Exception, match=f"ai.regc::{op} node '{NODE}': .*{reason}"):
        by_kernel(proto, np.ones((2, 40), np.float32), "avx512", **inputs)


@pytest.mark.parametrize("op", OPERATORS)
def test_activations_of_the_wrong_shape(op: str) -> None:
    inputs = weights(op, (20, 40))
    wide = model(op, inputs, x_shape=["rows", "inputs"], function=False)
    with pytest.raises(Exception, match=rf"node '{NODE}': x has shape \[2, 41\], its last dimension must be 40"):
        by_kernel(wide, np.ones((2, 41), np.float32), "avx512")
    scalar = model(op, inputs, x_shape=[], function=False)
    with pytest.raises(Exception, match=rf"node '{NODE}': x is a scalar"):
        by_kernel(scalar, np.array(1, np.float32), "avx512")


@pytest.mark.parametrize("name", ["codes", "multiplier", "scale", "bias", "shape"])
def test_wrong_types_are_refused(name: str) -> None:
    inputs = weights("TernaryMatMul", (20, 40))
    inputs[name] = inputs[name].astype(np.int32)
    with pytest.raises(Exception, match=r"tensor\(int32\)"):
        session(model("TernaryMatMul", inputs, function=False))


@pytest.mark.parametrize("op", INT8)
def test_too_many_inputs_for_exact_sums(op: str) -> None:
    inputs = weights(op, (1, 131073))
    with pytest.raises(Exception, match=f"node '{NODE}': shape says K = 131073, .* up to 131072"):
        session(model(op, inputs, function=False))
    x = np.zeros((1, 131073), np.float32)
    float_op = model(f"{op}Float", inputs, function=False)
    np.testing.assert_array_equal(by_kernel(float_op, x, "avx512")[0], inputs["bias"])


@pytest.mark.parametrize("op", [op for op in OPERATORS if "codes" in weights(op, (20, 40))])
@pytest.mark.parametrize("rows", [1, 10])
def test_codes_that_no_encoder_emits_are_harmless(op: str, rows: int) -> None:
    """Field 3 of a trit, residual 7 of an RF8 code: some finite result, on every instruction set."""
    inputs = weights(op, (20, 40))
    inputs["codes"][:] = 0xFF
    for name in ISAS:
        assert np.isfinite(by_kernel(model(op, inputs), np.ones((rows, 40), np.float32), name)).all()
