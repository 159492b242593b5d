"""Our operators beside what stock ONNX Runtime offers, one layer at a time.

    python -m benchmarks.kernels [--shapes 768x3072,4096x4096] [--rows 1,32] [--threads 1,2] [--json out.json]

All contenders of a shape run in one process, in interleaved rounds, on distinct weights of at least ``--megabytes``
float32 in all, so that float32 weights do not fit the cache. Medians; the ratio is to float32. Every answer is
checked first.
"""

from __future__ import annotations

import gc
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CONTENDERS, Layer, model_of
from benchmarks.timing import medians
from regc import runtime_ops

SHAPES = "384x1536,768x3072,2048x5632,4096x4096"


@dataclass(frozen=True)
class Result:
    """Median seconds of one layer of shape ``inputs x outputs``."""

    shape: str
    rows: int
    threads: int
    contender: str
    seconds: float
    speedup: float
    nbytes: int


@click.command()
@click.option("--shapes", default=SHAPES, show_default=True, help="inputs x outputs, joined by commas")
@click.option("--rows", default="1,8,32,128", show_default=True, help="rows of activations")
@click.option("--threads", default="1,2", show_default=True)
@click.option("--megabytes", default=200, show_default=True, help="float32 weights of a contender, at least")
@click.option("--rounds", default=9, show_default=True)
@click.option("--json", "output", type=click.Path(path_type=Path), help="write the results here too")
def main(*, shapes: str, rows: str, threads: str, megabytes: int, rounds: int, output: Path | None) -> None:
    """Time every contender on every shape."""
    results: list[Result] = []
    for shape in shapes.split(","):
        layers = _layers(shape, megabytes)
        for row_count in _ints(rows):
            for thread_count in _ints(threads):
                results += _compare(shape, layers, row_count, thread_count, rounds)
                Console().print(_table(results[-len(CONTENDERS) :]))
    if output is not None:
        output.write_text(json.dumps([asdict(result) for result in results], indent=1))


def _ints(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _layers(shape: str, megabytes: int) -> dict[str, list[Layer]]:
    inputs, outputs = (int(part) for part in shape.split("x"))
    count = max(2, -(-megabytes * 1000**2 // (4 * inputs * outputs)))
    rng = np.random.default_rng(0)
    made: dict[str, list[Layer]] = {name: [] for name in CONTENDERS}
    for index in range(count):
        weight = rng.standard_normal((outputs, inputs), np.float32)
        for name, build in CONTENDERS.items():
            made[name].append(build(weight, f"x{index}", f"y{index}", f"layer{index}"))
    return made


def _compare(shape: str, layers: dict[str, list[Layer]], rows: int, threads: int, rounds: int) -> list[Result]:
    count = len(layers["float32"])
    rng = np.random.default_rng(1)
    inputs = layers["float32"][0].matrix.shape[1]
    feeds = {f"x{i}": rng.standard_normal((rows, inputs), np.float32) for i in range(count)}
    sessions = [_session(layers[name], rows, threads) for name in CONTENDERS]
    for name, session in zip(CONTENDERS, sessions, strict=True):
        _check(name, layers[name][0], feeds["x0"], session.run(["y0"], feeds)[0])
    times = [seconds / count for seconds in medians(sessions, feeds, rounds=rounds, calls=1)]
    del sessions
    gc.collect()
    return [
        Result(shape, rows, threads, name, time, times[0] / time, layers[name][0].nbytes)
        for name, time in zip(CONTENDERS, times, strict=True)
    ]


def _session(layers: list[Layer], rows: int, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    runtime_ops.register(options)
    proto = model_of(layers, rows)
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _check(name: str, layer: Layer, x: Any, y: Any) -> None:
    """The answer is the product with the contender's own matrix, up to what quantizing the activations loses."""
    expected = x @ layer.matrix.T
    error = float(np.linalg.norm(y - expected) / np.linalg.norm(expected))
    if not error <= layer.tolerance:
        raise SystemExit(f"{name} is wrong: relative error {error:.2g}, allowed {layer.tolerance:.2g}")


def _table(results: list[Result]) -> Table:
    first = results[0]
    table = Table(title=f"{first.shape}, {first.rows} rows, {first.threads} threads")
    for heading in ("", "us a layer", "x float32", "MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for result in results:
        speed = f"{result.speedup:.2f}"
        table.add_row(result.contender, f"{result.seconds * 1e6:.1f}", speed, f"{result.nbytes / 1e6:.2f}")
    return table


if __name__ == "__main__":
    main()
