import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from regc.compiler import job

from .invoking import compiled, regc


def test_a_bug_keeps_its_traceback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(job, "run_job", bug)
    assert isinstance(compiled(path, "--passes", "rf8").exception, ZeroDivisionError)


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


def test_help_is_quick_to_import_and_complete() -> None:
    slow = {"numpy", "onnx", "onnxruntime", "rich", "torch"}
    code = f"import sys, regc.compiler.cli; print(*sorted({slow} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
    helped = regc("--help").stdout
    assert all(f"\n  {name} " in helped for name in ("compile", "doctor", "inspect", "passes", "verify"))
    assert regc("--version").stdout.startswith("regc ")
