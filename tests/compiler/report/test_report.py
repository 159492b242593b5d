import dataclasses
import errno
import json
import math
import os
from pathlib import Path

import pytest

from regc.compiler import RegcError, UsageError, compile_model
from regc.compiler.report import check_report_path
from regc.passes import RF8

from .models import two
from .reports import CHECK, SMALL, changed, left, report, shown, words


def test_json_has_every_figure_and_is_strict() -> None:
    check = dataclasses.replace(
        CHECK, outputs=(dataclasses.replace(CHECK.outputs[0], sqnr_db=math.inf), CHECK.outputs[1])
    )
    printed = report(changed("a", aliases=("a2",)), left("b"), verification=check).to_json()
    data = json.loads(printed, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert data["file_bytes"] == {"before": 56_500_000, "after": 6_700_000}
    assert data["weights_changed"] == 1
    first, second = data["weights"]
    assert (first["name"], first["aliases"], first["after"], first["error"]) == (
        "a",
        ["a2"],
        "ternary/64",
        0.25,
    )
    assert first["decisions"][0]["pass"] == "ternary"
    assert second["reason"] == f"low-rank, ternary: {SMALL}"
    assert data["refusals"] == {f"low-rank, ternary: {SMALL}": ["b"]}
    outputs = data["verification"]["outputs"]
    assert (outputs[0]["sqnr_db"], outputs[1]["sqnr_db"]) == ("inf", None)


def test_reports_are_written_by_their_suffix(tmp_path: Path) -> None:
    whole = report(changed("a"))
    whole.write(tmp_path / "r.json")
    whole.write(tmp_path / "r.html")
    assert json.loads((tmp_path / "r.json").read_text())["model"] == "model.onnx"
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    with pytest.raises(UsageError, match=r"a report is \.json or \.html"):
        whole.write(tmp_path / "r.txt")
    with pytest.raises(UsageError, match="does not exist; create it first"):
        check_report_path(tmp_path / "none" / "r.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        whole.write(tmp_path / "folder.json")


def test_a_report_appears_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = report(changed("a"))
    (tmp_path / "r.json").write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegcError, match=r"cannot write the report to .*No space left"):
        whole.write(tmp_path / "r.json")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_the_report_of_a_result_is_its_table(tmp_path: Path) -> None:
    path = two(tmp_path / "m.onnx")
    result = compile_model(path, [RF8()])
    printed = str(result.report)
    assert result.report.nbytes_before == path.stat().st_size
    assert "big_weight" in printed
    assert "1 of 2 changed" in words(printed) or "2 of 2 changed" in words(printed)
    assert str(path) in printed
    assert all(line == line.rstrip() for line in printed.splitlines())


def test_a_model_that_regc_made_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    compile_model(two(tmp_path / "m.onnx"), [RF8()], include=["big*"]).save(path)
    assert compile_model(path, [RF8(exclude=("onnx_small",))]).report.earlier == "rf8"
    whole = dataclasses.replace(report(), earlier="rf8")
    assert "weights already compressed by regc (rf8)" in words(shown(whole))
    assert compile_model(tmp_path / "m.onnx", [RF8()]).report.earlier is None
