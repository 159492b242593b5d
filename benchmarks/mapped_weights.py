"""Resident memory of a model whose weights lie in an external file: they are mapped and used in place, not copied.

    python -m benchmarks.mapped_weights [--megabytes 200]

For every format a model of one operator is loaded and run once in a process of its own. Anonymous memory is what the
process holds for itself; pages of the mapped file are the file's, and the system may drop and read them again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from regc.runtime_ops import ops

INPUTS = 4096
TILE = 16
BLOCK = 32
OPERATORS = ("TernaryMatMul", "RF8MatMul", "BlockSparseRF8MatMul", "GatedRF8MatMul")
CHILD = """
import json, sys
import numpy as np
import onnxruntime as ort
from regc.runtime_ops import register

def resident():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith("Rss"))
    return {kind: int(lines["Rss" + kind].split()[0]) * 1024 for kind in ("Anon", "File")}

path, inputs = sys.argv[1], int(sys.argv[2])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
register(options)
seen = [resident()]
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
seen.append(resident())
session.run(None, {"x": np.ones((1, inputs), np.float32)})
print(json.dumps([*seen, resident()]))
"""

Array = npt.NDArray[Any]


def operands(op: str, nbytes: int) -> dict[str, Array]:
    """Inputs of an operator but x, with about ``nbytes`` of codes; those come first."""
    codes_per_byte = {"TernaryMatMul": 4, "BlockSparseRF8MatMul": 2}.get(op, 1)  # half of the blocks are kept
    tiles = max(1, nbytes * codes_per_byte // INPUTS // TILE)
    outputs = tiles * TILE
    shapes: dict[str, tuple[int, ...]] = {
        "TernaryMatMul": (tiles, INPUTS // 16, 16, 4),
        "RF8MatMul": (tiles, INPUTS // 4, 4, 2, 4, 2),
        "BlockSparseRF8MatMul": (tiles * INPUTS // BLOCK // 2, BLOCK, TILE),
        "GatedRF8MatMul": (INPUTS, outputs),
    }
    codes = np.random.default_rng(0).integers(0, 256, shapes[op], np.uint8) & np.uint8(0xAA)  # valid in every format
    kept = np.arange(0, INPUTS // BLOCK, 2, dtype=np.int32)
    special: dict[str, dict[str, Array]] = {
        "TernaryMatMul": {"multiplier": np.ones((tiles, 1, TILE), np.uint8)},
        "RF8MatMul": {},
        "BlockSparseRF8MatMul": {
            "index": np.tile(kept, tiles),
            "start": np.arange(tiles + 1, dtype=np.int32) * np.int32(len(kept)),
        },
        "GatedRF8MatMul": {"norms": np.ones(INPUTS, np.float32), "threshold": np.zeros(1, np.float32)},
    }
    last = {"TernaryMatMul": [INPUTS], "BlockSparseRF8MatMul": [BLOCK]}.get(op, [])
    affine = {"scale": np.ones(outputs, np.float32), "bias": np.zeros(1, np.float32)}
    return {"codes": codes, **special[op], **affine, "shape": np.array([outputs, INPUTS, *last])}


def write(path: Path, op: str, inputs: dict[str, Array], *, external: bool = True) -> None:
    """Write a model of one operator, its codes in a file beside it or, if not ``external``, in the model itself."""
    tensors = [numpy_helper.from_array(value, name) for name, value in inputs.items()]
    if external:
        data = path.with_suffix(".data")
        inputs["codes"].tofile(data)
        tensors[0] = TensorProto(name="codes", data_type=TensorProto.UINT8, dims=inputs["codes"].shape)
        tensors[0].data_location = TensorProto.EXTERNAL
        tensors[0].external_data.add(key="location", value=data.name)
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *inputs], ["y"], domain=ops.DOMAIN, name="layer")],
        "memory",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", len(inputs["scale"])])],
        tensors,
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    functions = ops.functions([op], 17)
    onnx.save(helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION), path)


def measure(path: Path) -> list[dict[str, int]]:
    """Resident bytes, anonymous (``Anon``) and of files (``File``): before loading, loaded, and after a run.

    Raises:
        subprocess.CalledProcessError: the model does not load or run.
    """
    command = [sys.executable, "-c", CHILD, str(path), str(INPUTS)]
    result: list[dict[str, int]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


@click.command()
@click.option("--megabytes", default=200, show_default=True, help="codes of each model")
def main(megabytes: int) -> None:
    """Measure every format."""
    print(f"{'':24}codes MB   anonymous MB: load, run   of files MB: load, run")
    for op in OPERATORS:
        with tempfile.TemporaryDirectory() as home:
            path = Path(home) / "model.onnx"
            inputs = operands(op, megabytes * 10**6)
            write(path, op, inputs)
            before, loaded, ran = measure(path)
        grown = [(after[kind] - before[kind]) / 1e6 for kind in ("Anon", "File") for after in (loaded, ran)]
        cells = "".join(f"{value:+11.1f}" for value in grown)
        print(f"{op:24}{inputs['codes'].nbytes / 1e6:8.1f}{cells}")


if __name__ == "__main__":
    main()
