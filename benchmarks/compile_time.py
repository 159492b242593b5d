"""How long compiling takes and how much memory, and how both grow with the layers of a model.

    python -m benchmarks.compile_time [--model MODEL --calibration DATA] [--mask INPUT] [--threads 2] [--no-ternary]

Without ``--model`` the encoder of :mod:`benchmarks.encoder` is made with 6, 12 and 24 layers; its inputs are random
words. Each run is ``regc compile --no-verify`` in a process of its own: ternary with error feedback, which runs the
model on calibration inputs first, and RF8 without any. Beside them stands what it takes to copy the file to disk
(with fsync, as compiling does) and what starting Python and importing takes, which is in every run.

How long a graph takes depends on its nodes, and how long weights take on their bytes: so RF8 is also measured on
models of few nodes, of eight and of sixteen large weights. What twice the layers or weights take longer tells which
disk takes as long to read the model and to write the result: slower ones limit RF8.

Measured on two cores that others used, too (the start alone took 0.67 s, 0.32 s otherwise), and a disk that copies
1 GB/s: 24 layers take 1.24 s beyond the start and sixteen weights 0.72 s, copies 0.18 and 0.32 s. So this disk does not
limit RF8. Large weights go through at 0.57 GB/s, which takes a disk of 0.72 GB/s: a SATA SSD limits RF8, and network
disks do. Of many small weights in a graph of a thousand nodes it is 0.24 GB/s, and only network disks do. Of 170 MB in
eight weights, scales, codes and their error take 0.04 s each, transposing 0.07 s of one core, and the digest of the
input 0.13 s of another; the rest of the time of 24 layers is the work of Python on the graph. The peak does not grow
with the number of weights: 83 MB for 24 layers, 119 MB for weights of 21 MB each.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.encoder import LAYERS, WORDS, make_encoder

TERNARY, RF8 = "ternary{group=64,include=op:MatMul}", "rf8"
SENTENCES, TOKENS = 500, 16
TIMES = (1, 2, 4)
WIDE, FEW = 2304, (8, 16)
"""Of models of few nodes: inputs and outputs of each weight, and weights."""
RUNS = 3
"""Of RF8 and of the start, of which the median counts."""
DISKS = {"network disk": 0.1, "fast network disk": 0.25, "SATA SSD": 0.5, "NVMe SSD": 3.0}
"""What disks read and write, in GB/s."""


@dataclass(frozen=True)
class Taken:
    """Seconds and peak bytes of a run, the bytes of its input and of its result, and seconds to copy the input."""

    seconds: float
    peak: int
    read: int
    written: int
    copied: float = 0.0


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="measure this model instead")
@click.option("--calibration", help="inputs for it, as for regc compile")
@click.option("--mask", help="the input that masks padding, as for regc compile")
@click.option("--threads", default=2, show_default=True)
@click.option("--ternary/--no-ternary", default=True, help="Whether to measure it, too, which takes minutes.")
def main(model: Path | None, calibration: str | None, mask: str | None, threads: int, ternary: bool) -> None:
    """Compile, and print seconds and memory."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if model is not None:
            masked = ["--mask", mask] if mask else []
            _show(model.name, model, ["--calibration", calibration, *masked] if calibration else [], threads, home)
            return
        start = statistics.median(_started() for _ in range(RUNS))
        _tell("starting Python and importing regc", start, ", which is in every run")
        data, found = _inputs(home), []
        for layers in (times * LAYERS for times in TIMES):
            made = _apart(make_encoder, home / "encoder.onnx", layers)
            options = ["--calibration", str(data), "--mask", "attention_mask"] if ternary else None
            found.append(_show(f"{layers} layers", made, options, threads, home))
        few = [
            _show(f"{count} weights", _apart(_wide, home / "wide.onnx", count), None, threads, home) for count in FEW
        ]
        _judge(f"{TIMES[-1] * LAYERS} layers", found[-2], found[-1], start)
        _judge(f"{FEW[-1]} weights", few[0], few[1], start)


def _judge(what: str, small: Taken, large: Taken, start: float) -> None:
    """Say whether the disk at hand limits RF8, and which would."""
    beyond, seconds = large.seconds - start, large.seconds - small.seconds
    weights = (large.read - small.read) / seconds / 1e9
    moved = (large.read - small.read + large.written - small.written) / seconds / 1e9
    slower = [name for name, speed in DISKS.items() if speed < moved]
    limits = "limits" if beyond <= large.copied else "does not limit"
    print(f"rf8 {what}: {beyond:.2f} s beyond the start, a copy {large.copied:.2f} s: this disk {limits} it")
    print(f"  what comes on top from {small.read / 1e6:.0f} MB on: {weights:.2f} GB/s of weights")
    print(f"  disks of less than {moved:.2f} GB/s limit it: {', '.join(slower) or 'none that is usual'}", flush=True)


def _inputs(home: Path) -> Path:
    """Random sentences, of 16 words each, 6 of them padding: 5,000 that count."""
    ids = np.random.default_rng(0).integers(0, WORDS, (SENTENCES, TOKENS))
    mask = np.broadcast_to(np.arange(TOKENS) < TOKENS * 2 // 3, ids.shape).astype(np.int64)
    np.savez(home / "data.npz", input_ids=ids, attention_mask=mask)
    return home / "data.npz"


def _apart(make: Callable[..., Path], *arguments: Any) -> Path:
    """In a process that ends: the peak of later processes would begin at what this one has."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(make, *arguments).result()


def _wide(path: Path, count: int) -> Path:
    """One product after the other."""
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(count)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDE]) for name in ("x0", f"x{count}")]
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((WIDE, WIDE), np.float32) / np.float32(WIDE**0.5) for _ in range(count)]
    tensors = [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    graph = helper.make_graph(nodes, "wide", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _show(name: str, model: Path, inputs: list[str] | None, threads: int, home: Path) -> Taken:
    """What RF8 takes. ``inputs`` are the options of calibration; without them no ternary."""
    size = f"{name}, {model.stat().st_size / 1e6:.0f} MB"
    if inputs is not None:
        _tell_run(f"{size}: {TERNARY}", _compile(model, TERNARY, inputs, threads, home / "small.onnx"))
    runs = [_compile(model, RF8, [], threads, home / "small.onnx") for _ in range(RUNS)]
    taken = sorted(runs, key=lambda run: run.seconds)[RUNS // 2]
    _tell_run(f"{size}: {RF8}", taken)
    copied = _copied(model, home / "copy")
    _tell(f"{name}: a copy of the file to disk", copied, "")
    return replace(taken, copied=copied)


def _tell_run(what: str, taken: Taken) -> None:
    _tell(what, taken.seconds, f", peak {taken.peak / 1e6:.0f} MB")


def _tell(what: str, seconds: float, more: str) -> None:
    print(f"{what}: {seconds:.2f} s{more}", flush=True)


def _started() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import regc.compiler.cli, regc.compiler.job"], check=True)
    return time.perf_counter() - start


def _compile(model: Path, passes: str, inputs: list[str], threads: int, target: Path) -> Taken:
    command = [sys.executable, "-m", "regc.compiler.cli", "compile", str(model), "-o", str(target), "--passes", passes]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--no-verify", "--threads", str(threads), *inputs],
        stdout=subprocess.DEVNULL,
        env=os.environ | limits,
    )
    _, status, usage = os.wait4(process.pid, 0)  # of this process alone, where RUSAGE_CHILDREN is of all so far
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"regc compile failed for {model} with {passes}")
    return Taken(seconds, usage.ru_maxrss * 1024, model.stat().st_size, target.stat().st_size)


def _copied(source: Path, target: Path) -> float:
    """Once what is on its way to the disk is there; the second of two copies, as the first may wait for memory."""
    for _ in range(2):
        os.sync()
        start = time.perf_counter()
        with source.open("rb") as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy, 4 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        seconds = time.perf_counter() - start
        target.unlink()
    return seconds


if __name__ == "__main__":
    main()
