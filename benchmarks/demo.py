"""``make demo``: train a digit classifier, compress it in several ways, score and time every one, and write a report.

Everything is real and made on the spot in about a minute: the model is trained here, scored on images that it has not
seen, and timed in ONNX Runtime beside the original, one image at a time on one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import digits
from benchmarks.timing import medians
from regc.compiler.job import DONE, Job, run_job, write_reports
from regc.runtime_ops import make_session

FOLDER = Path("demo")
PIPELINES = ("rf8", "ternary", "ternary{group=64}", "low-rank{include=fc1.weight},rf8", "low-rank")


@dataclass(frozen=True)
class Row:
    """One model: what was done to it, its file, its accuracy in percent, and its latency in seconds."""

    name: str
    path: Path
    accuracy: float
    seconds: float


def main() -> None:
    """Run the demonstration in the folder ``demo``."""
    console = Console()
    FOLDER.mkdir(exist_ok=True)
    with console.status("training a 64-2048-2048-10 network on 1,200 handwritten digits"):
        original = digits.make_model(FOLDER / "digits.onnx")
    paths = [original, *(_compress(console, original, pipeline) for pipeline in PIPELINES)]
    rows = _measure(["float32, as trained", *PIPELINES], paths)
    console.print(_table(rows))
    console.print(f"models and reports are in {FOLDER}/; look at {FOLDER}/{_stem(PIPELINES[0])}.html")
    console.print(f"try: regc inspect {original}")


def _compress(console: Console, original: Path, pipeline: str) -> Path:
    with console.status(f"compressing with {pipeline}"):
        path = FOLDER / f"{_stem(pipeline)}.onnx"
        outcome = run_job(Job(original, path, pipeline), lambda progress: None)
        write_reports(outcome.report, [path.with_suffix(".html")])
    if outcome.exit_code != DONE:
        raise RuntimeError(f"{pipeline}: {outcome.words}")
    return path


def _stem(pipeline: str) -> str:
    return "digits-" + "".join(c if c.isalnum() else "-" for c in pipeline).replace("--", "-").strip("-")


def _measure(names: list[str], paths: list[Path]) -> list[Row]:
    data = digits.load_digits()
    sessions = [make_session(path, threads=1) for path in paths]
    scores = [digits.accuracy(s.run(None, {"image": data.test_x})[0], data.test_y) for s in sessions]
    seconds = medians(sessions, {"image": np.ascontiguousarray(data.test_x[:1])})
    return [Row(*row) for row in zip(names, paths, scores, seconds, strict=True)]


def _table(rows: list[Row]) -> Table:
    table = Table(title=f"{len(digits.load_digits().test_y)} unseen images, one at a time, one thread")
    table.add_column("passes", overflow="fold")
    for heading in ("file", "smaller", "accuracy", "latency", "faster"):
        table.add_column(heading, justify="right", no_wrap=True)
    first = rows[0]
    for row in rows:
        size = row.path.stat().st_size
        table.add_row(
            row.name,
            f"{size / 1e6:.2f} MB",
            f"{first.path.stat().st_size / size:.1f}x",
            f"{row.accuracy:.1f} %",
            f"{row.seconds * 1e6:.0f} us",
            f"{first.seconds / row.seconds:.1f}x",
        )
    return table


if __name__ == "__main__":
    main()
