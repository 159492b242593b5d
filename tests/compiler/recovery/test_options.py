"""What is asked of recovery, in Python and on the command line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from recovering import FEEDS, RESIDUAL, STEPS, WEIGHTS, compiled

from regc.compiler import Calibration, Recover, RegcError, UsageError, compile_model
from regc.compiler.cli.compiling import compile_command
from support import model


def test_without_inputs_or_without_pytorch_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    with pytest.raises(UsageError, match="give some by --calibration"):
        compile_model(proto, "ternary", recover=STEPS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RegcError, match=r'pip install "regc\[recover\]"'):
        compiled(proto, recover=STEPS)


def test_pytorch_is_not_imported_unless_asked_for() -> None:
    code = (
        "import sys, regc.compiler.cli.compiling, regc.compiler.job, regc.compiler as c, regc.passes as p\n"
        "c.Recover, c.compile_model, p.Ternary, p.RF8, p.GroupSparse, p.LowRank\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3min", Recover(minutes=3)),
        ("90s", Recover(minutes=1.5)),
        ("0.5h", Recover(minutes=30)),
        ("400steps", Recover(steps=400)),
        ("400 steps {mix=0.3, batch=8,outputs=logits}", Recover(steps=400, mix=0.3, batch=8, outputs="logits")),
        ("3min{held-out=0.2}", Recover(minutes=3, held_out=0.2)),
    ],
)
def test_budgets_as_text(text: str, expected: Recover) -> None:
    assert Recover.parse(text) == expected


@pytest.mark.parametrize("text", ["", "3", "min", "-3min", "0steps", "3 fortnights", "3min{mix=many}", "3min{steps=3}"])
def test_budgets_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="recover"):
        Recover.parse(text)


@pytest.mark.parametrize("options", [{}, {"minutes": 1, "steps": 1}, {"steps": 9, "rate": 0.0}, {"minutes": 1e999}])
def test_options_that_cannot_be_meant(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="recovery"):
        Recover(**options)


@pytest.mark.parametrize(
    ("passes", "options", "words"),
    [
        ("low-rank{ratio=2,force=true}", {"chain": 0.5}, "chain and even are for ternary and RF8 weights"),
        ("low-rank{ratio=2,force=true}", {"even": 0.1}, "chain and even are for ternary and RF8 weights"),
        ("ternary", {"on_policy": 0.5}, "on_policy is for language models"),
    ],
)
def test_an_option_for_what_is_not_there_is_an_error(passes: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compiled(model(RESIDUAL, **WEIGHTS), passes, recover=Recover(steps=4, **options))


def test_mixing_what_is_neither_words_nor_floats_is_an_error() -> None:
    text = RESIDUAL.replace("(float[n, 48] x)", "(double[n, 48] wide)").replace(
        "a = MatMul", "x = Cast <to = 1> (wide) a = MatMul"
    )
    feeds = [{"wide": feed["x"].astype(np.float64)} for feed in FEEDS]
    with pytest.raises(UsageError, match="mix is for inputs of words, or of floats"):
        compile_model(model(text, **WEIGHTS), "ternary", calibration=feeds, recover=Recover(steps=4, mix=0.5))


def test_labels_exclude_changed_inputs() -> None:
    with pytest.raises(UsageError, match="leave out mix and on_policy"):
        Recover(steps=4, mix=0.5, labels=Path("labels.npy"))


def test_on_the_command_line(tmp_path: Path) -> None:
    onnx.save(model(RESIDUAL, **WEIGHTS), tmp_path / "m.onnx")
    np.savez(tmp_path / "inputs.npz", x=np.concatenate([feed["x"] for feed in FEEDS]))
    arguments = [
        str(tmp_path / "m.onnx"),
        "--passes",
        "ternary{group=16,method=lloyd}",
        "-o",
        str(tmp_path / "small.onnx"),
    ]
    arguments += ["--calibration", str(tmp_path / "inputs.npz")]
    done = CliRunner().invoke(compile_command, [*arguments, "--recover", "16steps"])
    assert done.exit_code == 0, done.output
    assert "on held-out samples" in done.output and (tmp_path / "small.onnx").exists()
    alone = CliRunner().invoke(compile_command, [*arguments, "--recover-checkpoint", "c.npz"])
    assert isinstance(alone.exception, UsageError)


def test_calibration_options_are_followed() -> None:
    calibration = Calibration(FEEDS, samples=2, threads=1)
    result = compile_model(
        model(RESIDUAL, **WEIGHTS), "ternary", calibration=calibration, recover=Recover(minutes=0.02)
    )
    assert result.recovered is not None and 0 < result.recovered.seconds < 30
