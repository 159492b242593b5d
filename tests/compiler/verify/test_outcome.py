"""What is said of a verification: what is wrong with which model, and which tolerance is missed."""

from pathlib import Path

import numpy as np

from regc.compiler.verify import Verification, verify_compiled
from support import model, normal

from .models import DENSE, dense, foreign, save


def test_an_original_that_does_not_load_is_not_blamed_on_the_result(tmp_path: Path) -> None:
    path = foreign(tmp_path / "f.onnx")
    check = verify_compiled(path, path)
    assert check.original.startswith("cannot be loaded: ")
    assert check.problems == (f"the original {check.original}",)
    assert check.without_library.startswith("cannot be loaded")
    assert check.broken == ""
    assert not check.original_fails, "an operator of another vendor is no fault of the model"
    words = "ONNX Runtime does not know com.example:Thing, which the original calls"
    assert check.verdict() == (1, f"nothing was compared: {words}")


def test_an_original_that_is_broken_is_told_from_one_with_foreign_operators(tmp_path: Path) -> None:
    text = "g (float[3,4] x) => (float[3,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(7, 4)), tmp_path / "m.onnx")
    check = verify_compiled(path, path)
    assert check.original_fails
    assert check.uncompared.startswith("the original cannot be loaded in ONNX Runtime: ")


def test_an_original_that_does_not_run_on_given_inputs_fails(tmp_path: Path) -> None:
    text = "g (float[n,k] x) => (float[n,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(7, 4)), tmp_path / "m.onnx")
    check = verify_compiled(path, path, [{"x": np.zeros((2, 5), np.float32)}])
    assert check.original_fails
    assert check.original.startswith("cannot be run: ")
    assert check.broken == ""
    assert (
        "without the operator library it cannot be loaded"
        in verify_compiled(path, foreign(tmp_path / "f.onnx"), [{"x": np.zeros((2, 5), np.float32)}]).broken
    )


def test_one_failure_in_both_ways_is_told_once(tmp_path: Path) -> None:
    other = save(model(DENSE.replace("x", "z"), w=normal(8, 4)), tmp_path / "b.onnx")
    check = verify_compiled(dense(tmp_path / "a.onnx"), other)
    assert check.broken.startswith("with and without the operator library it cannot be run: ")
    assert check.broken.count("cannot be run") == 1


def test_a_result_that_does_not_load_is_broken(tmp_path: Path) -> None:
    check = verify_compiled(dense(tmp_path / "a.onnx"), foreign(tmp_path / "f.onnx"))
    assert "without the operator library it cannot be loaded" in check.broken
    assert check.outputs == ()
    assert check.verdict()[0] == 1


def test_a_result_without_an_output_is_not_comparable(tmp_path: Path) -> None:
    other = save(model(DENSE.replace("y", "z"), w=normal(8, 4)), tmp_path / "b.onnx")
    check = verify_compiled(dense(tmp_path / "a.onnx"), other)
    assert check.outputs[0].note == "the other model has no such output"
    assert check.verdict(max_error=1)[0] == 4


def test_an_original_that_no_random_input_fits_is_said_in_words(tmp_path: Path) -> None:
    text = "g (float[n,k] x) => (float[n,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(77, 4)), tmp_path / "m.onnx")
    check = verify_compiled(path, path)
    assert check.problems[0].startswith("the original cannot be run on random inputs: ")
    assert (check.original, check.without_library, check.outputs, check.inputs) == ("ok", "ok", (), "none")


def test_a_tolerance_that_nothing_can_be_held_against_is_missed() -> None:
    check = Verification("none", (), ("why",), "ok", "ok")
    assert check.missed(1.0, None) == ["no output could be compared"]
    assert check.missed(None, None) == []
