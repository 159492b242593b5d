"""Labels beside the teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from regc.compiler import Recover, UsageError, compile_model
from regc.compiler.cli.compiling import compile_command
from regc.compiler.recovery.labels import weight_of
from support import Array, model, normal, run

TEXT = """g (float[n, 32] x) => (float[n, 4] logits) {
    a = MatMul (x, w1)
    b = Relu (a)
    logits = MatMul (b, w2)
}"""
TRUE: dict[str, Array] = {"w1": normal(32, 64, seed=1), "w2": normal(64, 4, seed=2)}
INPUTS = normal(1000, 32, seed=3)
CLASSES = run(model(TEXT, **TRUE), {"x": INPUTS})[0].argmax(1)
FEEDS = [{"x": INPUTS[i : i + 50]} for i in range(0, 300, 50)]


def test_the_weight_is_the_best_between_two_predictions() -> None:
    labels = torch.from_numpy(CLASSES[:50])
    first, second = (torch.from_numpy(normal(50, 4, seed=seed)).softmax(-1) for seed in (5, 6))
    hard = torch.nn.functional.one_hot(labels, 4)

    def error(a: float) -> float:
        return float((a * first + (1 - a) * second - hard).square().sum())

    best = weight_of(labels, first, second)
    assert 0 < best < 1
    assert error(best) < min(error(best - 0.01), error(best + 0.01))
    assert weight_of(labels, second, second) == 0
    assert weight_of(labels, hard.float(), second) == 1


def test_labels_make_up_for_a_teacher_that_is_wrong(tmp_path: Path) -> None:
    proto = model(TEXT, w1=TRUE["w1"] + 3 * normal(32, 64, seed=7), w2=TRUE["w2"])
    np.save(tmp_path / "labels.npy", CLASSES[:300])
    scores = []
    for path in (None, tmp_path / "labels.npy"):
        options = Recover(steps=120, rate=0.02, labels=path)
        result = compile_model(proto, "ternary{group=16}", calibration=FEEDS, recover=options)
        found = run(result.model.to_proto(), {"x": INPUTS[300:]})[0].argmax(1)
        scores.append((found == CLASSES[300:]).mean())
    assert result.recovered is not None and result.recovered.steps == 90
    assert float(result.recovered.ended.split("labels count ")[1].rstrip("%")) > 50
    assert scores[1] > scores[0] + 0.1


@pytest.mark.parametrize(
    ("labels", "match"),
    [(CLASSES[:299], r"integers \[300\]"), (CLASSES[:300] / 2, "not float64"), (CLASSES[:300] + 9, "scores")],
)
def test_labels_that_cannot_be_meant(labels: Array, match: str, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", labels)
    options = Recover(steps=2, labels=tmp_path / "labels.npy")
    with pytest.raises(UsageError, match=match):
        compile_model(model(TEXT, **TRUE), "ternary{group=16}", calibration=FEEDS, recover=options)


def test_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "labels.npy").write_text("no")
    (tmp_path / "m.onnx").write_bytes(model(TEXT, **TRUE).SerializeToString())
    np.savez(tmp_path / "x.npz", x=INPUTS[:300])
    given = [str(tmp_path / "m.onnx"), "--passes", "ternary{group=16}", "--calibration", str(tmp_path / "x.npz")]
    given += ["--recover-labels", str(tmp_path / "labels.npy")]
    for more, match in (([], "does nothing without --recover"), (["--recover", "2steps"], "cannot be read")):
        done = CliRunner().invoke(compile_command, [*given, *more])
        assert isinstance(done.exception, UsageError) and match in str(done.exception)
