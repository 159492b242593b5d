"""For benchmarks.gpu_check: many products in one session of ONNX Runtime, on a GPU, or on the CPU to try them.

A session multiplies one x by weights in turn, distinct ones whose bytes together are several times the L2 cache. It
runs as a CUDA graph of ONNX Runtime's in a stream of torch's, whose events time it; not in torch's default stream, 0,
which ONNX Runtime takes for none. Until 2026 ONNX Runtime waited for the device after every replay, whatever it was
told (microsoft/onnxruntime#28686), and what the host does then is in the time: hence so many products in a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.gpu_problems import Array
from benchmarks.gpu_speed import event_seconds
from regc import runtime_ops
from regc.runtime_ops import ops

CUDA = runtime_ops.CUDA_PROVIDER
PRODUCTS = 64
"""Of a run, at least."""
WARM, RUNS, TIMES = 3, 3, 12
"""Runs before, as ONNX Runtime captures a graph in the first two, runs between two events, and how often."""


@dataclass(frozen=True)
class Product:
    """An operator with a weight ``[N, K]``: its constants by the names of the inputs behind float16 x ``[rows, K]``."""

    op: str
    shape: tuple[int, int]
    constants: Mapping[str, Array]
    domain: str = ops.DOMAIN
    attributes: Mapping[str, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the weight."""
        return sum(values.nbytes for values in self.constants.values())


def model(products: Sequence[Product], rows: int, count: int) -> onnx.ModelProto:
    """``count`` nodes from x to y0, y1, ..., by the products in turn."""
    outputs, inputs = products[0].shape
    nodes = []
    for i in range(count):
        which = i % len(products)
        product = products[which]
        names = ["x", *(f"{name}_{which}" for name in product.constants)]
        nodes.append(helper.make_node(product.op, names, [f"y{i}"], domain=product.domain, **product.attributes))
    constants = [
        numpy_helper.from_array(values, f"{name}_{which}")
        for which, product in enumerate(products)
        for name, values in product.constants.items()
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [rows, inputs])
    y = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT16, [rows, outputs]) for i in range(count)]
    imports = [helper.make_opsetid(*pair) for pair in (("", 17), ("com.microsoft", 1), (ops.DOMAIN, ops.VERSION))]
    graph = helper.make_graph(nodes, "products", [x], y, constants)
    return helper.make_model(graph, opset_imports=imports, ir_version=ops.MIN_IR_VERSION)


class Session:
    """Products of a random x of so many rows, with inputs and outputs where the provider is.

    ``apart`` keeps all results in ``y``; else each overwrites the one before.
    """

    def __init__(
        self, products: Sequence[Product], rows: int, count: int, provider: str = CUDA, *, apart: bool = False
    ) -> None:
        outputs, inputs = products[0].shape
        device = "cuda" if provider == CUDA else "cpu"
        settings: dict[str, str] = {}
        if provider == CUDA:
            self.stream = torch.cuda.Stream()
            settings = {"enable_cuda_graph": "1", "user_compute_stream": str(self.stream.cuda_stream)}
        options = ort.SessionOptions()
        # Nodes with the same weight and x are the same to its optimizers, which might run one of them for all.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1" if provider == CUDA else "0")
        runtime_ops.register(options, [provider])
        proto = model(products, rows, count).SerializeToString()
        self._runner = ort.InferenceSession(proto, options, providers=[(provider, settings)])
        self._count = count
        self.x = torch.randn(rows, inputs).half().to(device)
        self.y = torch.zeros(count if apart else 1, rows, outputs, dtype=torch.half, device=device)
        self._binding = self._runner.io_binding()
        self._binding.bind_input("x", device, 0, np.float16, [rows, inputs], self.x.data_ptr())
        for i in range(count):
            place = self.y[i % len(self.y)].data_ptr()
            self._binding.bind_output(f"y{i}", device, 0, np.float16, [rows, outputs], place)
        self._once = ort.RunOptions()
        self._once.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if provider == CUDA:
            torch.cuda.synchronize()

    def run(self) -> None:
        """All products; on a GPU they may not be done yet."""
        self._runner.run_with_iobinding(self._binding, self._once)

    def results(self) -> Array:
        """Of a replay, ``[count or 1, rows, N]``."""
        for _ in range(WARM):
            self.run()
        if self.y.is_cuda:
            torch.cuda.synchronize()
        values: Array = self.y.float().cpu().numpy()
        return values

    def seconds(self) -> float:
        """Median seconds of one product on the GPU."""
        with torch.cuda.stream(self.stream):
            return event_seconds(self.run, WARM, RUNS, TIMES) / self._count
