"""How long compiling takes and how much memory, and how both grow with the layers of a model.

    python -m benchmarks.compile_time [--model MODEL --calibration DATA] [--mask INPUT] [--threads 2]

Without ``--model`` the encoder of :mod:`benchmarks.encoder` is made with 6, 12 and 24 layers; its inputs are random
words. Each run is ``regc compile --no-verify`` in a process of its own: ternary with error feedback, which runs the
model on calibration inputs first, and RF8 without any. Beside them stands what it takes to copy the file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.encoder import LAYERS, WORDS, make_encoder

TERNARY, RF8 = "ternary{group=64,include=op:MatMul}", "rf8"
SENTENCES, TOKENS = 500, 16
TIMES = (1, 2, 4)


@dataclass(frozen=True)
class Taken:
    """Seconds and peak bytes of one run, and the bytes of its input."""

    seconds: float
    peak: int
    nbytes: int


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="measure this model instead")
@click.option("--calibration", help="inputs for it, as for regc compile")
@click.option("--mask", help="the input that masks padding, as for regc compile")
@click.option("--threads", default=2, show_default=True)
def main(model: Path | None, calibration: str | None, mask: str | None, threads: int) -> None:
    """Compile, and print seconds and memory."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if model is not None:
            masked = ["--mask", mask] if mask else []
            _show(model.name, model, ["--calibration", calibration, *masked] if calibration else [], threads, home)
            return
        data = _inputs(home)
        for times in TIMES:
            made = make_encoder(home / "encoder.onnx", layers=times * LAYERS)
            name = f"{times * LAYERS} layers"
            _show(name, made, ["--calibration", str(data), "--mask", "attention_mask"], threads, home)


def _inputs(home: Path) -> Path:
    """Random sentences, of 16 words each, 6 of them padding: 5,000 that count."""
    ids = np.random.default_rng(0).integers(0, WORDS, (SENTENCES, TOKENS))
    mask = np.broadcast_to(np.arange(TOKENS) < TOKENS * 2 // 3, ids.shape).astype(np.int64)
    np.savez(home / "data.npz", input_ids=ids, attention_mask=mask)
    return home / "data.npz"


def _show(name: str, model: Path, inputs: list[str], threads: int, home: Path) -> None:
    for passes, given in ((TERNARY, inputs), (RF8, [])):
        taken = _compile(model, passes, given, threads, home / "small.onnx")
        print(
            f"{name}, {taken.nbytes / 1e6:.0f} MB: {passes}: {taken.seconds:.1f} s, peak {taken.peak / 1e6:.0f} MB",
            flush=True,
        )
    print(f"{name}: a copy of the file to disk {_copied(model, home / 'copy'):.2f} s", flush=True)


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
    return Taken(seconds, usage.ru_maxrss * 1024, model.stat().st_size)


def _copied(source: Path, target: Path) -> float:
    start = time.perf_counter()
    with target.open("wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
