"""What benchmarks.gpu_check needs of torch: the memory of kernels on a GPU, and times.

Every contender multiplies by a list of distinct weights, whose bytes together are several times the L2 cache, one after
the other in one CUDA graph; a time is that of several replays between two events, by their number and that of the
weights: a replay is launched while the one before it runs, so that what it costs the host is not in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_kernels import Kernels
from benchmarks.gpu_problems import FORMATS, Array, timed_problem

CACHES = 4
"""The weights of a contender are at least so many times the L2 cache."""
WARM, REPLAYS, TIMES = 15, 5, 27
"""Of a graph: replays before, replays between two events, and how often."""
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
    return event_seconds(graph.replay, WARM, REPLAYS, TIMES) / len(launches)


def event_seconds(run: Launch, warm: int, runs: int, times: int) -> float:
    """Median seconds of a run on the device, in the current stream: after ``warm`` that do not count, ``runs`` of them
    between two events, ``times`` times.
    """
    for _ in range(warm):
        run()
    found = []
    for _ in range(times):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        for _ in range(runs):
            run()
        after.record()
        after.synchronize()
        found.append(before.elapsed_time(after) * 1e-3 / runs)
    return statistics.median(found)


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
    weight = timed_problem(kind, shape)
    # The same codes at different addresses: what they say changes no time.
    loaded = [kernels.load(weight) for _ in range(layers_for(weight.nbytes))]
    x = torch.randn(rows, shape[1], device="cuda").half()
    y = torch.empty(rows, shape[0], device="cuda").half()
    scratch = loaded[0].scratch(rows)
    launches = [lambda each=each: each.launch(x, rows, y, scratch, dtype="float16") for each in loaded]
    return seconds(launches), weight.nbytes


def cublas(shape: tuple[int, int], rows: int) -> float:
    """Seconds of torch.matmul in float16."""
    weights = [torch.randn(*shape, device="cuda", dtype=torch.half) for _ in range(layers_for(2 * shape[0] * shape[1]))]
    x = torch.randn(rows, shape[1], device="cuda").half()
    y = torch.empty(rows, shape[0], device="cuda").half()
    return seconds([lambda w=w: torch.matmul(x, w.t(), out=y) for w in weights])


@dataclass(frozen=True)
class Plan:
    """What to time, the most telling first: formats at shapes ``(N, K)`` by rows."""

    kinds: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]


MAIN = Plan(("ternary", "rf8"), ((4096, 11008), (4096, 4096), (11008, 4096), (4096, 14336)), (1, 512, 8, 64))
OTHERS = Plan(tuple(kind for kind in FORMATS if kind not in MAIN.kinds), ((4096, 11008),), (1, 8, 64))
QUICK = Plan(("ternary", "rf8"), ((4096, 11008),), (1, 512))
PLANS = {"main": MAIN, "others": OTHERS, "quick": QUICK}


def plan(name: str, kinds: Sequence[str]) -> Plan:
    """A plan without the formats that are not among these."""
    return replace(PLANS[name], kinds=tuple(kind for kind in PLANS[name].kinds if kind in kinds))


def measure(kernels: Kernels, chosen: Plan, bandwidth: float) -> Iterator[dict[str, Any]]:
    """All times, one by one, printed as they come. ``bandwidth`` is that of copying, in bytes a second."""
    for rows in chosen.rows:
        for shape in chosen.shapes:
            half = cublas(shape, rows)
            for kind in chosen.kinds:
                own, nbytes = ours(kernels, kind, shape, rows)
                # Of gated weights, those of about half of the inputs are read.
                share = "" if kind.startswith("gated") else f", {nbytes / own / bandwidth:.0%} of copying"
                print(
                    f"{shape[0]}x{shape[1]}, {rows} rows, {kind}: {own * 1e6:.1f} us, {half / own:.2f} x cuBLAS "
                    f"({half * 1e6:.1f} us){share}",
                    flush=True,
                )
                yield {"shape": shape, "rows": rows, "format": kind, "seconds": own, "cublas": half}
