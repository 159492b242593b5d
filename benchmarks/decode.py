"""Decoding one row at a time through SwiGLU blocks of random weights, whose inputs are skipped: end to end in a chain.

    python -m benchmarks.decode [--megabytes 1100] [--threads 1,2] [--sparsity 0.65] [--folder build/decode]

A block is ``x + down(silu(gate(n)) * up(n))`` with ``n`` the normalized x, 2048-5632-2048. It is compiled once by the
passes, as a user would do it; its error is that of one block on rows that nothing was fitted on. For timing it is put
in a chain of copies whose weights differ, as many for each contender as have so many megabytes and exceed the cache.
Each call gets another x, so that other inputs are skipped. The models are kept in the folder, for building takes longer
than measuring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from rich.console import Console
from rich.table import Table

from benchmarks.stack import moved
from benchmarks.timing import interleaved
from regc import runtime_ops
from regc.compiler import Calibration, compile_model

WIDTH, HIDDEN = 2048, 5632
INPUTS = 32
"""Different rows that are fed in turn."""
BLOCK = f"""block (float[1,{WIDTH}] x) => (float[1,{WIDTH}] y) {{
    n = LayerNormalization(x, one)
    g = MatMul(n, gate)
    s = Sigmoid(g)
    a = Mul(g, s)
    u = MatMul(n, up)
    h = Mul(a, u)
    d = MatMul(h, down)
    y = Add(x, d)
}}"""


def pipelines(sparsity: float) -> dict[str, str]:
    """The passes of each contender, none for the block as it is."""
    skip = f"neuron-mask{{mode=dynamic,sparsity={sparsity},allocate=uniform}}"
    return {"float32": "", "rf8": "rf8", "skipping": skip, "skipping, rf8": f"{skip},rf8"}


@click.command()
@click.option("--megabytes", default=1100, show_default=True, help="Weights of each chain.")
@click.option("--threads", default="1,2", show_default=True)
@click.option("--sparsity", default=0.65, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("build/decode"), show_default=True)
@click.option("--only-build", is_flag=True, help="Write the models and measure nothing.")
def main(*, megabytes: int, threads: str, sparsity: float, rounds: int, folder: Path, only_build: bool) -> None:
    """Build what is not there yet, and time it."""
    folder.mkdir(parents=True, exist_ok=True)
    chains = [_built(folder, name, passes, sparsity, megabytes) for name, passes in pipelines(sparsity).items()]
    for count in [] if only_build else map(int, threads.split(",")):
        Console().print(measure(chains, count, rounds))


@dataclass(frozen=True)
class Chain:
    """A model of so many blocks, and the model of one."""

    name: str
    one: Path
    path: Path
    blocks: int


def _built(folder: Path, name: str, passes: str, sparsity: float, megabytes: int) -> Chain:
    one = folder / f"{name.replace(', ', '-')}-{sparsity:g}.onnx"
    if not one.exists():
        onnx.save(block(passes), one)
    blocks = max(1, round(megabytes * 1e6 / one.stat().st_size))
    path = one.with_stem(f"{one.stem}-{blocks}")
    if not path.exists():
        onnx.save(chain(onnx.load(one), blocks), path)
    return Chain(name, one, path, blocks)


def block(passes: str) -> onnx.ModelProto:
    """One block, compiled."""
    random = np.random.default_rng(0)
    shapes = {"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}
    weights = {name: random.standard_normal(s, np.float32) / np.float32(s[0] ** 0.5) for name, s in shapes.items()}
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>{BLOCK}')
    constants = {**weights, "one": np.ones(WIDTH, np.float32)}
    proto.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    if not passes:
        return proto
    feeds = [{"x": row[None]} for row in random.standard_normal((256, WIDTH), np.float32)]
    return compile_model(proto, passes, calibration=Calibration(feeds, sequential=False)).model.to_proto()


def chain(proto: onnx.ModelProto, blocks: int) -> onnx.ModelProto:
    """Copies of a block one after the other, each with weights of its own."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes, initializers = [], []
    for index in range(blocks):
        names = {"x": f"x{index}", "y": f"x{index + 1}"}
        for node in proto.graph.node:
            copy = onnx.NodeProto.FromString(node.SerializeToString())
            copy.name = f"{node.output[0]}.{index}"
            copy.input[:] = [names.get(name, f"{name}.{index}") for name in node.input]
            copy.output[:] = [names.get(name, f"{name}.{index}") for name in node.output]
            nodes.append(copy)
        initializers += [numpy_helper.from_array(moved(v, index), f"{k}.{index}") for k, v in constants.items()]
    ends = [helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, [1, WIDTH]) for i in (0, blocks)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], initializers)
    imports, functions = list(proto.opset_import), list(proto.functions)
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=proto.ir_version)


def measure(chains: Sequence[Chain], threads: int, rounds: int) -> Table:
    """Milliseconds of a block by each contender, and how far the outputs of one are from those of the first."""
    random = np.random.default_rng(1)
    rows = [random.standard_normal((1, WIDTH), np.float32) for _ in range(INPUTS)]
    answers = [_answers(_session(each.one, threads), rows) for each in chains]
    runs = [_in_turn(_session(each.path, threads), rows) for each in chains]
    timings = interleaved([lambda run=run: next(run) for run in runs], rounds=rounds, calls=[INPUTS // 4] * len(runs))
    table = Table(title=f"one row, blocks of {WIDTH}-{HIDDEN}-{WIDTH}, {threads} threads")
    for heading in ("", "blocks", "ms a block", "+-", "x float32", "error of a block"):
        table.add_column(heading, justify="right" if heading else "left")
    base = timings[0].median / chains[0].blocks
    for each, found, timing in zip(chains, answers, timings, strict=True):
        seconds = timing.median / each.blocks
        lost = np.linalg.norm(found - answers[0]) / np.linalg.norm(answers[0])
        cells = (f"{seconds * 1e3:.3f}", f"{timing.spread:.0%}", f"{base / seconds:.2f}", f"{lost:.3f}")
        table.add_row(each.name, str(each.blocks), *cells)
    return table


def _answers(session: ort.InferenceSession, rows: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate([session.run(None, {"x": row})[0] for row in rows])


def _in_turn(session: ort.InferenceSession, rows: Sequence[npt.NDArray[np.float32]]) -> Iterator[Any]:
    return (session.run(None, {"x0": row}) for row in cycle(rows))


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    runtime_ops.register(options)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
