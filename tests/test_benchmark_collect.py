"""Results of several benchmark runs in one file."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import collect


def result(contender: str, rows: int, speedup: float) -> dict[str, object]:
    return {"shape": "64x32", "rows": rows, "threads": 1, "contender": contender, "speedup": speedup}


def test_a_later_run_adds_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    collect.add(path, [result("float32", 1, 1.0), result("rf8", 1, 2.0)])
    collect.add(path, [result("rf8", 1, 3.0), result("rf8", 8, 4.0)])
    assert json.loads(path.read_text()) == [result("float32", 1, 1.0), result("rf8", 1, 3.0), result("rf8", 8, 4.0)]
