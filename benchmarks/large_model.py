"""A model of 3 GB through the command line: how much memory compiling takes, and whether the result runs.

    python -m benchmarks.large_model [--gigabytes 3] [--passes rf8] [--folder DIR]

The model is a chain of MatMuls on random weights with external data, written piece by piece. The compiler runs as a
process of its own, without verification (which runs the original model, and that takes what the original takes).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import TensorProto, helper

from regc.runtime_ops import make_session

WIDTH = 4096
LAYER_BYTES = 4 * WIDTH * WIDTH


@click.command()
@click.option("--gigabytes", default=3.0, show_default=True)
@click.option("--passes", default="rf8", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="where the files go (default: a temporary folder)")
def main(gigabytes: float, passes: str, folder: Path | None) -> None:
    """Make the model, compile it, run the result."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        source, target = Path(home) / "large.onnx", Path(home) / "small.onnx"
        layers = max(1, round(gigabytes * 1e9 / LAYER_BYTES))
        _write(source, layers)
        start = time.perf_counter()
        command = [sys.executable, "-m", "regc.compiler.cli", "compile", str(source), "-o", str(target)]
        subprocess.run([*command, "--passes", passes, "--no-verify"], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        size = sum(file.stat().st_size for file in Path(home).glob("small*"))
        print(f"{layers} layers, {layers * LAYER_BYTES / 1e9:.2f} GB -> {size / 1e9:.2f} GB")
        print(f"compiled in {seconds:.0f} s with a peak of {peak / 1e6:.0f} MB")
        output = make_session(target).run(None, {"x": np.ones((1, WIDTH), np.float32)})[0]
        print(f"the result runs: output of shape {output.shape}, finite: {bool(np.isfinite(output).all())}")


def _write(path: Path, layers: int) -> None:
    nodes, tensors = [], []
    rng = np.random.default_rng(0)
    with path.with_suffix(".onnx.data").open("wb") as data:
        for layer in range(layers):
            (rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)).tofile(data)
            tensors.append(_external(f"w{layer}", data.name, layer * LAYER_BYTES))
            name = "x" if layer == 0 else f"h{layer}"
            nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"h{layer + 1}"], name=f"layer{layer}"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", WIDTH])
    y = helper.make_tensor_value_info(f"h{layers}", TensorProto.FLOAT, ["rows", WIDTH])
    graph = helper.make_graph(nodes, "large", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _external(name: str, file: str, offset: int) -> TensorProto:
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH], data_location=TensorProto.EXTERNAL
    )
    values = {"location": Path(file).name, "offset": str(offset), "length": str(LAYER_BYTES)}
    for key, value in values.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


if __name__ == "__main__":
    main()
