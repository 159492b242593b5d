"""Every row of kernels.inc, on every instruction set, against the function body and the NumPy reference."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .packed import (
    GATED,
    INT8,
    ISAS,
    OPERATORS,
    Array,
    assert_close,
    assert_same_bits,
    by_body,
    by_kernel,
    isa,
    layout,
    model,
    session,
    weights,
)

TABLE = Path(__file__).parents[2] / "runtime_ops" / "csrc" / "kernels" / "kernels.inc"
KERNELS = re.findall(r"^REGC_KERNEL\((\w+), \w+\)$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
CASES = {
    "quantize": ("TernaryMatMul", (1, 20)),
    "ternary_stream": ("TernaryMatMul", (1, 5)),
    "ternary_panel": ("TernaryMatMul", (6, 40)),
    "ternary_float_stream": ("TernaryMatMulFloat", (1, 3)),
    "ternary_float_panel": ("TernaryMatMulFloat", (4, 30)),
    "ternary5_stream": ("Ternary5MatMul", (1, 3)),
    "ternary5_panel": ("Ternary5MatMul", (4, 40)),
    "ternary5_float_stream": ("Ternary5MatMulFloat", (1, 3)),
    "ternary5_float_panel": ("Ternary5MatMulFloat", (4, 30)),
    "round_rows": ("RF8MatMul", (2, 30)),
    "rf8_stream": ("RF8MatMul", (1, 3)),
    "rf8_panel": ("RF8MatMul", (4, 30)),
    "pack_rows": ("BlockSparseMatMul", (4, 220)),
    "sparse_stream": ("BlockSparseMatMul", (1, 3)),
    "sparse_panel": ("BlockSparseMatMul", (4, 40)),
    "sparse_rf8_stream": ("BlockSparseRF8MatMul", (1, 3)),
    "sparse_rf8_panel": ("BlockSparseRF8MatMul", (4, 40)),
    "gate": ("GatedMatMul", (1, 20)),
    "gate_top": ("GatedTopKMatMul", (1, 20)),
    "gated_stream": ("GatedMatMul", (1, 4)),
    "gated_panel": ("GatedMatMul", (5, 40)),
    "gated_rf8_stream": ("GatedRF8MatMul", (1, 4)),
    "gated_rf8_panel": ("GatedRF8MatMul", (5, 40)),
}
"""The operator, and the fewest and most rows of x, that reach each kernel: few rows are streamed. What
test_halves.py tests of round_rows and the panels of RF8 is not repeated.
"""

IN_CONVOLUTIONS = ("peak", "lay_int8", "ternary_conv")
"""Kernels that test_convolutions.py runs."""
ENCODERS = ("rf8_codes", "rf8_judge")
"""Kernels that test_encoder.py runs."""

SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 300))
GROUPS = st.sampled_from([None, 16, 32, 48, 64, 128, 272])


def activations(rows: int, inputs: int, seed: int) -> Array:
    """Rows of very different magnitudes."""
    random = np.random.default_rng(seed)
    magnitudes = 10.0 ** random.integers(-6, 6, (rows, 1))
    return (random.standard_normal((rows, inputs)) * magnitudes).astype(np.float32)


def test_every_kernel_has_a_case() -> None:
    assert len(KERNELS) >= 7
    assert sorted(KERNELS) == sorted([*CASES, *IN_CONVOLUTIONS, *ENCODERS])


@pytest.mark.parametrize("kernel", CASES)
@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, group=GROUPS, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_kernel_agrees(kernel: str, shape: tuple[int, int], group: int | None, seed: int, data: st.DataObject) -> None:
    op, (fewest, most) = CASES[kernel]
    inputs = weights(op, shape, group, seed=seed, biases=data.draw(st.sampled_from([None, 1])))
    x = activations(data.draw(st.integers(fewest, most)), shape[1], seed)
    proto = model(op, inputs)
    results = [by_kernel(proto, x, name) for name in ISAS]
    for result in results[1:]:
        assert_same_bits(result, results[0])
    body = by_body(proto, x)
    if op in INT8:
        assert_same_bits(results[0], body)
    else:
        assert_close(results[0], x, op, inputs)
        assert_close(body, x, op, inputs)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("op", OPERATORS)
def test_a_row_does_not_depend_on_the_others(op: str, name: str) -> None:
    inputs = weights(op, (70, 1100), 32)
    x = activations(60, 1100, seed=1)
    with isa(name):
        runner = session(model(op, inputs))
    (together,) = runner.run(None, {"x": x})
    for rows in (1, 2, 3, 4, 5, 8, 9, 13):
        (some,) = runner.run(None, {"x": x[:rows]})
        assert_same_bits(some, together[:rows])


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("rows", [1, 50, 400])
def test_threads_do_not_change_a_bit(op: str, name: str, rows: int) -> None:
    """Large enough to be cut into several tasks, along the outputs and along the rows."""
    shape = (40, 100) if name == "generic" and rows == 400 else (650, 300)
    proto = model(op, weights(op, shape, 64))
    x = activations(rows, shape[1], seed=2)
    assert_same_bits(by_kernel(proto, x, name, threads=2), by_kernel(proto, x, name, threads=1))


@pytest.mark.parametrize("op", GATED)
def test_gated_tasks_may_have_more_outputs_than_their_sums_have_room_for(op: str) -> None:
    inputs = weights(op, (1000, 1), seed=3)
    x = activations(128, 1, seed=3)
    proto = model(op, inputs)
    for name in ISAS:
        assert_close(by_kernel(proto, x, name), x, op, inputs)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("op", INT8)
@pytest.mark.parametrize("group", [None, 128, 4096])
def test_the_largest_sums_are_exact(op: str, name: str, group: int | None) -> None:
    """All products at their largest: pair sums of 16 bits and row sums of 32 bits must not saturate."""
    inputs = weights(op, (33, 131072), group)
    signs = np.where(np.arange(131072) < 65536, 1, -1)
    inputs["codes"] = layout(op).pack_trits(np.broadcast_to(signs, (33, 131072)).astype(np.int8))
    if group is not None:
        inputs["multiplier"][:] = 64
    x = np.tile(signs.astype(np.float32) * np.float32(3.5), (10, 1))
    multiplier = 1 if group is None else 64
    unit = np.float32(127 * multiplier * 131072) * (np.float32(3.5) / np.float32(127))
    expected = np.broadcast_to(unit * inputs["scale"] + inputs["bias"], (10, 33))
    for rows in (1, 10):
        assert_same_bits(by_kernel(model(op, inputs), x[:rows], name), expected[:rows].copy())


def test_unknown_instruction_set_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_ISA", "sse9")
    with pytest.raises(
        Exception, match=r"layer/7.*REGC_ISA is 'sse9', choose one of generic, neon, avx2, avxvnni, avx512, avx512fp16"
    ):
        session(model("RF8MatMul", weights("RF8MatMul", (4, 4))))
