"""Calibration inputs and options for them that cannot be meant, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from regc.compiler import compile_model
from regc.compiler.calibration import Calibration
from regc.compiler.cli import main
from regc.compiler.errors import UsageError
from regc.passes import RF8
from support import Array, model, normal

TEXT = "g (float[n,256] x, int64[n] mask) => (float[n,256] y, int64[n] m) { y = MatMul(x, w) m = Identity(mask) }"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(model(TEXT, w=normal(256, 256)), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def saved(path: Path, **arrays: Array) -> Path:
    np.savez(path.parent / "data.npz", **arrays)  # type: ignore[arg-type, unused-ignore]
    return path.parent / "data.npz"


def error(path: Path, *arguments: object, passes: str = "ternary") -> str:
    given = ["compile", path, "-o", path.parent / "out.onnx", "--passes", passes, *arguments]
    outcome: Result = CliRunner().invoke(main, [str(argument) for argument in given])
    assert outcome.exit_code == 2, outcome.output
    return outcome.stderr


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
@pytest.mark.parametrize("passes", ["ternary", "ternary{method=mean}"])
def test_inputs_that_are_nowhere_finite_are_refused(path: Path, nothing: float, passes: str) -> None:
    x = np.full((40, 256), nothing, np.float32)
    given = saved(path, x=x, mask=np.ones(40, np.int64))
    assert "hold nothing but NaN and infinity" in error(path, "--calibration", given, passes=passes)


def test_one_finite_value_is_an_input(path: Path) -> None:
    x = np.full((40, 256), np.nan, np.float32)
    x[-1, -1] = 1
    feeds = [{"x": rows, "mask": np.ones(20, np.int64)} for rows in np.split(x, 2)]
    result = compile_model(path, [RF8()], calibration=feeds)
    assert result.changed
    assert result.records[0].unseen == "calibration rows hold NaN or infinite values"
    assert "uncalibrated" in str(result.report)


def test_a_mask_is_checked_where_nothing_is_gathered(path: Path) -> None:
    given = saved(path, x=normal(40, 256), mask=np.ones(40, np.int64))
    wrong = {"mast": 'is no input of the model; it takes x, mask; did you mean "mask"?', "x": "is float32; a mask is"}
    for name, words in wrong.items():
        for passes in ("ternary", "ternary{method=mean}"):
            assert words in error(path, "--calibration", given, "--mask", name, passes=passes)


@pytest.mark.parametrize("option", ["--sequential", "--no-sequential"])
def test_the_order_of_gathering_asks_for_inputs(path: Path, option: str) -> None:
    assert f"{option}: give calibration inputs" in error(path, option)
    given = saved(path, x=normal(40, 256), mask=np.ones(40, np.int64))
    statistics = path.parent / "s.npz"
    outcome = CliRunner().invoke(main, ["calibrate", str(path), str(given), "-o", str(statistics)])
    assert outcome.exit_code == 0, outcome.output
    assert f"{option} does nothing with" in error(path, option, "--calibration", statistics)
    with pytest.raises(UsageError, match="does nothing"):
        Calibration(statistics, sequential=option == "--sequential")


def test_arrays_that_are_there_are_listed(path: Path) -> None:
    given = saved(path, z=normal(40, 256), mask=np.ones(40, np.int64))
    words = "no array named x; there is z float32 [40, 256], mask int64 [40]; the model takes x float [n, 256]"
    assert words in error(path, "--calibration", given)
