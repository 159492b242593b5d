"""For benchmarks.gpu_check: the operators in ONNX Runtime's CUDA provider against the CPU's, also in CUDA graphs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper

from benchmarks.gpu_kernels import SOURCES
from benchmarks.gpu_lookups import LAYOUTS, table
from benchmarks.gpu_problems import Array, Problem, problem
from regc import runtime_ops
from regc.runtime_ops import ops
from regc.runtime_ops.typed import GIVEN

CPU, CUDA = "CPUExecutionProvider", runtime_ops.CUDA_PROVIDER
OPERATORS = {
    "TernaryMatMul": "ternary",
    "Ternary5MatMul": "ternary5",
    "TernaryMatMulFloat": "ternary_float",
    "Ternary5MatMulFloat": "ternary5_float",
    "RF8MatMul": "rf8",
    "BlockSparseMatMul": "sparse",
    "BlockSparseRF8MatMul": "sparse_rf8",
    "GatedMatMul": "gated",
    "GatedRF8MatMul": "gated_rf8",
    "GatedTopKMatMul": "gated_topk",
    "GatedTopKRF8MatMul": "gated_topk_rf8",
}


def value(name: str, dtype: str, *columns: int) -> onnx.ValueInfoProto:
    """A tensor of the graph, ``[rows, *columns]``."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["rows", *columns])


def model(
    op: str,
    x: onnx.ValueInfoProto,
    y: onnx.ValueInfoProto,
    inputs: Mapping[str, Array],
    other: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    """One operator from x, constants and other inputs to y."""
    names = ["x", *inputs, *(value.name for value in other)]
    node = helper.make_node(op, names, ["y"], domain=ops.DOMAIN, name=f"{op}.0")
    constants = [numpy_helper.from_array(values, name) for name, values in inputs.items()]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    graph = helper.make_graph([node], "one", [x, *other], [y], constants)
    return helper.make_model(graph, opset_imports=imports, ir_version=ops.MIN_IR_VERSION)


def operands(kind: str, shape: tuple[int, int], seed: int) -> dict[str, Array]:
    """The inputs of an operator after x, in order; groups of 32, or 40 of five trits a byte."""
    return inputs_of(problem(kind, shape, seed, group=32), 40 if kind.startswith("ternary5") else 32)


def inputs_of(weight: Problem, group: int) -> dict[str, Array]:
    """The same of a weight whose multipliers, if it has any, are those of ``group`` inputs."""
    order = ("codes", "multiplier", "index", "start", "norms", "threshold", "active", "scale", "bias")
    last = group if weight.format.startswith("ternary") else 1 << weight.sizes.get("block_log2", 0)
    sizes = [*weight.shape, last] if weight.format.startswith(("ternary", "sparse")) else [*weight.shape]
    counted = {"active": np.array([weight.sizes["active"]])} if "active" in weight.sizes else {}
    there = {**weight.operands, **counted}
    found = {name: there[name] for name in order if name in there}
    return {**found, "shape": np.array(sizes, np.int64)}


def session(proto: onnx.ModelProto, provider: str, graphs: bool = False) -> ort.InferenceSession:
    """A session that runs all of a model on a provider."""
    options, settings = ort.SessionOptions(), {"enable_cuda_graph": "1"} if graphs else {}
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1" if provider == CUDA else "0")
    runtime_ops.register(options, [provider])
    return ort.InferenceSession(proto.SerializeToString(), options, providers=[(provider, settings)])


def in_graph(runner: ort.InferenceSession, x: Array, wanted: Array) -> Array:
    """y, like ``wanted``, of the third run: ONNX Runtime captures a CUDA graph in the first two and replays it then."""
    on_device, y = torch.from_numpy(x).cuda(), torch.from_numpy(wanted).cuda()
    binding = runner.io_binding()
    binding.bind_input("x", "cuda", 0, x.dtype, list(x.shape), on_device.data_ptr())
    binding.bind_output("y", "cuda", 0, wanted.dtype, list(wanted.shape), y.data_ptr())
    for _ in range(3):
        y.zero_()
        torch.cuda.synchronize()
        runner.run_with_iobinding(binding)
        binding.synchronize_outputs()
    values: Array = y.cpu().numpy()
    return values


def build_operators(architecture: str, folder: Path) -> None:
    """Build the operator libraries for a GPU such as ``90``, and use them."""
    options = ("-DREGC_CUDA=ON", f"-DREGC_CUDA_CODE=-arch=sm_{architecture}")
    targets = ("--build", str(folder), "-j", "--target", "regc_ops", "regc_ops_cuda")
    for command in (("-S", str(SOURCES), "-B", str(folder), *options), targets):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
    os.environ["REGC_OPS_LIBRARY"] = str(next(folder.glob("libregc_ops.*")))
    os.environ["REGC_CUDA_OPS_LIBRARY"] = str(next(folder.glob("libregc_ops_cuda.*")))


def differ_in_threads(runner: ort.InferenceSession, x: Array, wanted: Array) -> bool:
    """Whether runs of one session in four threads at a time, each with a stream of its own, give anything else."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: runner.run(None, {"x": x})[0], range(40)))
    return not all((y == wanted).all() for y in found)


def check_operator(op: str) -> list[str]:
    """Mistakes of a product, or of a lookup, in ONNX Runtime's CUDA provider, in words."""
    check = _check_lookup if op in LAYOUTS else _check_product
    return [f"{op}, {dtype}, {words}" for dtype in ("float32", "float16") for words in check(op, dtype)]


def _check_product(op: str, dtype: str, shape: tuple[int, int] = (70, 1100)) -> Iterator[str]:
    kind = OPERATORS[op]
    proto = model(op, value("x", dtype, shape[1]), value("y", dtype, shape[0]), operands(kind, shape, seed=len(op)))
    on_cpu, on_gpu = session(proto, CPU), session(proto, CUDA)
    for rows in (1, 12, 100):
        x = np.random.default_rng(rows).standard_normal((rows, shape[1])).astype(dtype)
        (wanted,), (y,) = on_cpu.run(None, {"x": x}), on_gpu.run(None, {"x": x})
        limit = 0 if kind in ("ternary", "ternary5") else 3e-3 * np.abs(wanted).max()
        if not (np.abs(y - wanted) <= limit).all():
            yield f"{rows} rows: far from the CPU by {np.abs(y - wanted).max()}"
        if not (in_graph(session(proto, CUDA, graphs=True), x, y) == y).all():
            yield f"{rows} rows: other results in a CUDA graph"
        if differ_in_threads(on_gpu, x, y):
            yield f"{rows} rows: other results in several threads"
    yield from _differing_sums(op, dtype, shape)


def _differing_sums(op: str, dtype: str, shape: tuple[int, int]) -> Iterator[str]:
    """Of the product with a tensor of its shape, which the kernel adds, and with one that is repeated."""
    random, rows = np.random.default_rng(0), 12
    x = random.standard_normal((rows, shape[1])).astype(dtype)
    for size in ((rows, shape[0]), (shape[0],)):
        added = random.standard_normal(size).astype(dtype)
        other = helper.make_tensor_value_info("other", helper.np_dtype_to_tensor_dtype(added.dtype), size)
        weight = operands(OPERATORS[op], shape, seed=len(op))
        proto = model(f"{op}Add", value("x", dtype, shape[1]), value("y", dtype, shape[0]), weight, [other])
        wanted, y = (session(proto, on).run(None, {"x": x, "other": added})[0] for on in (CPU, CUDA))
        if not (np.abs(y - wanted) <= 3e-3 * np.abs(wanted).max()).all():
            yield f"the sum with {size}: far from the CPU by {np.abs(y - wanted).max()}"


def _check_lookup(op: str, dtype: str, shape: tuple[int, int] = (70, 1100)) -> Iterator[str]:
    operator = op if dtype == "float32" else op + GIVEN[dtype].suffix
    for kind in ("int32", "int64"):
        proto = model(operator, value("x", kind), value("y", dtype, shape[1]), table(op, shape, 0, 32).operands)
        on_cpu, on_gpu = session(proto, CPU), session(proto, CUDA)
        known = np.array([0, -1, 17, shape[0] - 1, -shape[0], 17], kind)
        (wanted,), (y,) = on_cpu.run(None, {"x": known}), on_gpu.run(None, {"x": known})
        if not (y == wanted).all():
            yield f"{kind}: other rows than on the CPU"
        if not (in_graph(session(proto, CUDA, graphs=True), known, y) == y).all():
            yield f"{kind}: other rows in a CUDA graph"
        if differ_in_threads(on_gpu, known, y):
            yield f"{kind}: other rows in several threads"
        (beside,) = on_gpu.run(None, {"x": np.array([shape[0], -shape[0] - 1], kind)})
        if not np.isnan(beside).all():
            yield f"{kind}: rows that the table lacks are not NaN"
