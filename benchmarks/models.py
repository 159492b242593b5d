"""Whole models: the original, the same compressed by some passes, and what ONNX Runtime's dynamic int8 makes of it.

    python -m benchmarks.models [--model FILE] [--passes TEXT]... [--sizes batch=1,seq=8]... [--feeds FILE.npz]...
        [--calibration DATA] [--mask INPUT]

With calibration inputs the passes see them, and the table says how near the outputs are to the original's on samples
that were not drawn. What low rank and block sparsity cost and bring, on a model and inputs of your own:

    python -m benchmarks.models --model model.onnx --calibration inputs.npz --samples 200 --sizes batch=1,seq=32
        --passes "low-rank{ratio=1.5}" --passes "low-rank{ratio=1.5},rf8" --passes "group-sparse,rf8"

Latency is taken in one process, in interleaved rounds; load time and memory in a process for each model. Without
``--model`` a transformer encoder with random weights is made (:mod:`benchmarks.encoder`).
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.encoder import make_encoder
from benchmarks.memory import session_of
from benchmarks.timing import Timing, calls_for, interleaved
from regc.compiler import Calibration, compile_model
from regc.compiler.model import load
from regc.compiler.verify import verify_compiled
from regc.compiler.verify.guess import index_bounds

Feed = dict[str, npt.NDArray[Any]]
INT8 = "int8 dynamic"
PASSES = ("ternary{include=op:MatMul}", "rf8{include=op:MatMul}")
SIZES = ("batch=1,seq=8", "batch=1,seq=32", "batch=1,seq=128", "batch=16,seq=32")
ROUND_SECONDS = 0.03


def file_bytes(path: Path) -> int:
    """Bytes of a model file and of its external data, whose name begins with that of the file."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


@dataclass(frozen=True)
class Contender:
    """A model file to measure, and the graph optimizers of ONNX Runtime that it is better off without.

    ``fidelity`` is the least cosine of an output to the original's on held-out inputs, None where there are none.
    """

    name: str
    path: Path
    left_out: tuple[str, ...] = ()
    fidelity: float | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the file and of its external data."""
        return file_bytes(self.path)


@dataclass(frozen=True)
class Cost:
    """Of one model: file size, seconds to load, bytes in memory after loading and with the last feeds, fidelity."""

    contender: str
    fidelity: float | None
    file: int
    load_seconds: float
    loaded: int
    in_use: int


@dataclass(frozen=True)
class Latency:
    """Of one model on one feed: seconds of a call, calls a second."""

    feed: str
    threads: int
    contender: str
    timing: Timing
    calls_per_second: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "calls_per_second", 1 / self.timing.median)


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="default: a model made here"
)
@click.option("--passes", multiple=True, default=PASSES, show_default=True, help="may be given several times")
@click.option("--sizes", multiple=True, default=SIZES, show_default=True, help="of named dimensions, for random feeds")
@click.option("--feeds", multiple=True, type=click.Path(exists=True, path_type=Path), help=".npz, instead of --sizes")
@click.option("--calibration", help="inputs for the passes to see, as regc compile takes them")
@click.option("--samples", type=int, help="of the calibration inputs, to fit on; as many of the others judge")
@click.option("--mask", help="input that is 0 for padding")
@click.option("--threads", default="1,2", show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--json", "output", type=click.Path(path_type=Path), help="write the results here too")
def main(
    *,
    model: Path | None,
    passes: Sequence[str],
    sizes: Sequence[str],
    feeds: Sequence[Path],
    calibration: str | None,
    samples: int | None,
    mask: str | None,
    threads: str,
    rounds: int,
    output: Path | None,
) -> None:
    """Measure a model and what can be made of it."""
    console = Console()
    given_inputs = Calibration(calibration, samples=samples, mask=mask) if calibration is not None else None
    with tempfile.TemporaryDirectory() as home:
        contenders = list(_contenders(model, passes, Path(home), given_inputs))
        given = {str(path): _from_file(path) for path in feeds}
        made = given or {text: random_feed(contenders[0].path, text) for text in sizes}
        costs = [_cost(contender, list(made.values())[-1], Path(home)) for contender in contenders]
        console.print(_cost_table(costs))
        latencies: list[Latency] = []
        for count in (int(part) for part in threads.split(",")):
            for name, feed in made.items():
                latencies += measure(contenders, name, feed, count, rounds)
            console.print(_latency_table([latency for latency in latencies if latency.threads == count]))
    if output is not None:
        results = {"costs": [asdict(cost) for cost in costs], "latencies": [asdict(entry) for entry in latencies]}
        output.write_text(json.dumps(results, indent=1), encoding="utf-8")


def _contenders(
    model: Path | None, passes: Sequence[str], home: Path, calibration: Calibration | None
) -> Iterator[Contender]:
    original = model or make_encoder(home / "encoder.onnx")
    yield Contender("original", original)
    int8 = dynamic_int8(original, home / "int8.onnx")
    near = _fidelity(original, int8, calibration)
    yield Contender(INT8, int8, fidelity=near)
    # Its fusion of residual sum and LayerNormalization costs int8 models about a tenth of their speed.
    yield Contender(f"{INT8}, no SkipLayerNorm", int8, ("SkipLayerNormFusion",), near)
    for index, text in enumerate(passes):
        result = compile_model(original, text, calibration=calibration)
        if not result.changed:
            raise click.UsageError(f"{text} changes nothing in {original}")
        path = home / f"compressed{index}.onnx"
        result.save(path)
        yield Contender(text, path, fidelity=_fidelity(original, path, calibration))


def _fidelity(original: Path, compressed: Path, calibration: Calibration | None) -> float | None:
    if calibration is None:
        return None
    check = verify_compiled(original, compressed, calibration.held_out(), threads=1)
    return min((output.cosine for output in check.outputs), default=None)


def dynamic_int8(source: Path, target: Path) -> Path:
    """The model as ONNX Runtime quantizes it without calibration, with a scale per output."""
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415 - imports what nothing else here needs

    logging.getLogger().setLevel(logging.ERROR)
    quantize_dynamic(str(source), str(target), per_channel=True)
    return target


def _from_file(path: Path) -> Feed:
    with np.load(path) as archive:
        return dict(archive)


def random_feed(path: Path, sizes: str) -> Feed:
    """Random values for the inputs of a model: ones for masks, indices within the tables that they select from."""
    known = dict(part.split("=") for part in sizes.split(","))
    bounds, rng = index_bounds(load(path).graph), np.random.default_rng(0)
    feed: Feed = {}
    for value in session_of(path, 1).get_inputs():
        shape = [int(known.get(size, 1)) if isinstance(size, str) else size or 1 for size in value.shape]
        if "int" in value.type:
            dtype = value.type.removeprefix("tensor(").removesuffix(")")
            whole = np.ones(shape) if "mask" in value.name else rng.integers(0, bounds.get(value.name, 2), shape)
            feed[value.name] = whole.astype(dtype)
        else:
            feed[value.name] = rng.standard_normal(shape).astype(np.float32)
    return feed


def _cost(contender: Contender, feed: Feed, home: Path) -> Cost:
    np.savez(home / "feeds.npz", **feed)  # type: ignore[arg-type]
    command = [sys.executable, "-m", "benchmarks.memory", str(contender.path), str(home / "feeds.npz"), "1"]
    done = subprocess.run([*command, *contender.left_out], check=True, capture_output=True, text=True)
    return Cost(contender.name, contender.fidelity, contender.nbytes, **json.loads(done.stdout))


def measure(contenders: Sequence[Contender], name: str, feed: Feed, threads: int, rounds: int) -> list[Latency]:
    """Seconds of one call of each on one feed, in one process and interleaved rounds."""
    sessions = [session_of(contender.path, threads, contender.left_out) for contender in contenders]
    runs = [lambda session=session: session.run(None, feed) for session in sessions]
    calls = [calls_for(run, ROUND_SECONDS) for run in runs]
    timings = interleaved(runs, rounds=rounds, calls=calls)
    return [Latency(name, threads, c.name, timing) for c, timing in zip(contenders, timings, strict=True)]


def _cost_table(costs: Sequence[Cost]) -> Table:
    table = Table(title="a process of its own for each, 1 thread")
    for heading in ("", "file MB", "load ms", "MB after load", "MB in use", "cosine"):
        table.add_column(heading, justify="right" if heading else "left")
    for cost in costs:
        numbers = (cost.file / 1e6, cost.load_seconds * 1e3, cost.loaded / 1e6, cost.in_use / 1e6)
        near = "" if cost.fidelity is None else f"{cost.fidelity:.4f}"
        table.add_row(cost.contender, *(f"{number:.1f}" for number in numbers), near)
    return table


def _latency_table(latencies: Sequence[Latency]) -> Table:
    feeds, contenders = (dict.fromkeys(getattr(entry, key) for entry in latencies) for key in ("feed", "contender"))
    found = {(entry.contender, entry.feed): entry.timing for entry in latencies}
    table = Table(title=f"{latencies[0].threads} threads: ms (spread), times the speed of {INT8}")
    table.add_column("")
    for feed in feeds:
        table.add_column(feed, justify="right")
    for contender in contenders:
        cells = []
        for feed in feeds:
            timing, peer = found[contender, feed], found[INT8, feed]
            cells.append(f"{timing.median * 1e3:.2f} ({timing.spread:.0%})  {peer.median / timing.median:.2f}x")
        table.add_row(contender, *cells)
    return table


if __name__ == "__main__":
    main()
