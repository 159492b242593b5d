import errno
import os
from pathlib import Path
from typing import Any

import pytest

from regc.compiler import compile, job, report

from .invoking import compiled, one_line_error


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
