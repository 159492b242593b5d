"""What benchmarks.gpu_check needs of torch: the memory of kernels on a GPU, and times.

Every contender multiplies by a list of distinct weights, whose bytes together are several times the L2 cache, one after
the other in one CUDA graph; a time is the median of replays between two events, by the number of weights.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.contenders import Layer, nbits
from benchmarks.gpu_kernels import Array, Kernels, build, problem

CUDA = "CUDAExecutionProvider"
LAYERS = ((4096, 4096), (4096, 11008), (11008, 4096), (4096, 14336), (14336, 4096))
"""Weights ``(N, K)`` as of models of 7 and 8 billion."""
ROWS = (1, 8, 64, 512)
CACHES = 4
"""The weights of a contender are at least so many times the L2 cache."""
REPLAYS = 30
Launch = Callable[[], object]


class Gpu:
    """The memory of torch's current device."""

    def put(self, values: Array) -> torch.Tensor:
        """A copy."""
        return torch.from_numpy(np.ascontiguousarray(values)).cuda()

    def empty(self, count: int, dtype: str) -> torch.Tensor:
        """What was there before."""
        return torch.empty(count, dtype=self.type_of(dtype), device="cuda")

    def get(self, tensor: torch.Tensor) -> Array:
        """As float32, after all that the device has to do."""
        values: Array = tensor.float().cpu().numpy()
        return values

    def pointer(self, tensor: torch.Tensor) -> int:
        """Its address."""
        return int(tensor.data_ptr())

    def stream(self) -> int:
        """The current one, which is that of a graph being captured."""
        return int(torch.cuda.current_stream().cuda_stream)

    def type_of(self, name: str) -> torch.dtype:
        """A type of torch by its name."""
        found: torch.dtype = getattr(torch, name)
        return found


def gpu_kernels(folder: Path) -> Kernels:
    """The kernels, built for this GPU."""
    major, minor = torch.cuda.get_device_capability()
    return Kernels(build(folder, f"{major}{minor}"), Gpu())


def seconds(launches: Sequence[Launch]) -> float:
    """Median seconds of one of the launches, all of them in one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for launch in launches:
            launch()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for launch in launches:
            launch()
    times = []
    for _ in range(REPLAYS):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        graph.replay()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after) * 1e-3 / len(launches))
    return statistics.median(times[3:])


def copy_bandwidth() -> float:
    """Bytes a second that are read and written by a copy of 1 GB."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds([lambda: target.copy_(source)])


def layers_for(nbytes: int) -> int:
    """How many distinct weights exceed the cache."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return max(2, -(-CACHES * cache // nbytes))


def ours(kernels: Kernels, kind: str, shape: tuple[int, int], rows: int) -> tuple[float, int]:
    """Seconds of a product with float16 activations, and the bytes of its weight."""
    memory, weight = kernels.memory, problem(kind, shape, 0)
    # The same codes at different addresses: what they say changes no time.
    loaded = [kernels.load(weight) for _ in range(layers_for(weight.nbytes))]
    x = torch.randn(rows, shape[1], device="cuda").half()
    y = torch.empty(rows, shape[0], device="cuda").half()
    scratch = loaded[0].scratch(rows)
    launches = [lambda each=each: each.launch(x, rows, y, scratch, dtype="float16") for each in loaded]
    assert isinstance(memory, Gpu)
    return seconds(launches), weight.nbytes


def cublas(shape: tuple[int, int], rows: int) -> float:
    """Seconds of torch.matmul in float16."""
    weights = [torch.randn(*shape, device="cuda").half() for _ in range(layers_for(2 * shape[0] * shape[1]))]
    x = torch.randn(rows, shape[1], device="cuda").half()
    y = torch.empty(rows, shape[0], device="cuda").half()
    return seconds([lambda w=w: torch.matmul(x, w.t(), out=y) for w in weights])


def side_by_side(layer: Layer, shape: tuple[int, int], rows: int, count: int) -> onnx.ModelProto:
    """So many products of one x, each with a weight of its own."""
    nodes, constants = [], []
    for i in range(count):
        node = helper.make_node(layer.nodes[0].op_type, ["x", *(f"{name}{i}" for name in layer.constants)], [f"y{i}"])
        node.domain = layer.nodes[0].domain
        node.attribute.extend(layer.nodes[0].attribute)
        nodes.append(node)
        # Another first word each: ONNX Runtime may store equal constants once.
        for name, values in layer.constants.items():
            own = values.copy()
            own.view(np.uint8).reshape(-1)[:4] = np.frombuffer(np.float32(i + 1).tobytes(), np.uint8)
            constants.append(numpy_helper.from_array(own, f"{name}{i}"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, shape[1]])
    y = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [rows, shape[0]]) for i in range(count)]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], y, constants), opset_imports=imports, ir_version=8)


def four_bits(shape: tuple[int, int], rows: int) -> float | None:
    """Seconds of MatMulNBits with blocks of 32 in ONNX Runtime, by the clock of the host; None without the provider."""
    if CUDA not in ort.get_available_providers():
        return None
    layer = nbits(4, 32)(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    count = layers_for(layer.nbytes)
    proto = side_by_side(layer, shape, rows, count)
    runner = ort.InferenceSession(proto.SerializeToString(), providers=[CUDA])
    binding, on_device = runner.io_binding(), torch.randn(rows, shape[1], device="cuda")
    binding.bind_input("x", "cuda", 0, np.float32, [rows, shape[1]], on_device.data_ptr())
    for i in range(count):
        binding.bind_output(f"y{i}", "cuda")
    torch.cuda.synchronize()
    times = []
    for _ in range(REPLAYS):
        start = time.perf_counter()
        runner.run_with_iobinding(binding)
        binding.synchronize_outputs()
        times.append((time.perf_counter() - start) / count)
    return statistics.median(times[3:])


def measure(kernels: Kernels) -> dict[str, Any]:
    """All times, printed as they come."""
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}, copies at {bandwidth / 1e9:.0f} GB/s")
    found = []
    for shape in LAYERS:
        for rows in ROWS:
            half, nb = cublas(shape, rows), four_bits(shape, rows)
            for kind in ("ternary", "rf8"):
                own, nbytes = ours(kernels, kind, shape, rows)
                found.append(
                    {"shape": shape, "rows": rows, "format": kind, "seconds": own, "cublas": half, "nbits": nb}
                )
                beside = "" if nb is None else f", {nb / own:.2f} x MatMulNBits 4-bit"
                print(
                    f"{shape[0]}x{shape[1]}, {rows} rows, {kind}: {own * 1e6:.1f} us, {half / own:.2f} x cuBLAS"
                    f"{beside}, {nbytes / own / bandwidth:.0%} of copying"
                )
    return {"device": torch.cuda.get_device_name(), "bandwidth": bandwidth, "products": found}
