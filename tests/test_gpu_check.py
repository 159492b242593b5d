"""The check of the CUDA kernels, where there is no GPU: its processes, what follows from what, what it would time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu_check import Check, compare, on_gpu
from benchmarks.gpu_process import FAILED, PASSED, TIMED_OUT, Outcome, run_step


def run(code: str, limit: float = 60) -> Outcome:
    return run_step("a step", [sys.executable, "-u", "-c", code], limit, Path.cwd())


def test_a_step_tells_what_became_of_it_and_what_it_printed_last(capfd: pytest.CaptureFixture[str]) -> None:
    outcome = run("for i in range(100): print(i)")
    assert (outcome.status, outcome.why, outcome.output[-1], len(outcome.output)) == (PASSED, "", "99", 30)
    assert capfd.readouterr().out.startswith("0\n1\n")
    assert run("print('wrong'); raise SystemExit(1)").text().endswith("exit code 1\n           | wrong")


def test_a_fault_and_a_hang_end_their_step_alone() -> None:
    fault = run("print('found', flush=True); import os; os.abort()")
    assert (fault.status, fault.why, fault.output) == (FAILED, "ended by SIGABRT", ["found"])
    hang = run("print('found', flush=True); import time; time.sleep(60)", limit=2)
    assert (hang.status, hang.why, hang.output) == (TIMED_OUT, "killed after 2 s", ["found"])
    assert run("print('next')").status == PASSED


def test_what_a_step_says_is_in_the_file_and_in_the_exit_code(tmp_path: Path) -> None:
    check = Check(tmp_path / "found.json")
    check.skip("another", "it needs a GPU")
    assert check.summary() == 0
    assert not check.step("no such step", "nonsense", limit=60)
    steps = json.loads(check.path.read_text(encoding="utf-8"))["steps"]
    assert [step["status"] for step in steps] == ["skipped", "failed"]
    assert "KeyError: 'nonsense'" in steps[1]["output"][-1]
    assert check.summary() == 1


class Recorded(Check):
    """Runs nothing: what is named fails."""

    def __init__(self, path: Path, *failing: str) -> None:
        super().__init__(path)
        self.failing, self.ran = failing, dict[str, tuple[str, ...]]()

    def step(self, name: str, step: str, *arguments: str, limit: float) -> bool:
        self.ran[name] = arguments
        return name not in self.failing


def test_only_formats_that_are_right_are_timed(tmp_path: Path) -> None:
    check = Recorded(tmp_path / "found.json", "products rf8")
    on_gpu(check, ["ternary", "rf8", "sparse"], quick=False, models=[["decoder"]])
    assert check.ran["times beside cuBLAS, main"] == ("main", "ternary,sparse")
    assert "lookups" in check.ran and "operators in ONNX Runtime" in check.outcomes[-1].name


def test_what_was_not_built_is_not_run(tmp_path: Path) -> None:
    check = Recorded(tmp_path / "found.json", "building the kernels")
    assert compare(check, "gpu", ["rf8"]) == []
    assert list(check.ran) == ["building the kernels"]
    assert [(outcome.status, outcome.why) for outcome in check.outcomes] == [("skipped", "they were not built")]


def test_what_is_timed_beside_matmulnbits_multiplies_by_its_weights_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu_nbits

    assert gpu_nbits.check_nbits("CPUExecutionProvider") == []
    monkeypatch.setattr(gpu_nbits, "nbits_matrix", lambda weight: np.zeros(weight.shape, np.float32))
    mistakes = gpu_nbits.check_nbits("CPUExecutionProvider")
    assert len(mistakes) == 10 and all(mistake.startswith("nbits in ONNX Runtime") for mistake in mistakes)
