import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from regc.compiler import job
from regc.compiler.cli import main
from support import normal

from .invoking import compiled, one_line_error, regc


def test_feeds_that_do_not_fit_are_refused_before_the_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "compile_model", lambda *a, **k: pytest.fail("the passes ran"))
    np.savez(path.parent / "a.npz", x=normal(5, 255))
    outcome = compiled(path, "--passes", "rf8", "--calibration", path.parent)
    assert "the model takes x float [n, 256]" in one_line_error(outcome, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--passes", "ternry"), 2, 'did you mean "ternary"?'),
        (("--passes", "ternary{grup=64}"), 2, 'did you mean "group"?'),
        (("--passes", "ternary{group=3}"), 2, "multiple of 16"),
        (("--passes", "rf8", "--include", "frist"), 2, 'selector "frist" matches no weight'),
        (("--passes", "rf8", "--report", "r.txt"), 2, "a report is .json or .html"),
        (("--passes", "rf8", "--calibration", "no/such"), 2, "no such file or folder"),
        (("--passes", "rf8", "--no-verify", "--min-sqnr", "3"), 2, "leave out --no-verify"),
        (("--passes", "rf8", "--mask", "m"), 2, "--mask: give calibration inputs"),
        (("--passes", "rf8", "--samples", "3"), 2, "--samples: give calibration inputs"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    assert words in one_line_error(compiled(path, *arguments), code)
    assert sorted(file.name for file in path.parent.iterdir()) == ["m.onnx"]


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("not a model")
    assert "m.onnx" in one_line_error(regc("compile", tmp_path / "m.onnx", "--passes", "rf8"), 1)
    assert "none.onnx" in one_line_error(regc("inspect", tmp_path / "none.onnx"), 2)


def test_the_input_is_never_written_to(path: Path) -> None:
    before = path.read_bytes()
    assert "choose another name" in one_line_error(regc("compile", path, "-o", path, "--passes", "rf8"), 2)
    assert path.read_bytes() == before


def test_options_that_click_refuses_exit_2(path: Path) -> None:
    assert regc("compile", path).exit_code == 2
    assert compiled(path, "--passes", "rf8", "--max-error", "-1").exit_code == 2
    assert regc("no-such-command").exit_code == 2


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ("m.onnx", "a report is .json or .html"),
        ("out.json", "is where the compressed model goes"),
        ("weights.json", "is a file of the input model"),
        ("r.json", "is where another report goes"),
        ("folder.json", "is a folder"),
        ("none/r.json", "does not exist; create it first"),
        ("pipe.json", "is no regular file"),
    ],
)
def test_reports_go_where_nothing_else_is(path: Path, report: str, words: str) -> None:
    folder = path.parent
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    onnx.save(onnx.load(path), folder / "e.onnx", save_as_external_data=True, location="weights.json")
    before = _told_apart(folder)
    arguments = ("--passes", "rf8", "-o", folder / "out.json", "--report", folder / "r.json")
    outcome = regc("compile", folder / "e.onnx", *arguments, "--report", folder / report)
    assert words in one_line_error(outcome, 2)
    assert _told_apart(folder) == before


def _told_apart(folder: Path) -> dict[Path, tuple[int, ...]]:
    """What changes when a file is written or replaced; reading one may change its time of access."""
    found = {file: file.lstat() for file in folder.iterdir()}
    return {file: (stat.st_mode, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in found.items()}


def test_an_output_over_calibration_is_refused(path: Path) -> None:
    np.savez(path.parent / "a.npz", x=normal(5, 256))
    outcome = regc("compile", path, "-o", path.parent / "a.npz", "--passes", "rf8", "--calibration", path.parent)
    assert "is a calibration file" in one_line_error(outcome, 2)


def test_an_empty_output_is_said_to_be_empty(path: Path) -> None:
    outcome = regc("compile", path, "-o", "", "--passes", "rf8")
    assert outcome.exit_code == 2
    assert "the path is empty" in outcome.stderr


def test_every_calibration_file_is_checked_before_the_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "compile_model", lambda *a, **k: pytest.fail("the passes ran"))
    np.savez(path.parent / "a.npz", x=normal(5, 256))
    np.savez(path.parent / "b.npz", x=normal(5, 255))
    assert "b.npz: x is float32 [5, 255]" in one_line_error(
        compiled(path, "--passes", "rf8", "--calibration", path.parent), 2
    )


def test_missing_and_broken_models_exit_alike_everywhere(path: Path) -> None:
    missing, broken = path.parent / "none.onnx", path.parent / "broken.onnx"
    broken.write_text("not a model")
    for wrong, code in ((missing, 2), (broken, 1)):
        for arguments in (("compile", wrong, "--passes", "rf8"), ("inspect", wrong), ("verify", wrong, path)):
            assert regc(*arguments).exit_code == code, arguments
    assert compiled(path, "--passes", "rf8", "--calibration", path.parent / "none.npz").exit_code == 2


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    assert "is a Git LFS pointer" in one_line_error(regc("inspect", tmp_path / "m.onnx"), 1)


@pytest.mark.parametrize("command", ["compile", "inspect", "passes", "verify", "doctor"])
def test_every_option_has_help(command: str) -> None:
    assert [p.name for p in main.commands[command].params if p.param_type_name == "option" and not p.help] == []


def test_calibration_inputs_are_not_written_over(path: Path) -> None:
    np.save(path.parent / "x.npy", normal(50, 256))
    outcome = regc(
        "compile", path, "-o", path.parent / "x.npy", "--passes", "rf8", "--calibration", path.parent / "x.npy"
    )
    assert "is a calibration file" in one_line_error(outcome, 2)


@pytest.mark.parametrize(("size", "code"), [("2 gallons", 2), ("64MB", 0), ("1e", 2), ("100000", 0)])
def test_sizes_have_units(path: Path, size: str, code: int) -> None:
    np.save(path.parent / "x.npy", normal(5, 256))
    assert regc("calibrate", path, path.parent / "x.npy", "--calibration-memory", size).exit_code == code
