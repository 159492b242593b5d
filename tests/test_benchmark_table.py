"""The table of the benchmarks: what is known of a file stays known as long as the file is the same."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from click.testing import CliRunner, Result

from benchmarks.table import main

MODEL = """<ir_version: 8, opset_import: ["": 17]>
g (float[n, 2] x) => (float[n, 2] y) <float[2, 2] w = {%s, 2, 3, 4}> {
    y = MatMul (x, w)
}"""


def score(path: Path) -> dict[str, float]:
    """As a user's: something that the file decides."""
    return {"first": float(onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]).flat[0])}


def save(path: Path, first: int) -> None:
    onnx.save(onnx.parser.parse_model(MODEL % first), path)


def call(home: Path, *more: str) -> Result:
    files = [str(home / "result.json"), str(home / "model.onnx"), "--int8", str(home / "int8.onnx")]
    return CliRunner().invoke(main, [*files, "--file", f"rf8{{a=1}}={home / 'small.onnx'}", *more])


def test_scores_and_timings_of_two_calls_end_in_one_table(tmp_path: Path) -> None:
    save(tmp_path / "model.onnx", 1)
    for name in ("small.onnx", "int8.onnx"):
        save(tmp_path / name, 5)
    assert call(tmp_path, "--score", f"{__name__}:score").exit_code == 0
    assert call(tmp_path, "--sizes", "n=3", "--rounds", "2").exit_code == 0
    rows = json.loads((tmp_path / "result.json").read_text("utf-8"))["rows"]
    assert [(row["name"], row["scores"]) for row in rows] == [
        ("float32", {"first": 1}),
        ("rf8{a=1}", {"first": 5}),
        ("int8 dynamic", {"first": 5}),
        ("int8 dynamic, no SkipLayerNorm", {"first": 5}),
    ]
    assert all(row["seconds"]["n=3"] > 0 for row in rows)
    text = (tmp_path / "result.md").read_text("utf-8")
    assert "| passes | file MB | first | n=3: ms, speed |" in text
    assert str(tmp_path) not in text  # commands name files, not folders


def test_a_file_that_has_changed_has_no_score_yet(tmp_path: Path) -> None:
    for name in ("model.onnx", "small.onnx", "int8.onnx"):
        save(tmp_path / name, 1)
    call(tmp_path, "--score", f"{__name__}:score")
    save(tmp_path / "small.onnx", 2)
    assert call(tmp_path).exit_code == 0
    rows = json.loads((tmp_path / "result.json").read_text("utf-8"))["rows"]
    assert [row["scores"] for row in rows] == [{"first": 1}, {}, {"first": 1}, {"first": 1}]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    save(tmp_path / "model.onnx", 1)
    found = call(tmp_path)
    assert found.exit_code == 2
    assert "there is no file" in found.output
