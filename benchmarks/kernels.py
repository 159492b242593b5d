"""Our operators beside what stock ONNX Runtime offers, one layer at a time.

    python -m benchmarks.kernels [--layers standard] [--rows 1,32] [--threads 1,2] [--only "ternary*"] [--json out.json]

All contenders of a shape run in one process, in interleaved rounds and changing order, with the same session options.
Each has as many copies of the layer as it takes to exceed the last-level cache twice with its own weights (with many
rows, where memory matters less, fewer: that over an eighth of the rows). Every answer is checked first. Medians of the
time of one layer; ``+-`` is half the middle half of the rounds. The last column says how much of the machine's limit is
reached: of reading memory or of multiplying, whichever is closer. `python -m benchmarks.summary` turns the JSON into
the table and the picture of the README. Results are added to the file as they are found, so that one table can be
measured in several short runs: a contender is always compared with the float32 of its own run.
"""

from __future__ import annotations

import fnmatch
import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from benchmarks import collect, limits
from benchmarks.contenders import CONTENDERS, Constants, Contender, Float32, Layer
from benchmarks.stack import copies, model_of
from benchmarks.timing import calls_for, interleaved
from regc import runtime_ops

SHAPES = Path(__file__).with_name("layers")
CACHES = 2
"""How often the weights of a contender exceed the last-level cache: of those that fit once and a quarter, ternary
4096x4096 was read at 101 % of the speed of memory."""
MOST_COPIES = 2000
_OR = {"float16": "float32"}
"""What the kernels use where the CPU does not have an arithmetic."""
VISIT = 0.03
"""Seconds that a contender runs in a round, at least one call."""


@dataclass(frozen=True)
class Result:
    """Seconds of one layer of ``inputs x outputs``, the speed over float32 and the share of the machine's limit.

    ``limit`` is a key of :data:`benchmarks.limits.Limits`.
    """

    shape: str
    rows: int
    threads: int
    contender: str
    ours: bool
    seconds: float
    spread: float
    speedup: float
    nbytes: int
    limit: str
    share: float


@dataclass(frozen=True)
class Setting:
    """How a comparison is run; ``nbytes`` of weights exceed the cache."""

    rows: int
    threads: int
    rounds: int
    nbytes: int


@click.command()
@click.option("--layers", default="standard", show_default=True, help="A file of benchmarks/layers, or a path.")
@click.option("--shapes", help="Instead of a file: inputs x outputs, joined by commas.")
@click.option("--rows", default="1,8,32,128", show_default=True, help="Rows of activations.")
@click.option("--threads", default="1,2", show_default=True)
@click.option("--only", default="*", show_default=True, help="Contenders beside float32: globs, joined by commas.")
@click.option("--megabytes", type=int, help="Weights of a contender.  [default: the last-level cache twice]")
@click.option("--rounds", default=9, show_default=True)
@click.option("--json", "output", type=click.Path(path_type=Path), help="Add the results to this file, too.")
def main(
    *,
    layers: str,
    shapes: str | None,
    rows: str,
    threads: str,
    only: str,
    megabytes: int | None,
    rounds: int,
    output: Path | None,
) -> None:
    """Time every contender on every shape."""
    nbytes = megabytes << 20 if megabytes is not None else limits.cache_bytes() * CACHES
    chosen = _chosen(only.split(","))
    for inputs, outputs in _shapes(shapes) if shapes else _read(layers):
        built = _build(chosen, inputs, outputs)
        for row_count in _ints(rows):
            for thread_count in _ints(threads):
                compared = _compare(chosen, built, Setting(row_count, thread_count, rounds, nbytes))
                Console().print(_table(compared))
                if output is not None:
                    collect.add(output, [asdict(result) for result in compared])


def _chosen(globs: Sequence[str]) -> list[Contender]:
    first, *others = CONTENDERS
    found = [c for c in others if any(fnmatch.fnmatch(c.name, glob.strip()) for glob in globs)]
    if not found:
        names = ", ".join(c.name for c in others)
        raise click.UsageError(f"--only {','.join(globs)} matches none of: {names}")
    return [first, *found]


def _ints(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _shapes(text: str) -> list[tuple[int, int]]:
    pairs = [_ints(part.replace("x", ",")) for part in text.split(",")]
    return [(inputs, outputs) for inputs, outputs in pairs]


def _read(name: str) -> list[tuple[int, int]]:
    path = SHAPES / f"{name}.txt" if (SHAPES / f"{name}.txt").exists() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHAPES.glob("*.txt")))
        raise click.UsageError(f"--layers {name} is neither a file nor one of: {known}")
    lines = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [(int(inputs), int(outputs)) for inputs, outputs in lines]


def _build(chosen: Sequence[Contender], inputs: int, outputs: int) -> list[Layer]:
    weight = np.random.default_rng(0).standard_normal((outputs, inputs), np.float32)
    return [contender.build(weight) for contender in chosen]


def _compare(chosen: Sequence[Contender], layers: Sequence[Layer], setting: Setting) -> list[Result]:
    outputs, inputs = layers[0].constants["w"].shape[::-1]
    stacks = [_Stack(c.name, layer, inputs, setting) for c, layer in zip(chosen, layers, strict=True)]
    calls = [calls_for(stack.run, VISIT) for stack in stacks]
    timings = interleaved([stack.run for stack in stacks], rounds=setting.rounds, calls=calls)
    counts = [stack.count for stack in stacks]
    del stacks
    gc.collect()
    base = timings[0].median / counts[0]
    results = []
    for contender, layer, timing, count in zip(chosen, layers, timings, counts, strict=True):
        seconds = timing.median / count
        limit, share = _nearest_limit(contender, layer, setting, seconds)
        results.append(
            Result(
                shape=f"{inputs}x{outputs}",
                rows=setting.rows,
                threads=setting.threads,
                contender=contender.name,
                ours=contender.ours,
                seconds=seconds,
                spread=timing.spread,
                speedup=base / seconds,
                nbytes=layer.nbytes,
                limit=limit,
                share=share,
            )
        )
    return results


def _nearest_limit(contender: Contender, layer: Layer, setting: Setting, seconds: float) -> tuple[str, float]:
    """The limit of the machine that a layer comes closest to, and the share of it that is reached."""
    found = limits.measure(setting.threads, max(64, setting.nbytes >> 20))
    arithmetic = contender.arithmetic if contender.arithmetic in found else _OR.get(contender.arithmetic, "")
    needed = {"read": layer.nbytes * layer.read, arithmetic: layer.work * setting.rows}
    shares = {key: amount / found[key] / seconds for key, amount in needed.items() if key in found}
    return max(shares.items(), key=lambda item: item[1], default=("", 0.0))


class _Stack:
    """A session with copies of a layer, whose answer is checked, and ``run`` as what is timed."""

    def __init__(self, name: str, layer: Layer, inputs: int, setting: Setting) -> None:
        wanted = setting.nbytes / max(1, setting.rows / 8) / (layer.nbytes * layer.read)
        self.count = min(MOST_COPIES, max(2, round(wanted)))
        proto, weights = model_of([(layer, constants) for constants in copies(layer, self.count)], setting.rows, inputs)
        self.weights = weights  # the session's, too
        session = _session(proto, weights, setting.threads)
        rng = np.random.default_rng(1)
        binding = session.io_binding()
        for i in range(self.count):
            x = rng.standard_normal((setting.rows, inputs), np.float32)
            if i == 0:
                _check(name, layer, x, session, inputs)
            binding.bind_ortvalue_input(f"x{i}", ort.OrtValue.ortvalue_from_numpy(x))
            binding.bind_output(f"y{i}")
        self.run: Callable[[], Any] = lambda: session.run_with_iobinding(binding)


def _session(proto: onnx.ModelProto, weights: Constants, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    runtime_ops.register(options)
    options.add_external_initializers(list(weights), [ort.OrtValue.ortvalue_from_numpy(w) for w in weights.values()])
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _check(name: str, layer: Layer, x: Float32, session: ort.InferenceSession, inputs: int) -> None:
    """The answer is the layer's, up to what quantizing the activations loses."""
    others = {node.name: np.zeros((len(x), inputs), np.float32) for node in session.get_inputs()}
    y = session.run(["y0"], others | {"x0": x})[0]
    expected = layer.answer(x)
    error = float(np.linalg.norm(y - expected) / np.linalg.norm(expected))
    if not error <= layer.tolerance:
        raise SystemExit(f"{name} is wrong: relative error {error:.2g}, allowed {layer.tolerance:.2g}")


def _table(results: Sequence[Result]) -> Table:
    first = results[0]
    table = Table(title=f"{first.shape}, {first.rows} rows, {first.threads} threads")
    for heading in ("", "us a layer", "+-", "x float32", "MB", "of the limit"):
        table.add_column(heading, justify="right" if heading else "left")
    for r in results:
        name = f"[bold]{r.contender}[/bold]" if r.ours else r.contender
        share = f"{r.share:.0%} {r.limit}" if r.share else "unknown"
        row = (name, f"{r.seconds * 1e6:.1f}", f"{r.spread:.0%}", f"{r.speedup:.2f}", f"{r.nbytes / 1e6:.2f}", share)
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()
