import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler import compile
from support import model, normal, run

from .invoking import compiled, regc


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


def test_without_the_operator_library_one_line_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_OPS_LIBRARY", "/nowhere/ops.so")
    outcome = compiled(path, "--passes", "rf8")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("error: REGC_OPS_LIBRARY names /nowhere/ops.so, which is not a file: ")
    assert not (path.parent / "out.onnx").exists()


def test_feeds_are_taken_from_a_folder(path: Path) -> None:
    (path.parent / "calib").mkdir()
    np.savez(path.parent / "calib" / "a.npz", x=normal(5, 256))
    outcome = compiled(path, "--passes", "rf8", "--calibration", path.parent / "calib")
    assert outcome.exit_code == 0
    assert "measured on 1 feed from" in outcome.stdout


def test_external_data_on_request(path: Path) -> None:
    assert compiled(path, "--passes", "rf8", "--external-data").exit_code == 0
    assert (path.parent / "out.onnx.data").exists()


def test_selectors_reach_the_passes(path: Path) -> None:
    outcome = compiled(path, "--passes", "rf8", "--include", "fir*", "--no-verify")
    assert outcome.exit_code == 0
    assert 'not selected by "fir*"' in outcome.stdout


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
