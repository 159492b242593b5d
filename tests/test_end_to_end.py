"""A real trained model from file to file: what is lost is measured on images that it has not seen."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import digits
from regc.compiler import compile_model
from regc.runtime_ops import make_session
from support import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.make_model(tmp_path_factory.mktemp("digits") / "digits.onnx", hidden=256, epochs=12)


def score(path: Path) -> float:
    data = digits.load_digits()
    return digits.accuracy(make_session(path, threads=1).run(None, {"image": data.test_x})[0], data.test_y)


@pytest.mark.parametrize(
    ("passes", "loses", "smaller"),
    [
        ("rf8", 0.4, 3.5),
        ("rf8{rounding=authors}", 0.4, 3.5),
        ("ternary{group=64,include=fc1.weight},rf8", 3, 6.5),
        ("ternary{include=fc1.weight},rf8", 3, 6.5),
        ("low-rank{ratio=1.2,include=fc1*},rf8", 6, 3.5),
    ],
)
def test_a_trained_model_keeps_its_accuracy(
    trained: Path, tmp_path: Path, passes: str, loses: float, smaller: float
) -> None:
    result = compile_model(trained, passes)
    written = result.save(tmp_path / "small.onnx")
    onnx.checker.check_model(str(written.model), full_check=True)
    assert trained.stat().st_size / written.nbytes > smaller
    assert score(written.model) >= score(trained) - loses


def test_the_file_runs_the_same_without_the_library(trained: Path, tmp_path: Path) -> None:
    path = compile_model(trained, "ternary{group=32}").save(tmp_path / "small.onnx").model
    feeds = {"image": digits.load_digits().test_x[:50]}
    with_library, without = (run(path, feeds, library=way)[0] for way in (True, False))
    np.testing.assert_array_equal(with_library, without)


def test_the_input_file_is_untouched(trained: Path, tmp_path: Path) -> None:
    before = trained.read_bytes()
    compile_model(trained, "rf8").save(tmp_path / "small.onnx")
    assert trained.read_bytes() == before
