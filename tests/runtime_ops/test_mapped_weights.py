"""Loading a model adds no copy of its weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.mapped_weights import OPERATORS, measure, operands, write

SIZE = 48_000_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")


@pytest.mark.parametrize("op", OPERATORS)
def test_weights_are_used_in_place(op: str, tmp_path: Path) -> None:
    """Anonymous memory grows by a session, a vector of outputs and small operands, not by the codes."""
    write(tmp_path / "model.onnx", op, operands(op, SIZE))
    before, loaded, ran = measure(tmp_path / "model.onnx")
    assert loaded["Anon"] - before["Anon"] < SIZE / 3
    assert ran["Anon"] - before["Anon"] < SIZE / 3
    assert ran["File"] - before["File"] > SIZE / 3  # the run read the mapped file


def test_a_copy_would_be_seen(tmp_path: Path) -> None:
    """Weights inside of the model's own file cannot be mapped."""
    write(tmp_path / "model.onnx", "RF8MatMul", operands("RF8MatMul", SIZE), external=False)
    before, loaded, _ = measure(tmp_path / "model.onnx")
    assert loaded["Anon"] - before["Anon"] > SIZE * 0.9
