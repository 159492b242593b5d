"""Results of several runs of `python -m benchmarks.kernels` in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SETTING = ("shape", "rows", "threads", "contender")


def add(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Put results into a file, in place of those of the same contenders in the same setting."""
    known = json.loads(path.read_text()) if path.exists() else []
    by_setting = {tuple(result[key] for key in SETTING): result for result in [*known, *results]}
    path.write_text(json.dumps(list(by_setting.values()), indent=1))
