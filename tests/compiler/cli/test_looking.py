import json
from pathlib import Path

import onnx
import pytest

from support import model

from .invoking import compiled, one_line_error, regc


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


def test_verify_refuses_models_with_other_inputs(path: Path) -> None:
    other = path.parent / "other.onnx"
    onnx.save(model("g (float[n,3] z) => (float[n,3] y) { y = Relu(z) }"), other)
    assert f"{other}: takes z float [n, 3], but {path} takes " in one_line_error(regc("verify", path, other), 2)


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
