"""Results of several benchmark runs in one file."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import collect
from benchmarks.speeds import summarize


def result(contender: str, rows: int, speedup: float) -> dict[str, object]:
    return {"shape": "64x32", "rows": rows, "threads": 1, "contender": contender, "speedup": speedup}


def test_a_later_run_adds_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    collect.add(path, [result("float32", 1, 1.0), result("rf8", 1, 2.0)])
    collect.add(path, [result("rf8", 1, 3.0), result("rf8", 8, 4.0)])
    assert json.loads(path.read_text()) == [result("float32", 1, 1.0), result("rf8", 1, 3.0), result("rf8", 8, 4.0)]


def test_speeds_over_another_contender_are_those_over_the_float32_of_each_run() -> None:
    found = [result("float32", 1, 1.0), result("int8", 1, 4.0), result("rf8", 1, 3.0), result("rf8", 8, 4.0)]
    speeds = summarize([entry | {"ours": False} for entry in found], "int8")
    assert {(s.contender, s.rows): s.mean for s in speeds} == {("float32", 1): 0.25, ("int8", 1): 1, ("rf8", 1): 0.75}
