"""A small residual network for tests of recovery, and what it is calibrated with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from regc.compiler import CompileResult, Recover, compile_model
from regc.compiler.model import Model
from support import Array, normal, run

RESIDUAL = """g (float[n, 48] x) => (float[n, 24] y) {
    a = MatMul (x, w1)
    b = Add (a, bias)
    c = Relu (b)
    d = MatMul (c, w2)
    e = Add (d, x)
    f = LayerNormalization (e, scale, shift)
    h = MatMul (f, w3)
    k = Add (h, f)
    y = Gemm <transB = 1> (k, w4, last)
}"""
WEIGHTS: dict[str, Array] = {
    "w1": normal(96, 48).T.copy(),
    "w2": normal(48, 96, seed=1).T.copy(),
    "w3": normal(48, 48, seed=2),
    "w4": normal(24, 48, seed=3),
    "bias": normal(96, seed=4) * 3,
    "scale": np.linspace(0.5, 1.5, 48, dtype=np.float32),
    "shift": normal(48, seed=5),
    "last": normal(24, seed=6),
}
FEEDS = [{"x": normal(40, 12, seed=seed) @ normal(12, 48, seed=9) * 20} for seed in range(6)]
FRESH = {"x": normal(60, 12, seed=77) @ normal(12, 48, seed=9) * 20}
STEPS = Recover(steps=48, batch=16, rate=0.012)


def compiled(
    proto: onnx.ModelProto | Model, passes: str = "ternary{group=16,method=lloyd}", **options: Any
) -> CompileResult:
    return compile_model(proto, passes, calibration=FEEDS, **options)


def error(original: onnx.ModelProto, result: CompileResult) -> float:
    """The relative error of the outputs on inputs that nobody has seen."""
    proto = result.model.to_proto()
    onnx.checker.check_model(proto)
    y, z = run(original, FRESH)[0], run(proto, FRESH)[0]
    return float(np.linalg.norm(z - y) / np.linalg.norm(y - y.mean(0)))
