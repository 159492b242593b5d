"""Whole models in ONNX Runtime's CUDA provider: the original, and what target cuda makes of it.

    python -m benchmarks.gpu_models [--model FILE --sizes batch=1,seq=32]... [--passes TEXT]... [--layers 16]

Without ``--model`` a decoder in the shape of a billion weights (:mod:`benchmarks.decoder`), in float16, for one token
and for 512. Every model is loaded and timed alone: the median of runs whose inputs and outputs stay on the device, by
the clock of the host, the end of the device's work included; in a CUDA graph, too, without which launching the kernels
takes longer than they do for one token. Its answer is compared with that of the original. Needs onnxruntime-gpu and
the libraries of ``make cuda``; ``--provider CPUExecutionProvider`` tries the script without a GPU.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from benchmarks.decoder import LAYERS, make_decoder
from benchmarks.models import Feed, file_bytes, random_feed
from regc import runtime_ops
from regc.compiler import compile_model

Array = npt.NDArray[Any]
PASSES = ("ternary{group=64}", "rf8")
SIZES = ("tokens=1", "tokens=512")
RUNS, WARM = 50, 5
HOST = "CPUExecutionProvider"


@dataclass(frozen=True)
class Measured:
    """Of one model on one feed: bytes of its files, seconds of a run and of one in a CUDA graph, and the cosine of its
    first output to the original's. Without a CUDA graph ``unfit`` says why.
    """

    model: str
    feed: str
    nbytes: int
    seconds: float
    cosine: float
    in_graph: float | None = None
    unfit: str = ""


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="default: a decoder made here"
)
@click.option("--passes", multiple=True, default=PASSES, show_default=True, help="may be given several times")
@click.option("--sizes", multiple=True, default=SIZES, show_default=True, help="of named dimensions, for random feeds")
@click.option("--layers", default=LAYERS, show_default=True, help="of the decoder")
@click.option("--provider", default=runtime_ops.CUDA_PROVIDER, show_default=True)
def main(*, model: Path | None, passes: Sequence[str], sizes: Sequence[str], layers: int, provider: str) -> None:
    """Measure a model and what can be made of it."""
    for row in measure(model, passes, sizes, layers, provider):
        graph = row.unfit if row.in_graph is None else f"{row.in_graph * 1e3:.3f} ms in a CUDA graph"
        size, time_ = f"{row.nbytes / 1e6:.0f} MB", f"{row.seconds * 1e3:.3f} ms"
        print(f"{row.feed:>16}  {row.model:<20} {size:>8} {time_:>11}  cosine {row.cosine:.4f}  {graph}", flush=True)


def measure(
    model: Path | None, passes: Sequence[str], sizes: Sequence[str], layers: int, provider: str
) -> Iterator[Measured]:
    """One row for each model and feed; the original comes first."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        original = model or make_decoder(home / "decoder.onnx", layers)
        feeds = {text: random_feed(original, text) for text in sizes}
        wanted: dict[str, Array] = {}
        for name in ("original", *passes):
            path = original if name == "original" else _compiled(original, name, home / "small.onnx")
            for text, feed in feeds.items():
                y, seconds = _run(runtime_ops.make_session(path, providers=[provider]), feed, provider)
                near = _cosine(wanted.setdefault(text, y[0]), y[0])
                row = Measured(name, text, file_bytes(path), seconds, near)
                yield row if provider == HOST else _with_graph(row, path, feed, y, provider)


def _with_graph(row: Measured, path: Path, feed: Feed, y: Sequence[Array], provider: str) -> Measured:
    try:
        captured = runtime_ops.make_session(path, providers=[(provider, {"enable_cuda_graph": "1"})])
        return replace(row, in_graph=_run(captured, feed, provider, y)[1])
    except Exception as error:  # what ONNX Runtime raises where it cannot capture a graph
        return replace(row, unfit=f"no CUDA graph: {str(error)[:200]}")


def _compiled(original: Path, passes: str, target: Path) -> Path:
    result = compile_model(original, passes, target="cuda")
    if not result.changed:
        raise click.UsageError(f"{passes} changes nothing in {original}")
    result.save(target)
    return target


def _run(
    session: ort.InferenceSession, feed: Feed, provider: str, outputs: Sequence[Array] | None = None
) -> tuple[list[Array], float]:
    """Outputs, and median seconds of a run. A CUDA graph writes where ``outputs`` lie when it is captured."""
    device, binding = "cpu" if provider == HOST else "cuda", session.io_binding()
    for name, values in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values, device, 0))
    for index, output in enumerate(session.get_outputs()):
        if outputs is None:
            binding.bind_output(output.name, device)
        else:
            binding.bind_ortvalue_output(output.name, ort.OrtValue.ortvalue_from_numpy(outputs[index], device, 0))
    times = []
    for _ in range(WARM + RUNS):
        binding.synchronize_inputs()
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        times.append(time.perf_counter() - start)
    return binding.copy_outputs_to_cpu(), statistics.median(times[WARM:])


def _cosine(first: Array, second: Array) -> float:
    first, second = first.astype(np.float32), second.astype(np.float32)
    return float(np.vdot(first, second) / (np.linalg.norm(first) * np.linalg.norm(second)))


if __name__ == "__main__":
    main()
