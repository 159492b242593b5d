import math
from pathlib import Path

import numpy as np
import pytest

from regc.compiler.errors import ModelError, RegcError, UsageError
from regc.compiler.feeds.inputs import inputs_of_model
from regc.compiler.model import load
from regc.compiler.verify import OutputError, compare, verify_compiled
from regc.compiler.verify import verification as verify
from regc.compiler.verify.guess import random_feeds
from regc.compiler.verify.running import library_status
from support import model, normal

from .models import TOKENS, dense, save, session


def test_inputs_are_the_same_from_the_graph_and_from_onnx_runtime(tmp_path: Path) -> None:
    path = save(model(TOKENS, table=normal(50, 6)), tmp_path / "m.onnx")
    assert inputs_of_model(load(path)) == verify.inputs_of(session(path))


def test_a_model_against_itself_is_exact(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    check = verify_compiled(path, path)
    assert check.inputs == "4 random feeds, seed 0"
    assert check.outputs == (OutputError("y", 4 * 2 * 4, 4 * 2 * 4, 0, 0, 0, math.inf, 1),)
    assert (check.original, check.without_library, check.problems, check.broken) == ("ok", "ok", (), "")
    assert check.verdict(max_error=0, min_sqnr=200) == (0, "")


def test_a_difference_is_measured_and_held_against_tolerances(tmp_path: Path) -> None:
    before, after = dense(tmp_path / "a.onnx"), dense(tmp_path / "b.onnx", change=0.01)
    (output,) = verify_compiled(before, after).outputs
    feeds = random_feeds(session(before), 4, 0)
    expected = [np.abs(feed["x"].sum(1) * 0.01).max() for feed in feeds]
    assert output.max_abs == pytest.approx(max(expected), rel=1e-3)
    check = verify_compiled(before, after)
    assert check.verdict(max_error=1)[0] == 0
    assert check.verdict(max_error=1e-3) == (
        4,
        f"tolerance missed: y: error {output.max_abs:.3g} is above 0.001",
    )
    assert check.verdict(min_sqnr=90)[0] == 4


def test_compare_takes_feeds_and_gives_the_same_figures(tmp_path: Path) -> None:
    before, after = dense(tmp_path / "a.onnx"), dense(tmp_path / "b.onnx", change=0.01)
    feeds = random_feeds(session(before), 4, 0)
    assert compare(before, after, feeds) == verify_compiled(before, after).outputs
    with pytest.raises(RegcError, match=r"b2\.onnx cannot be loaded"):
        compare(
            before,
            save(model("g (float[3] x) => (float[3] y) { y = local.F(x) }"), tmp_path / "b2.onnx"),
            feeds,
        )


def test_feeds_of_a_folder_are_used_and_named(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    (tmp_path / "calib").mkdir()
    for index in range(3):
        np.savez(tmp_path / "calib" / f"{index}.npz", x=np.ones((5, 8), np.float32))
    check = verify_compiled(path, path, tmp_path / "calib")
    assert check.inputs == f"3 feeds from {tmp_path / 'calib'}"
    assert check.outputs[0].count == 3 * 5 * 4


def test_a_folder_that_does_not_fit_is_an_error_also_in_its_last_file(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    np.savez(tmp_path / "0.npz", x=np.ones((5, 8), np.float32))
    np.savez(tmp_path / "1.npz", x=np.ones((5, 9), np.float32))
    with pytest.raises(UsageError, match=r"1\.npz"):
        verify_compiled(path, path, tmp_path)


def test_a_model_that_draws_random_numbers_draws_the_same_ones(tmp_path: Path) -> None:
    text = "g (float[4,8] x) => (float[4,8] y) { r = RandomNormalLike(x)  y = Add(x, r) }"
    path = save(model(text), tmp_path / "m.onnx")
    assert verify_compiled(path, path).outputs[0].differ == 0


def test_a_model_too_big_for_the_memory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dense(tmp_path / "a.onnx")
    monkeypatch.setattr(verify, "available_memory", lambda: 100)
    check = verify_compiled(path, path)
    assert check.original.startswith("not checked: weights of 0.0 GB")
    assert check.with_library.startswith("not checked")
    assert check.without_library.startswith("not checked")
    assert check.problems[0].startswith("outputs not checked: ")
    assert check.broken == ""


def test_without_the_library_the_rest_is_still_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(tmp_path / "none.so"))
    assert library_status().startswith("not checked: the operator library cannot be used")
    path = dense(tmp_path / "a.onnx")
    check = verify_compiled(path, path)
    assert check.with_library == library_status()
    assert check.library_difference is None
    assert check.outputs[0].differ == 0


def test_unknown_files_and_providers_are_errors(tmp_path: Path) -> None:
    path = dense(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"none\.onnx: there is no such file"):
        verify_compiled(path, tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is no file"):
        verify_compiled(tmp_path, path)
    with pytest.raises(UsageError, match=r"has no NoSuchProvider here; it has .*CPUExecutionProvider"):
        verify_compiled(path, path, providers=["NoSuchProvider"])


def test_steps_are_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = dense(tmp_path / "a.onnx")
    verify_compiled(path, path, callback=lambda done, total, item: told.append((done, total)))
    assert told[0] == (0, 3)
    assert told[-1] == (3, 3)
