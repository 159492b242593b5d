import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from regc.compiler import compile, job, report
from regc.compiler.cli import main
from support import model, normal, run

TEXT = """g (float[n,256] x) => (float[n,256] y) {
    h = MatMul(x, first)
    r = Relu(h)
    y = MatMul(r, second)
}"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(model(TEXT, first=normal(256, 512), second=normal(512, 256)), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def regc(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "100"})


def compiled(path: Path, *arguments: object) -> Result:
    return regc("compile", path, "-o", path.parent / "out.onnx", *arguments)


def one_line_error(outcome: Result, code: int) -> str:
    lines = outcome.stderr.strip().splitlines()
    assert outcome.exit_code == code, outcome.output
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


# --- compile -------------------------------------------------------------------------------------


def test_compile_writes_verifies_and_reports(path: Path) -> None:
    outcome = compiled(path, "--passes", "rf8", "--report", path.parent / "r.json", "--report", path.parent / "r.html")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stderr == ""
    assert "first" in outcome.stdout
    assert "measured on 4 random feeds, seed 0" in outcome.stdout
    x = normal(3, 256, seed=5)
    before, after = run(path, {"x": x})[0], run(path.parent / "out.onnx", {"x": x})[0]
    assert 0 < np.linalg.norm(after - before) / np.linalg.norm(before) < 0.1
    data = json.loads((path.parent / "r.json").read_text())
    assert data["output"] == str(path.parent / "out.onnx")
    assert data["file_bytes"]["after"] == (path.parent / "out.onnx").stat().st_size
    assert data["verification"]["without_library"] == "ok"
    assert data["verification"]["with_library"] == "ok"
    assert 20 < data["verification"]["outputs"][0]["sqnr_db"] < 50
    assert (path.parent / "r.html").read_text().startswith("<!doctype html>")


def test_the_output_is_named_after_the_model_by_default(path: Path) -> None:
    assert regc("compile", path, "--passes", "rf8", "--no-verify").exit_code == 0
    assert (path.parent / "m.regc.onnx").exists()


def test_nothing_changed_writes_no_model_but_the_report(path: Path) -> None:
    outcome = compiled(path, "--passes", "rf8", "--exclude", "*", "--report", path.parent / "r.json")
    assert outcome.exit_code == 3
    assert outcome.stderr == "nothing was changed, so nothing was written\n"
    assert 'excluded by "*"' in outcome.stdout
    assert not (path.parent / "out.onnx").exists()
    assert json.loads((path.parent / "r.json").read_text())["weights_changed"] == 0


@pytest.mark.parametrize("tolerance", [("--min-sqnr", "90"), ("--max-error", "1e-6")])
def test_a_missed_tolerance_keeps_the_file_and_says_so(path: Path, tolerance: tuple[str, str]) -> None:
    outcome = compiled(path, "--passes", "rf8", *tolerance)
    assert outcome.exit_code == 4
    assert "out.onnx was written and kept, but misses a tolerance: y: " in outcome.stderr
    assert (path.parent / "out.onnx").exists()


def test_tolerances_that_are_met_are_no_matter(path: Path) -> None:
    assert compiled(path, "--passes", "rf8", "--min-sqnr", "20", "--max-error", "10").exit_code == 0


def test_a_result_that_does_not_run_exits_1(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = compile.CompileResult.save

    def broken(self: compile.CompileResult, to: Path, **options: Any) -> Any:
        saved = save(self, to, **options)
        proto = onnx.load(to)
        proto.graph.node[0].op_type = "NoSuchOperator"
        onnx.save(proto, to)
        return saved

    monkeypatch.setattr(compile.CompileResult, "save", broken)
    outcome = compiled(path, "--passes", "rf8")
    assert outcome.exit_code == 1
    assert "out.onnx was written, but" in outcome.stderr


def test_feeds_are_taken_from_a_folder(path: Path) -> None:
    (path.parent / "calib").mkdir()
    np.savez(path.parent / "calib" / "a.npz", x=normal(5, 256))
    outcome = compiled(path, "--passes", "rf8", "--calibration", path.parent / "calib")
    assert outcome.exit_code == 0
    assert "measured on 1 feed from" in outcome.stdout


def test_feeds_that_do_not_fit_are_refused_before_the_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "compile_model", lambda *a, **k: pytest.fail("the passes ran"))
    np.savez(path.parent / "a.npz", x=normal(5, 255))
    outcome = compiled(path, "--passes", "rf8", "--calibration", path.parent)
    assert "the model takes x float [n, 256]" in one_line_error(outcome, 2)


def test_external_data_on_request(path: Path) -> None:
    assert compiled(path, "--passes", "rf8", "--external-data").exit_code == 0
    assert (path.parent / "out.onnx.data").exists()


def test_selectors_reach_the_passes(path: Path) -> None:
    outcome = compiled(path, "--passes", "rf8", "--include", "fir*", "--no-verify")
    assert outcome.exit_code == 0
    assert 'not selected by "fir*"' in outcome.stdout


# --- what cannot be meant ------------------------------------------------------------------------


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


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("compile_model", "no model was written"),
        ("verify_compiled", "out.onnx is written, but not verified"),
        ("write_reports", "out.onnx is written, but perhaps not its reports"),
    ],
)
def test_an_interruption_says_what_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: str, words: str
) -> None:
    (path.parent / "out.onnx").write_text("an older one")
    monkeypatch.setattr(job, where, interrupted)
    outcome = compiled(path, "--passes", "rf8")
    assert outcome.exit_code == 130
    assert outcome.stderr.strip().endswith(words)
    assert "interrupted, " in outcome.stderr


def test_an_interruption_right_after_the_rename_says_that_the_model_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = compile.CompileResult.save

    def late(self: compile.CompileResult, to: Path, **options: Any) -> Any:
        save(self, to, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(compile.CompileResult, "save", late)
    assert "out.onnx is written, but not verified" in compiled(path, "--passes", "rf8").stderr


def test_a_bug_keeps_its_traceback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(job, "run_job", bug)
    assert isinstance(compiled(path, "--passes", "rf8").exception, ZeroDivisionError)


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


def test_a_report_that_fails_hides_neither_the_table_nor_the_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(to: Path, text: str) -> None:
        if to.suffix == ".json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        to.write_text(text)

    monkeypatch.setattr(report, "write_text", full)
    reports = ("--report", path.parent / "r.json", "--report", path.parent / "r.html")
    outcome = compiled(path, "--passes", "rf8", *reports)
    line = one_line_error(outcome, 1)
    assert "No space left" in line
    assert "the model itself is written, to " in line
    assert "measured on 4 random feeds" in outcome.stdout
    assert (path.parent / "out.onnx").exists()
    assert (path.parent / "r.html").exists()


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


@pytest.mark.parametrize(
    ("nodes", "code", "words"),
    [
        ("s = Reshape(h, bad)  y = Add(s, h)", 1, "the original cannot be loaded in ONNX Runtime: "),
        ("y = other.Thing(h)", 0, "ONNX Runtime does not know other:Thing, which the original calls"),
        ("s = Reshape(h, odd)  y = Add(s, h)", 0, "the original cannot be run on random inputs"),
    ],
)
def test_where_nothing_was_compared_the_last_line_says_so(tmp_path: Path, nodes: str, code: int, words: str) -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "other": 1]>
        g (float[n,256] x) => (float[n,512] y) { h = MatMul(x, first) """
    values = {"first": normal(256, 512), "odd": np.int64([977, 512]), "bad": np.int64([-1, -1])}
    onnx.save(model(f"{text} {nodes} }}", **values), tmp_path / "m.onnx")
    outcome = compiled(tmp_path / "m.onnx", "--passes", "rf8")
    assert outcome.exit_code == code, outcome.output
    last = outcome.stderr.strip().splitlines()[-1]
    assert "out.onnx was written and kept, but nothing was compared: " in last
    assert words in last
    assert (tmp_path / "out.onnx").exists()


def test_outputs_with_little_in_common_are_warned_of(path: Path) -> None:
    outcome = compiled(path, "--passes", "low-rank{ratio=8},ternary")
    assert outcome.exit_code == 0
    assert outcome.stderr.startswith("warning: y has little in common with that of the original (SQNR ")
    assert regc("verify", path, path.parent / "out.onnx").stderr == outcome.stderr


def test_the_number_of_random_feeds_is_a_choice(path: Path) -> None:
    assert "measured on 2 random feeds, seed 3" in compiled(path, "--passes", "rf8", "--count", 2, "--seed", 3).stdout


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


# --- standard output -----------------------------------------------------------------------------


def shell(command: str) -> subprocess.CompletedProcess[str]:
    regc = f"{sys.executable} -m regc.compiler.cli"
    return subprocess.run(["sh", "-c", command.format(regc=regc)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", ["passes", "--help", "passes rf8"])
def test_a_full_standard_output_is_told_in_one_line(arguments: str) -> None:
    outcome = shell(f"{{regc}} {arguments} > /dev/full")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: standard output cannot be written to (No space left on device)")
    assert len(outcome.stderr.splitlines()) == 1


def test_a_compile_whose_table_has_no_reader_still_reports(path: Path) -> None:
    folder = path.parent
    outcome = shell(
        f"{{{{ {{regc}} compile {path} -o {folder}/out.onnx --passes rf8 --report {folder}/r.json; "
        f"echo $? > {folder}/code; }}}} | true"
    )
    assert outcome.stderr == ""
    assert (folder / "code").read_text().strip() == "0"
    assert json.loads((folder / "r.json").read_text())["weights_changed"] == 2


def test_a_closed_standard_output_does_no_harm(path: Path) -> None:
    outcome = shell(f"{{regc}} compile {path} -o {path.parent}/out.onnx --passes rf8 >&-")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    onnx.checker.check_model(path.parent / "out.onnx")


# --- the other commands --------------------------------------------------------------------------


def test_inspect_lists_weights_and_answers(path: Path) -> None:
    outcome = regc("inspect", path, "--passes", "low-rank{ratio=2},rf8{exclude=first}")
    assert outcome.exit_code == 0
    assert 'excluded by "first"' in outcome.stdout
    data = json.loads(regc("inspect", path, "--json").stdout)
    assert [weight["name"] for weight in data["weights"]] == ["first", "second"]
    assert set(data["weights"][0]["passes"]) >= {"low-rank", "rf8", "ternary"}


def test_inspect_reads_the_weights_only_when_their_laws_are_asked_for(path: Path) -> None:
    assert "kurtosis" not in regc("inspect", path).stdout
    outcome = regc("inspect", path, "--stats")
    assert outcome.exit_code == 0
    assert "kurtosis" in outcome.stdout
    law = json.loads(regc("inspect", path, "--stats", "--json").stdout)["weights"][0]["law"]
    assert law["nu"] == pytest.approx(2, abs=0.2)  # drawn from a normal law


def test_passes_are_listed_and_explained() -> None:
    listed = regc("passes")
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in ("low-rank", "rf8", "ternary"))
    assert "lloyd | mean | median" in regc("passes", "ternary").stdout
    assert 'did you mean "rf8"' in one_line_error(regc("passes", "rf9"), 2)


def test_verify_compares_two_files(path: Path) -> None:
    compiled(path, "--passes", "rf8", "--no-verify")
    out = path.parent / "out.onnx"
    outcome = regc("verify", path, out, "--count", 2, "--seed", 7, "--threads", 1)
    assert outcome.exit_code == 0, outcome.output
    assert "measured on 2 random feeds, seed 7" in outcome.stdout
    data = json.loads(regc("verify", path, path, "--json").stdout)
    assert data["outputs"][0]["sqnr_db"] == "inf"
    missed = regc("verify", path, out, "--min-sqnr", 90)
    assert missed.exit_code == 4
    assert missed.stderr.startswith("tolerance missed: y: SQNR ")


def test_help_is_quick_to_import_and_complete() -> None:
    slow = {"numpy", "onnx", "onnxruntime", "rich", "torch"}
    code = f"import sys, regc.compiler.cli; print(*sorted({slow} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
    helped = regc("--help").stdout
    assert all(f"\n  {name} " in helped for name in ("compile", "doctor", "inspect", "passes", "verify"))
    assert regc("--version").stdout.startswith("regc ")


@pytest.mark.parametrize("command", ["compile", "inspect", "passes", "verify", "doctor"])
def test_every_option_has_help(command: str) -> None:
    assert [p.name for p in main.commands[command].params if p.param_type_name == "option" and not p.help] == []


# --- calibration ------------------------------------------------------------------------------------


def test_statistics_are_written_and_used(path: Path) -> None:
    np.save(path.parent / "x.npy", normal(50, 256))
    outcome = regc("calibrate", path, path.parent / "x.npy", "--samples", 40, "--calibration-memory", "1.5MiB")
    assert outcome.exit_code == 0, outcome.output
    printed = " ".join(outcome.stdout.split())
    assert "m.stats.npz" in printed
    assert "2 with statistics" in printed
    assert "in 2 runs" in printed
    outcome = compiled(path, "--passes", "rf8", "--calibration", path.with_name("m.stats.npz"))
    assert outcome.exit_code == 0, outcome.output
    assert "output error" in outcome.stdout
    assert "statistics from" in outcome.stdout
    assert "measured on 4 random feeds" in outcome.stdout


def test_samples_that_were_not_drawn_verify(path: Path) -> None:
    np.save(path.parent / "x.npy", normal(50, 256))
    outcome = compiled(
        path, "--passes", "rf8{rounding=nearest}", "--calibration", path.parent / "x.npy", "--samples", 20
    )
    assert outcome.exit_code == 0, outcome.output
    printed = " ".join(outcome.stdout.split())
    assert "measured on 20 of 50 samples from" in printed
    assert "held out" in printed
    assert "not needed" in printed  # this rounding asks for nothing


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
