"""For benchmarks.gpu_check: MatMulNBits with 4 bits in ONNX Runtime's CUDA provider, timed by the clock of the host."""

from __future__ import annotations

import statistics
import time

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.contenders import Layer, nbits
from benchmarks.gpu_speed import TIMES, layers_for

CUDA = "CUDAExecutionProvider"


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


def four_bits(shape: tuple[int, int], rows: int) -> float:
    """Seconds of one product with blocks of 32."""
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
    for _ in range(TIMES):
        start = time.perf_counter()
        runner.run_with_iobinding(binding)
        binding.synchronize_outputs()
        times.append((time.perf_counter() - start) / count)
    return statistics.median(times[3:])
