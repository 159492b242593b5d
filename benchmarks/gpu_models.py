"""Whole models in ONNX Runtime's CUDA provider: the original, and what target cuda makes of it.

    python -m benchmarks.gpu_models [--model FILE --sizes batch=1,seq=32]... [--passes TEXT]... [--layers 16]

``--model decoder``, the default, is one in the shape of a billion weights (:mod:`benchmarks.decoder`), in float16, for
one token and for 512; ``--model encoder`` is a small one in float32 (:mod:`benchmarks.encoder`). Every model is loaded
and timed alone: the median of runs whose inputs and outputs stay on the device, by the clock of the host, the end of
the device's work included; in a CUDA graph, too, without which launching the kernels takes longer than they do for one
token. Its answer is compared with that of the original. Needs onnxruntime-gpu and regc built with a CUDA toolkit;
``--provider CPUExecutionProvider`` tries the script without a GPU.
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
from benchmarks.encoder import make_encoder
from benchmarks.models import Feed, file_bytes, random_feed
from regc import runtime_ops
from regc.compiler import compile_model

Array = npt.NDArray[Any]
PASSES = ("ternary{group=64}", "rf8")
MADE = {"decoder": ("tokens=1", "tokens=512"), "encoder": ("batch=1,seq=32", "batch=16,seq=128")}
"""Models that are made here, and sizes of feeds."""
RUNS, WARM = 50, 5
CUDA, HOST = runtime_ops.CUDA_PROVIDER, "CPUExecutionProvider"


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

    def text(self) -> str:
        """A line of a table."""
        graph = self.unfit if self.in_graph is None else f"{self.in_graph * 1e3:.3f} ms in a CUDA graph"
        size, time_ = f"{self.nbytes / 1e6:.0f} MB", f"{self.seconds * 1e3:.3f} ms"
        return f"{self.feed:>16}  {self.model:<20} {size:>8} {time_:>11}  cosine {self.cosine:.4f}  {graph}"


@click.command()
@click.option("--model", default="decoder", show_default=True, help=f"a file, {' or '.join(MADE)}")
@click.option("--passes", multiple=True, default=PASSES, show_default=True, help="may be given several times")
@click.option("--sizes", multiple=True, help="of named dimensions, for random feeds; needed for a file")
@click.option("--layers", default=LAYERS, show_default=True, help="of the decoder")
@click.option("--provider", default=CUDA, show_default=True)
def main(*, model: str, passes: Sequence[str], sizes: Sequence[str], layers: int, provider: str) -> None:
    """Measure a model and what can be made of it."""
    if model not in MADE and not (Path(model).is_file() and sizes):
        raise click.UsageError(f"--model {model}: neither {' nor '.join(MADE)}, nor a file with --sizes")
    for row in measure(model, sizes, passes, layers, provider):
        print(row.text(), flush=True)


def measure(
    model: str, sizes: Sequence[str] = (), passes: Sequence[str] = PASSES, layers: int = LAYERS, provider: str = CUDA
) -> Iterator[Measured]:
    """One row for each model and feed; the original comes first."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        original = _made(model, home, layers) if model in MADE else Path(model)
        feeds = {text: random_feed(original, text) for text in sizes or MADE[model]}
        wanted: dict[str, Array] = {}
        for name in ("original", *passes):
            path = original if name == "original" else _compiled(original, name, home / "small.onnx")
            for text, feed in feeds.items():
                y, seconds = _run(runtime_ops.make_session(path, providers=[provider]), feed, provider)
                near = _cosine(wanted.setdefault(text, y[0]), y[0])
                row = Measured(name, text, file_bytes(path), seconds, near)
                yield row if provider == HOST else _with_graph(row, path, feed, y, provider)


def _made(name: str, home: Path, layers: int) -> Path:
    path = home / f"{name}.onnx"
    return make_decoder(path, layers) if name == "decoder" else make_encoder(path)


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
